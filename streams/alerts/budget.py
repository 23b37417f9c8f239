"""How many messages a channel gets: a token bucket, and one message for all that it holds back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from streams.alerts.policy import Alerts

T = TypeVar("T")

HOUR_MS = 3_600_000


class Budget:
    """A token bucket: in any time t at most ``burst + per_hour * t`` messages."""

    def __init__(self, policy: Alerts, now_ms: int) -> None:
        self._burst, self._per_ms = policy.burst, policy.per_hour / HOUR_MS
        self._tokens, self._at_ms = float(policy.burst), now_ms

    def cut(self, waiting: Sequence[T], now_ms: int) -> Sequence[T]:
        """How many of the notices that wait go into the next message: none, one or all.

        None while the budget is used up; all where there are more than it has messages left for.
        """
        self._refill(now_ms)
        left = int(self._tokens)
        if left < 1 or not waiting:
            return waiting[:0]
        return waiting[:1] if len(waiting) <= left else waiting

    def sent(self) -> None:
        """A message went out."""
        self._tokens -= 1

    def wait_ms(self, now_ms: int) -> int:
        """Until the next message may go out; 0: now."""
        self._refill(now_ms)
        missing = 1 - self._tokens
        return 0 if missing <= 0 else int(missing / self._per_ms) + 1

    def _refill(self, now_ms: int) -> None:
        # A clock that is set back takes no tokens away.
        self._tokens += max(0, now_ms - self._at_ms) * self._per_ms
        self._tokens = min(self._tokens, float(self._burst))
        self._at_ms = now_ms
