"""Windows over cells, looked up by column: the one definition of a windowed feature's value.

Serving looks up what it has of the stream, training what a history says, by the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columns import Column, Columns
from streams.horizon import NEVER
from streams.windowed.cells import encode
from streams.windowed.definition import SLACK_MS, Definition, Ints, Keys, Mask, Series, Window

BUCKET_BITS = 34
"""Bits of a bucket's number beneath that of its key: seconds, the least bucket, for 500 years."""
MOST_BUCKET = (1 << BUCKET_BITS) - 1


@dataclass(frozen=True, slots=True)
class Lookup:
    """The cells of one series, in order of key and bucket, with running sums.

    index: the number of each key. codes: int64 (m,), ascending: key's number and bucket. counts,
    totals: int64 (m + 1,), the sums of all cells before each.
    """

    index: Mapping[str, int]
    codes: Ints
    counts: Ints
    totals: Ints

    @classmethod
    def of(cls, index: Mapping[str, int], codes: Ints, counts: Ints, totals: Ints) -> Lookup:
        """Of the cells' own sums; codes ascending and each once."""
        return cls(index, codes, _running(counts), _running(totals))

    def numbers(self, keys: Keys) -> Ints:
        """The number of each row's key, −1 where no cell has it."""
        n = len(keys.texts)
        return np.fromiter(map(self.index.get, keys.texts, repeat(-1)), np.int64, n)

    def last(self, before: Ints) -> Ints:
        """Of a series without a key: the end of its last bucket up to each of some buckets.

        0 where there is none.
        """
        at = np.searchsorted(self.codes, np.clip(before, 0, MOST_BUCKET))
        ends: Ints = np.append(np.int64(0), self.codes + 1)[at]
        return ends

    def window(self, numbers: Ints, last: Ints, buckets: int) -> tuple[Ints, Ints]:
        """Count and total of the ``buckets`` buckets before bucket ``last``, by row."""
        base = numbers << BUCKET_BITS
        high = np.searchsorted(self.codes, base + np.clip(last, 0, MOST_BUCKET))
        low = np.searchsorted(self.codes, base + np.clip(last - buckets, 0, MOST_BUCKET))
        return self.counts[high] - self.counts[low], self.totals[high] - self.totals[low]


def _running(values: Ints) -> Ints:
    found = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=found[1:])
    return found


def value(window: Window, series: Series, counts: Ints, totals: Ints) -> Column:
    """The feature's values of counts and totals: null where there is nothing to divide by."""
    if window.aggregate == "count":
        return Column(counts.astype(np.float64))
    if window.aggregate == "rate":
        return Column(counts / window.hours)
    some = counts > 0
    made = totals / np.where(some, counts, 1)
    if window.aggregate == "mean":
        made *= series.resolution
    return Column(made, None if some.all() else some)


def look_up(
    definition: Definition,
    lookups: list[Lookup],
    columns: Columns,
    newest: Mapping[str, int],
    prefix: str = "features.",
) -> Columns:
    """The windowed features of a batch with ``event_time`` (ms) and the task's features.

    newest: by kind of series (`Of`), the newest time of the source that is furthest ahead.
    """
    times = np.asarray(columns["event_time"].values, np.int64)
    keys: dict[tuple[str, ...], Keys] = {}
    numbers: dict[int, Ints] = {}
    ends: dict[int, Ints] = {}
    found: Columns = {}
    for window in definition.windows:
        series = definition.series[window.series]
        lookup = lookups[window.series]
        if series.by not in keys:
            keys[series.by] = definition.keys(series, columns, prefix)
        if window.series not in numbers:
            numbers[window.series] = lookup.numbers(keys[series.by])
        clock = definition.clocks[window.series]
        if clock not in ends:
            ends[clock] = lookups[clock].last(times // series.every_ms)
        counts, totals = lookup.window(numbers[window.series], ends[clock], window.buckets)
        column = value(window, series, counts, totals)
        kept = keys[series.by].valid
        newest_ms = newest.get(series.of, NEVER)
        gone = left(definition, window, series, times, ends[clock], newest_ms)
        if gone.any():
            kept = ~gone if kept is None else kept & ~gone
        found[prefix + window.name] = _without(column, kept)
    return found


def left(
    definition: Definition, window: Window, series: Series, times: Ints, ends: Ints, newest: int
) -> Mask:
    """Rows whose windows have no value: too old for the request, or no longer kept.

    ends: the bucket before which each window ends. newest: what the stream has come to, ms.
    """
    silent = times - ends * series.every_ms > SLACK_MS
    earliest = times - SLACK_MS - (window.buckets + 1) * series.every_ms
    gone: Mask = silent | (earliest < newest - definition.kept_ms)
    return gone


def _without(column: Column, kept: Mask | None) -> Column:
    if kept is None:
        return column
    return Column(column.values, kept if column.valid is None else column.valid & kept)


def of_history(
    definition: Definition,
    columns: Columns,
    event_time: Ints,
    known_at: Ints | None,
    truths: npt.NDArray[Any],
    prefix: str = "",
) -> Columns:
    """The windowed features of a whole history, each row by what was known at its event time.

    columns: the task's features. known_at: when each truth became known; None where no windowed
    feature is of truths. Nothing leaves: a history is looked at from its own times.
    """
    lookups = []
    for series in definition.series:
        times = event_time if series.of == "requests" else known_at
        if times is None:
            raise ValueError(f"series {series.name!r} needs the times when truths became known")
        units, valid = np.zeros(len(times), np.int64), np.ones(len(times), bool)
        if series.of == "truth":
            units, valid = definition.units(series, truths)
        keys = definition.keys(series, columns, prefix)
        if keys.valid is not None:
            valid = valid & keys.valid
        rows = np.flatnonzero(valid)
        numbers, texts = encode([keys.texts[row] for row in rows.tolist()])
        codes = (numbers << BUCKET_BITS) + times[rows] // series.every_ms
        cells, at = np.unique(codes, return_inverse=True)
        totals = np.zeros(len(cells), np.int64)
        np.add.at(totals, at, units[rows])
        counts = np.bincount(at, minlength=len(cells)).astype(np.int64)
        index = {text: number for number, text in enumerate(texts)}
        lookups.append(Lookup.of(index, cells, counts, totals))
    return look_up(definition, lookups, {**columns, "event_time": Column(event_time)}, {}, prefix)
