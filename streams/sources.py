"""How far event time has come in each of the partitions that the metrics are summed from.

After a stop one partition may be read weeks ahead of another, and predictions ahead of outcomes.
What the slowest of them still has to say must find its panes, so panes leave by its event time and
not by the newest. A source in which nothing arrives holds nobody up for longer than IDLE_MS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streams.horizon import IDLE_MS


class Sources:
    """Event times by source, a name such as ``flight_delay.outcomes/3``.

    expected: the sources that there will be. newest: of those heard of before, as `newest` had it.
    now_ms: the worker's clock at the start of its work.
    """

    def __init__(
        self, expected: Iterable[str], newest: Mapping[str, int] | None = None, now_ms: int = 0
    ) -> None:
        self.newest: dict[str, int] = dict(newest or {})
        self._heard = dict.fromkeys([*expected, *self.newest], now_ms)

    def saw(self, source: str, newest: int, now_ms: int) -> bool:
        """Take note of records of a source; whether its event time has moved on."""
        self._heard[source] = now_ms
        before = self.newest.get(source)
        if before is not None and newest <= before:
            return False
        self.newest[source] = newest
        return True

    def slowest(self, now_ms: int) -> int | None:
        """The event time that every source has come to; None while one has not been heard of."""
        times = []
        for source, heard in self._heard.items():
            if now_ms - heard >= IDLE_MS:
                continue
            if source not in self.newest:
                return None
            times.append(self.newest[source])
        return min(times, default=None)
