"""How many labels have come, by class, and how many of the newest requests were rejected.

A window's metrics are told of again and again, the highest revision holds. Windows that lie side by
side (tiles) hold each label once, so their sum is the number of all labels; tiles that no late
truth can change any more are folded into one sum, so that the state stays small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from streams.triggers.inputs import Measured

NEWEST = 2
"""Tiles that `rejected` looks at: the one that is filling may hold a few requests only."""


class Labels:
    """Counts over the tiles of one window.

    window: its name; empty: nothing is counted. length_ms: of a tile. kept_ms: for how long after
    its end a tile may change.
    """

    def __init__(
        self, window: str, length_ms: int, kept_ms: int, state: Mapping[str, Any] | None = None
    ) -> None:
        self._window, self._length, self._kept = window, length_ms, kept_ms
        state = state or {}
        self._folded = Counter(state.get("folded", {}))
        self._until: int | None = state.get("until")
        # By start and by version and role: revision, predictions, rejected, labels, by class.
        self._tiles: dict[int, dict[str, list[Any]]] = {
            int(start): dict(rows) for start, rows in state.get("tiles", {}).items()
        }

    def take(self, measured: Measured) -> None:
        """Take a window's metrics in; of another window or of a segment they count nothing."""
        if measured.window != self._window or measured.segment or measured.start % self._length:
            return
        if self._until is not None and measured.start < self._until:
            return
        rows = self._tiles.setdefault(measured.start, {})
        who = f"{measured.version}|{measured.role}"
        before = rows.get(who)
        if before is None or measured.revision >= before[0]:
            rows[who] = [
                measured.revision,
                measured.predictions,
                measured.rejected,
                measured.outcomes,
                dict(measured.classes),
            ]

    def fold(self, now: int) -> None:
        """Let go of the tiles that are past changing at an event time."""
        until = (now - self._kept) // self._length * self._length
        for start in [start for start in self._tiles if start + self._length <= until]:
            for _, _, _, outcomes, classes in self._tiles.pop(start).values():
                self._folded.update({"": outcomes, **classes})
        self._until = max(until, self._until) if self._until is not None else until

    @property
    def total(self) -> dict[str, int]:
        """All labels so far under the empty name, and those of each class under its own."""
        found = Counter(self._folded)
        for rows in self._tiles.values():
            for _, _, _, outcomes, classes in rows.values():
                found.update({"": outcomes, **classes})
        return dict(found)

    @property
    def rejected(self) -> tuple[int, int]:
        """Of the newest tiles: requests rejected, and all requests."""
        bad = everything = 0
        for start in sorted(self._tiles)[-NEWEST:]:
            for _, predictions, rejected, _, _ in self._tiles[start].values():
                bad += rejected
                everything += predictions + rejected
        return bad, everything

    def state(self) -> dict[str, Any]:
        """As JSON data, for ``state`` of the next one."""
        return {
            "folded": dict(self._folded),
            "until": self._until,
            "tiles": {str(start): dict(rows) for start, rows in self._tiles.items()},
        }
