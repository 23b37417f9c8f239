"""What a worker knows of the cells: taken in record by record, looked up by column."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas.columns import Columns, constant
from streams.windowed.definition import Definition, Ints
from streams.windowed.window import BUCKET_BITS, MOST_BUCKET, Lookup, look_up

AS_OF = "features_as_of"
"""The field of a prediction that says what its windowed features had counted."""
_PARTS = ("keys", "bucket_ends", "counts", "totals")
_FEW_KEYS = 1_000
_MOST_FRESH = 100_000  # cells taken in and not yet put in their places


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The cells as of some offsets of the sources; it does not change.

    newest: by kind of series, the newest time of the source that is furthest ahead, ms; none for a
    kind of which nothing counted yet. reached: the same by source, in their order. as_of: for each
    source in order the offset up to which (exclusive) its records count.
    """

    definition: Definition
    lookups: list[Lookup]
    newest: Mapping[str, int]
    reached: tuple[int | None, ...]
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
        self._waiting: list[list[Mapping[str, Any]]] = [[] for _ in self._sources]
        self._as_of = [0] * len(self._sources)
        self._reached: list[int | None] = [None] * len(self._sources)
        self._changed = True

    def take(self, record: Mapping[str, Any]) -> None:
        """The next record of the topic; those of another definition are not ours.

        Raises ValueError where its sums are of unequal number, or of a series that there is not.
        """
        source = self._sources.get(record["source"])
        if record["definition"] != self._definition.id or source is None:
            return
        if len({len(record[name]) for name in ("sum_series", *_PARTS)}) > 1:
            raise ValueError("its sums have not as many keys, ends, counts and totals")
        if unknown := set(record["series_names"]) - self._series.keys():
            raise ValueError(f"it has sums of {', '.join(sorted(unknown))}, which is not counted")
        self._waiting[source].append(record)
        if record["through"] is None:
            return
        for one in self._waiting[source]:
            self._put(source, one)
        self._waiting[source].clear()
        self._as_of[source] = record["through"]
        self._reached[source] = _later(self._reached[source], record["newest"])
        self._changed = True

    def _put(self, source: int, record: Mapping[str, Any]) -> None:
        numbers = record["sum_series"]
        for i, name in enumerate(record["series_names"]):
            mine = slice(bisect_left(numbers, i), bisect_left(numbers, i + 1))
            self._cells[self._series[name]].put(source, *(record[part][mine] for part in _PARTS))

    @property
    def changed(self) -> bool:
        """Whether a snapshot would say more than the last one."""
        return self._changed

    def snapshot(self) -> Snapshot:
        """What is known now."""
        self._changed = False
        newest = self._newest_by_kind()
        lookups = []
        for series, cells, kept_ms in zip(
            self._definition.series, self._cells, self._definition.kept_ms, strict=True
        ):
            reached = newest.get(series.of)
            lookups.append(cells.lookup(0 if reached is None else reached - kept_ms))
        return Snapshot(self._definition, lookups, newest, tuple(self._reached), tuple(self._as_of))

    def _newest_by_kind(self) -> dict[str, int]:
        newest: dict[str, int] = {}
        for source, i in self._sources.items():
            kind = self._definition.kind_of(source)
            later = _later(newest.get(kind), self._reached[i])
            if later is not None:
                newest[kind] = later
        return newest


def _later(one: int | None, other: int | None) -> int | None:
    """The later of two times, either of which may not be known."""
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


class _Cells:
    """The cells of one series, by source."""

    def __init__(self, sources: int, every_ms: int) -> None:
        self._every_ms = every_ms
        self._index: dict[str, int] = {}
        self._codes: Ints = np.zeros(0, np.int64)
        self._sums: Ints = np.zeros((2, sources, 0), np.int64)
        self._whole: Ints = np.zeros((2, 0), np.int64)  # of all sources together
        self._fresh: list[tuple[int, Ints, Ints]] = []
        self._waiting = 0
        self._oldest = 0
        self._lookup = Lookup.of(self._index, self._codes, *self._whole)

    def put(
        self,
        source: int,
        keys: Sequence[str],
        ends: Sequence[int],
        counts: Sequence[int],
        totals: Sequence[int],
    ) -> None:
        """What some cells hold now of a source."""
        index = self._index
        numbers = np.array([index.setdefault(key, len(index)) for key in keys], np.int64)
        buckets = np.array(ends, np.int64) // self._every_ms - 1
        codes = (numbers << BUCKET_BITS) + buckets
        values = np.array((counts, totals), np.int64)
        fit = (buckets >= 0) & (buckets <= MOST_BUCKET)
        if not fit.all():
            codes, values = codes[fit], values[:, fit]
        self._fresh.append((source, codes, values))
        self._waiting += len(codes)
        if self._waiting > _MOST_FRESH:
            self._merge()

    def lookup(self, oldest_ms: int) -> Lookup:
        """The cells for looking up, without those that end before a time."""
        changed = bool(self._fresh)
        self._merge()
        oldest = max(0, oldest_ms // self._every_ms)
        # Leaving cells does no harm: a tenth of a day's buckets at once saves work.
        if oldest - self._oldest > 8_640_000 // self._every_ms:
            self._leave(oldest)
            changed = True
        if changed:
            self._lookup = Lookup.of(self._index, self._codes, *self._whole)
        return self._lookup

    def _merge(self) -> None:
        if not self._fresh:
            return
        touched = np.unique(np.concatenate([codes for _, codes, _ in self._fresh]))
        at = np.searchsorted(self._codes, touched)
        there = np.zeros(len(touched), bool)
        inside = at < len(self._codes)
        there[inside] = self._codes[at[inside]] == touched[inside]
        if not there.all():
            new, before = touched[~there], at[~there]
            self._codes = np.insert(self._codes, before, new)
            self._sums = np.insert(self._sums, before, 0, axis=2)
            self._whole = np.insert(self._whole, before, 0, axis=1)
            at = np.searchsorted(self._codes, touched)
        # In their order: of a cell that is there twice, the last one holds.
        for source, codes, values in self._fresh:
            self._sums[:, source, np.searchsorted(self._codes, codes)] = values
        self._whole[:, at] = self._sums[:, :, at].sum(axis=1)
        self._fresh.clear()
        self._waiting = 0

    def _leave(self, oldest: int) -> None:
        self._oldest = oldest
        kept = (self._codes & MOST_BUCKET) >= oldest
        self._codes = self._codes[kept]
        self._sums, self._whole = self._sums[:, :, kept], self._whole[:, kept]
        numbers = self._codes >> BUCKET_BITS
        live = np.unique(numbers)
        if len(self._index) <= 2 * len(live) + _FEW_KEYS:
            return
        # Another index, since snapshots hold the old one.
        texts = list(self._index)
        self._index = {texts[number]: i for i, number in enumerate(live.tolist())}
        buckets = self._codes & MOST_BUCKET
        self._codes = (np.searchsorted(live, numbers) << BUCKET_BITS) + buckets
