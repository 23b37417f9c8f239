"""What a worker knows of the cells: taken in record by record, looked up by column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from schemas.columns import Columns, constant
from streams.horizon import NEVER
from streams.windowed.definition import Definition, Ints
from streams.windowed.window import BUCKET_BITS, MOST_BUCKET, Lookup, look_up

AS_OF = "features_as_of"
"""The field of a prediction that says what its windowed features had counted."""
_FEW_KEYS = 1_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The cells as of some offsets of the sources; it does not change.

    newest: by kind of series, the newest time of the source that is furthest ahead, ms.
    as_of: for each source in order the offset up to which (exclusive) its records count.
    """

    definition: Definition
    lookups: list[Lookup]
    newest: Mapping[str, int]
    as_of: tuple[int, ...]

    def columns(self, requests: Columns, n: int) -> Columns:
        """The windowed features of n requests, and as of what."""
        found = look_up(self.definition, self.lookups, requests, self.newest)
        found[AS_OF] = constant(as_text(self.as_of), n)
        return found


def as_text(as_of: Iterable[int]) -> str:
    """Offsets as a prediction carries them: ``1042,998,0``."""
    return ",".join(map(str, as_of))


class Table:
    """The cells that the records of ``<task>.features`` tell of. Not for several threads.

    A source's records are taken together up to the last one of a batch, which says how far they
    go: a snapshot never holds a part of a batch.
    """

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._sources = {name: i for i, name in enumerate(definition.sources)}
        self._series = {series.name: i for i, series in enumerate(definition.series)}
        self._cells = [_Cells(len(self._sources), s.every_ms) for s in definition.series]
        self._waiting: list[list[tuple[int, str, int, int, int]]] = [[] for _ in self._sources]
        self._as_of = [0] * len(self._sources)
        self._newest = [NEVER] * len(self._sources)
        self._changed = True

    def take(self, records: Columns) -> None:
        """Records of the topic, in order; those of another definition are not ours."""
        names = ("definition", "source", "series", "key", "bucket_end", "count", "total")
        rows = zip(*(records[name].values.tolist() for name in names), strict=True)
        last = records["through"].valid
        through, newest = records["through"].values, records["newest"].values
        for row, (definition, name, series, key, end, count, total) in enumerate(rows):
            source = self._sources.get(name)
            if definition != self._definition.id or source is None:
                continue
            self._waiting[source].append((self._series[series], key, end, count, total))
            if last is None or last[row]:
                self._finish(source, int(through[row]), int(newest[row]))

    def _finish(self, source: int, through: int, newest: int) -> None:
        for number, key, end, count, total in self._waiting[source]:
            self._cells[number].put(source, key, end, count, total)
        self._waiting[source].clear()
        self._as_of[source] = through
        self._newest[source] = max(self._newest[source], newest)
        self._changed = True

    @property
    def changed(self) -> bool:
        """Whether a snapshot would say more than the last one."""
        return self._changed

    def snapshot(self) -> Snapshot:
        """What is known now."""
        self._changed = False
        newest = self._newest_by_kind()
        lookups = [
            cells.lookup(newest.get(series.of, NEVER) - kept_ms)
            for series, cells, kept_ms in zip(
                self._definition.series, self._cells, self._definition.kept_ms, strict=True
            )
        ]
        return Snapshot(self._definition, lookups, newest, tuple(self._as_of))

    def _newest_by_kind(self) -> dict[str, int]:
        newest: dict[str, int] = {}
        for source, i in self._sources.items():
            kind = self._definition.topics[source.rpartition("/")[0]]
            newest[kind] = max(newest.get(kind, NEVER), self._newest[i])
        return newest


class _Cells:
    """The cells of one series, by source."""

    def __init__(self, sources: int, every_ms: int) -> None:
        self._every_ms = every_ms
        self._index: dict[str, int] = {}
        self._codes: Ints = np.zeros(0, np.int64)
        self._sums: Ints = np.zeros((2, sources, 0), np.int64)
        self._fresh: dict[tuple[int, int], tuple[int, int]] = {}
        self._oldest = 0

    def put(self, source: int, key: str, end: int, count: int, total: int) -> None:
        """What a cell holds now of a source."""
        bucket = end // self._every_ms - 1
        if not 0 <= bucket <= MOST_BUCKET:
            return
        number = self._index.setdefault(key, len(self._index))
        self._fresh[source, (number << BUCKET_BITS) + bucket] = (count, total)

    def lookup(self, oldest_ms: int) -> Lookup:
        """The cells for looking up, without those that end before a time."""
        if self._fresh:
            self._merge()
        oldest = max(0, oldest_ms // self._every_ms)
        # Leaving cells does no harm: a tenth of a day's buckets at once saves work.
        if oldest - self._oldest > 8_640_000 // self._every_ms:
            self._leave(oldest)
        counts, totals = self._sums.sum(axis=1)
        return Lookup.of(self._index, self._codes, counts, totals)

    def _merge(self) -> None:
        where = np.array(list(self._fresh), np.int64).reshape(-1, 2)
        values = np.array(list(self._fresh.values()), np.int64).reshape(-1, 2)
        self._fresh.clear()
        new = np.setdiff1d(where[:, 1], self._codes)
        if len(new):
            at = np.searchsorted(self._codes, new)
            self._codes = np.insert(self._codes, at, new)
            self._sums = np.insert(self._sums, at, 0, axis=2)
        self._sums[:, where[:, 0], np.searchsorted(self._codes, where[:, 1])] = values.T

    def _leave(self, oldest: int) -> None:
        self._oldest = oldest
        kept = (self._codes & MOST_BUCKET) >= oldest
        self._codes, self._sums = self._codes[kept], self._sums[:, :, kept]
        numbers = self._codes >> BUCKET_BITS
        live = np.unique(numbers)
        if len(self._index) <= 2 * len(live) + _FEW_KEYS:
            return
        # Another index, since snapshots hold the old one.
        texts = list(self._index)
        self._index = {texts[number]: i for i, number in enumerate(live.tolist())}
        buckets = self._codes & MOST_BUCKET
        self._codes = (np.searchsorted(live, numbers) << BUCKET_BITS) + buckets
