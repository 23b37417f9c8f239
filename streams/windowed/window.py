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

    def places(self, keys: Keys, ends: Ints) -> tuple[Ints, Ints]:
        """The key and the bucket before which its window ends, each once, and which is each row's.

        ends: buckets. A key that no cell has comes before all codes. Requests of a batch are of one
        time and of few keys, so that few are to be looked for; and in order, which is quick.
        """
        n = len(keys.texts)
        numbers = np.fromiter(map(self.index.get, keys.texts, repeat(-1)), np.int64, n)
        places = (numbers << BUCKET_BITS) + np.clip(ends, 0, MOST_BUCKET)
        once, at = np.unique(places, return_inverse=True)
        return once, at

    def last(self, before: Ints) -> Ints:
        """Of a series without a key: the end of its last bucket up to each of some buckets.

        0 where there is none.
        """
        at = np.searchsorted(self.codes, np.clip(before, 0, MOST_BUCKET))
        ends: Ints = np.append(np.int64(0), self.codes + 1)[at]
        return ends

    def window(self, places: Ints, buckets: int) -> tuple[Ints, Ints]:
        """Count and total of the ``buckets`` buckets before each place."""
        high = np.searchsorted(self.codes, places)
        low = np.searchsorted(self.codes, places - np.minimum(buckets, places & MOST_BUCKET))
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

    newest: by kind of series (`Of`), the newest time of the source that is furthest ahead; none
    for a kind of which nothing counted yet.
    """
    times = np.asarray(columns["event_time"].values, np.int64)
    keys: dict[tuple[str, ...], Keys] = {}
    ends: dict[int, tuple[Ints, Mask | None]] = {}
    places: dict[int, tuple[Ints, Ints]] = {}
    found: Columns = {}
    for window in definition.windows:
        series, lookup = definition.series[window.series], lookups[window.series]
        clock = definition.clocks[window.series]
        if clock not in ends:
            ends[clock] = _ends(lookups[clock], series, times)
        if series.by not in keys:
            keys[series.by] = definition.keys(series, columns, prefix)
        if window.series not in places:
            places[window.series] = lookup.places(keys[series.by], ends[clock][0])
        once, at = places[window.series]
        column = value(window, series, *lookup.window(once, window.buckets)).take(at)
        for kept in (
            keys[series.by].valid,
            ends[clock][1],
            _kept(definition, window, series, times, newest.get(series.of)),
        ):
            column = _without(column, kept)
        found[prefix + window.name] = column
    return found


def _ends(clock: Lookup, series: Series, times: Ints) -> tuple[Ints, Mask | None]:
    """The bucket before which each row's window ends, and which of them are not too old."""
    ends = clock.last(times // series.every_ms)
    heard = times - ends * series.every_ms <= SLACK_MS
    return ends, None if heard.all() else heard


def _kept(
    definition: Definition, window: Window, series: Series, times: Ints, newest: int | None
) -> Mask | None:
    """Rows whose windows are kept whole, however old they may be; None where all are.

    newest: what the stream has come to, ms; None before anything.
    """
    if newest is None:
        return None
    longest = SLACK_MS + (window.buckets + 1) * series.every_ms
    oldest = newest - definition.kept_ms[window.series] + longest
    if not len(times) or int(times.min()) >= oldest:
        return None
    return times >= oldest


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
