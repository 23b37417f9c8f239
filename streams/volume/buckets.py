"""Buckets that are not over yet: usage of all partitions comes together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.event_time import from_number, latest
from streams.volume.counts import BUCKET_MS

Ints = npt.NDArray[np.int64]

IDLE_MS = 20_000
"""A partition that told no event time for so long, by the times of the records, is not waited for:
a jump is to be told within a minute."""
_NONE_OVER = -1
"""What older versions wrote where no bucket was over."""
MOST_OPEN = 100_000
"""Buckets that wait for a partition that is behind: eleven days of event time, read ahead."""


class Buckets:
    """Counts by bucket and client, until event time in every partition has passed the bucket."""

    def __init__(self, sources: Iterable[str]) -> None:
        self._newest: dict[str, int | None] = dict.fromkeys(sources)
        self._heard: dict[str, int] = {}
        self._began: int | None = None
        self._open: dict[int, dict[str, list[int]]] = {}
        self._over: int | None = None  # the last bucket that is over
        # Of sources that have told no event time yet, by client.
        self._untimed: dict[str, dict[str, list[int]]] = {}

    def add(
        self,
        source: str,
        newest: int | None,
        clients: Sequence[str],
        buckets: Ints,
        requests: Ints,
        held: Ints,
        at_ms: int,
    ) -> int:
        """Counts of a source, stored at ``at_ms``; returns how many requests came too late.

        newest: None where the batch tells no event time. Counts without a bucket (`Counts`) belong
        to the time that the source had then; until it has one they wait for the first.
        """
        if self._began is None:
            self._began = at_ms
        before = self._newest.get(source)
        self._newest[source] = latest(newest, before)
        if newest is not None:
            self._heard[source] = at_ms
        numbers = buckets.tolist()
        now = None if before is None else before // BUCKET_MS
        if now is None:
            known = [number for number in numbers if from_number(number) is not None]
            now = min(known, default=None)
        if now is not None:
            if self._over is not None:
                now = max(now, self._over + 1)  # they are not late, whatever the source waits for
            for client, (n, back) in self._untimed.pop(source, {}).items():
                _add(self._open.setdefault(now, {}), client, n, back)
        late = 0
        counted = zip(clients, numbers, requests.tolist(), held.tolist(), strict=True)
        for client, number, n, back in counted:
            bucket = from_number(number)
            if bucket is None:
                bucket = now
            if bucket is None:
                _add(self._untimed.setdefault(source, {}), client, n, back)
            elif self._over is not None and bucket <= self._over:
                late += n
            else:
                _add(self._open.setdefault(bucket, {}), client, n, back)
        return late

    def over(self, at_ms: int) -> Iterator[tuple[int, list[str], Ints, Ints]]:
        """The buckets that are over by now, in order: clients, requests, those held back."""
        slowest = self._slowest(at_ms)
        if slowest is None:
            return
        end = slowest // BUCKET_MS
        ready = sorted(bucket for bucket in self._open if bucket < end)
        more = len(self._open) - len(ready) - MOST_OPEN
        if more > 0:
            ready = sorted(self._open)[: len(ready) + more]
        for bucket in ready:
            cells = self._open.pop(bucket)
            counts = np.array(list(cells.values()), np.int64)
            self._over = bucket
            yield bucket, list(cells), counts[:, 0], counts[:, 1]

    def state(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "newest": self._newest,
            "heard": self._heard,
            "began": self._began,
            "open": [[bucket, cells] for bucket, cells in self._open.items()],
            "over": self._over,
            "untimed": self._untimed,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """What `state` gave."""
        self._newest, self._heard = state["newest"], state["heard"]
        self._began, over = state["began"], state["over"]
        self._over = None if over == _NONE_OVER else over
        self._open = {bucket: cells for bucket, cells in state["open"]}
        self._untimed = state.get("untimed", {})

    def _slowest(self, at_ms: int) -> int | None:
        """The event time that every source has come to that still tells of itself."""
        if self._began is None:
            return None
        times = []
        for source, newest in self._newest.items():
            if at_ms - self._heard.get(source, self._began) >= IDLE_MS:
                continue
            if newest is None:
                return None
            times.append(newest)
        return min(times, default=None)


def _add(cells: dict[str, list[int]], client: str, n: int, back: int) -> None:
    cell = cells.setdefault(client, [0, 0])
    cell[0] += n
    cell[1] += back
