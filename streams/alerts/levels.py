"""Figures that are looked at again and again ► signs: lag, and the share of dead letters."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from streams.alerts.policy import Alerts
from streams.alerts.sign import Sign

CRITICAL = 10
"""Times its bound from which on a lag or a share is critical."""


class LagSigns:
    """A process that stays behind; by its name, such as ``worker``."""

    def __init__(self, policy: Alerts) -> None:
        self._most, self._for_ms = policy.lag, policy.ms("lag_for")
        self._since: dict[str, int] = {}

    def see(self, process: str, lag: int | None, at_ms: int) -> Sign | None:
        """A look at its lag in records; None where it is not known."""
        if lag is None:
            return None
        if lag <= self._most:
            self._since.pop(process, None)
            return Sign(kind="lag", about=process, state="well", at_ms=at_ms)
        since = self._since.setdefault(process, at_ms)
        if at_ms - since < self._for_ms:
            return None
        return Sign(
            kind="lag",
            about=process,
            state="bad",
            at_ms=at_ms,
            severity="critical" if lag > CRITICAL * self._most else "warning",
            title=f"the {process} is {lag:,} records behind",
            message=(
                f"The {process} is {lag:,} records behind its topics, more than {self._most:,} "
                f"for {(at_ms - since) // 1000} s. Is it running? Does it need another one beside "
                "it, or a faster machine?"
            ),
        )


class DeadLetterSigns:
    """The share of requests that become dead letters, within the last minutes.

    began_ms: since when requests are counted; ``requests``: how many records the topic had by then.
    Dead letters are counted by when they were stored: those of before are not.
    """

    def __init__(self, policy: Alerts, began_ms: int, requests: int) -> None:
        self._share, self._least = policy.dead_letter_share, policy.dead_letters
        self._window_ms = policy.ms("dead_letter_window")
        self._began_ms = began_ms
        self._letters: deque[tuple[int, int, Mapping[str, int]]] = deque()
        self._requests = deque([(began_ms, requests)])

    def count(self, at_ms: int, reasons: Mapping[str, int]) -> None:
        """Dead letters that were stored at one time, by reason.

        Those of throttled clients are what their task asked for: the abuse is told already.
        """
        reasons = {reason: n for reason, n in reasons.items() if reason != "throttled"}
        self._letters.append((at_ms, sum(reasons.values()), reasons))

    def see(self, requests: int, at_ms: int) -> Sign | None:
        """A look; requests: records in the topic by now, since it began."""
        begin = at_ms - self._window_ms
        self._requests.append((at_ms, requests))
        # The last look before the window is where its requests are counted from.
        while len(self._requests) > 1 and self._requests[1][0] <= begin:
            self._requests.popleft()
        while self._letters and self._letters[0][0] <= begin:
            self._letters.popleft()
        asked = requests - self._requests[0][1]
        dead = sum(n for _, n, _ in self._letters)
        if dead < self._least or dead <= self._share * asked:
            # Until it has seen a whole window it does not know that all is well.
            whole = begin >= self._began_ms
            return (
                Sign(kind="dead-letters", about="requests", state="well", at_ms=at_ms)
                if (whole)
                else None
            )
        reasons: Counter[str] = Counter()
        for _, _, some in self._letters:
            reasons.update(some)
        most = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common(3))
        minutes = self._window_ms / 60_000
        share = (
            f"{dead / asked:.1%} of {asked:,} requests" if asked >= dead else "hardly any request"
        )
        return Sign(
            kind="dead-letters",
            about="requests",
            state="bad",
            at_ms=at_ms,
            severity="critical" if dead > CRITICAL * self._share * asked else "warning",
            title=f"{dead:,} dead letters within {minutes:g} min",
            message=(
                f"{dead:,} records were set aside within {minutes:g} min, beside {share}: {most}. "
                "`weir tail dead-letters` shows them with their reasons."
            ),
        )
