"""How much busier than on average the stream is at an hour of the day, or of the week."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from streams.volume.counts import BUCKET_MS
from streams.volume.policy import Season

HOUR_MS = 3_600_000
SHRINK_S = 600.0
"""Of an hour as much event time is added as if it were as busy as all."""
MEMORY = 0.9
"""What was seen of an hour counts this much once the next one of its kind has begun."""

_NO_HOUR = -1
"""What older versions wrote where nothing was added."""


class Seasons:
    """Requests and seconds of each hour of the season."""

    def __init__(self, season: Season | None) -> None:
        self._cells = {None: 1, "hour_of_day": 24, "hour_of_week": 168}[season]
        self._requests = np.zeros(self._cells)
        self._seconds = np.zeros(self._cells)
        self._now: int | None = None  # the hour that was last added to
        self._factor = 1.0
        self._known = False

    def factor(self, bucket: int) -> float:
        """How busy the stream is then: 1 is the average."""
        if self._cells == 1:
            return 1.0
        cell = self._cell(bucket)
        # Through an hour the factor stays as it was known when the hour began.
        return self._factor if cell == self._now else self._of(cell)

    def known(self, bucket: int) -> bool:
        """Whether such an hour had been seen before this one began."""
        if self._cells == 1:
            return True
        cell = self._cell(bucket)
        return self._known if cell == self._now else bool(self._seconds[cell] >= SHRINK_S)

    def add(self, bucket: int, requests: int, seconds: float) -> None:
        """A bucket that is over; seconds: those that it and the empty ones before it cover."""
        if self._cells == 1:
            return
        cell = self._cell(bucket)
        if cell != self._now:
            self._factor, self._known = self._of(cell), self.known(bucket)
            self._now = cell
            self._requests[cell] *= MEMORY
            self._seconds[cell] *= MEMORY
        self._requests[cell] += requests
        self._seconds[cell] += seconds

    def state(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "requests": self._requests.tolist(),
            "seconds": self._seconds.tolist(),
            "now": self._now,
            "factor": self._factor,
            "known": self._known,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """What `state` gave, of the same season."""
        self._requests = np.array(state["requests"], np.float64)
        self._seconds = np.array(state["seconds"], np.float64)
        now, self._factor = state["now"], state["factor"]
        self._now = None if now == _NO_HOUR else now
        self._known = state["known"]

    def _of(self, cell: int) -> float:
        total = self._seconds.sum()
        if not total or not self._requests.any():
            return 1.0
        # The hours count alike, however long each was seen.
        seen = self._seconds > 0
        rates: npt.NDArray[np.float64] = self._requests[seen] / self._seconds[seen]
        mean = float(rates.mean())
        requests = self._requests[cell] + SHRINK_S * mean
        return float(requests / (self._seconds[cell] + SHRINK_S) / mean)

    def _cell(self, bucket: int) -> int:
        return int(bucket * BUCKET_MS // HOUR_MS) % self._cells
