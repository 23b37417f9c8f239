"""Cells: how many truths or requests of one key fall into one bucket of time, and their total.

Sums of whole numbers: any order and any cut into batches give the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.columns import Columns
from streams.windowed.declare import Of
from streams.windowed.definition import AHEAD_MS, Definition, Ints, Keys, Mask, Series


class Cell(NamedTuple):
    """What a sum is kept by: the end of a bucket (ms, exclusive), a series, a key."""

    end: int
    series: int
    key: str


class Sum(NamedTuple):
    """How many records, and their total in units of the series."""

    records: int
    total: int

    def plus(self, other: Sum) -> Sum:
        """Both together."""
        return Sum(self.records + other.records, self.total + other.total)


@dataclass(frozen=True, slots=True)
class Counted:
    """Rows of a batch that count.

    rows: their positions. times: when each became known, ms. truths: their truths; of requests
    none.
    """

    rows: Ints
    times: Ints
    truths: npt.NDArray[np.generic] | None


def counted(kind: Of, columns: Columns) -> Counted:
    """The rows of a batch of outcomes (``truth``) or predictions (``requests``) that count.

    Of a request its first truth counts, when it became known; corrections come later than what was
    known then, and are left out. Weak labels are no truths.
    """
    if kind == "requests":
        good = (columns["status"].values != "rejected") & columns["features"].values.astype(bool)
        times, written, truths = columns["event_time"].values, columns["predicted_at"].values, None
    else:
        corrected = columns["previous_truth"].valid
        good = np.zeros(len(columns["known_at"]), bool) if corrected is None else ~corrected
        good &= columns["label"].values == "true"
        times, written = columns["known_at"].values, columns["joined_at"].values
        truths = columns["truth"].values
    rows = np.flatnonzero(good & (times <= written + AHEAD_MS) & (times >= 0))
    return Counted(rows, times[rows], None if truths is None else truths[rows])


def sums(
    definition: Definition,
    kind: Of,
    columns: Columns,
    sizes: Sequence[int],
    newest: Sequence[int | None],
) -> list[tuple[dict[Cell, Sum], int | None]]:
    """What the rows of several sources add to each cell, and each source's newest time after them.

    sizes: how many rows are of each source, which lie one after the other. newest: each source's
    newest time before, in ms; None before its first record that counts. Rows of buckets that have
    left add nothing.
    """
    found = counted(kind, columns)
    if not len(found.rows):
        return [({}, time) for time in newest]
    ends = np.searchsorted(found.rows, np.cumsum(sizes)).tolist()
    before = np.empty(len(found.rows), np.int64)
    after = list(newest)
    for part, (first, end) in enumerate(pairwise([0, *ends])):
        if first == end:
            continue
        # A row is late by the times before it, so that the cut into batches makes no difference.
        # The first of all is not late.
        times, reached = found.times[first:end], newest[part]
        before[first] = times[0] if reached is None else reached
        before[first + 1 : end] = times[:-1]
        np.maximum.accumulate(before[first:end], out=before[first:end])
        after[part] = max(int(before[end - 1]), int(times[-1]))
    taken = {path: column.take(found.rows) for path, column in columns.items()}
    rows = np.diff([0, *ends]).tolist()
    added = grouped(definition, kind, taken, found.times, found.truths, before, rows)
    return list(zip(added, after, strict=True))


def grouped(
    definition: Definition,
    kind: Of,
    columns: Columns,
    times: Ints,
    truths: npt.NDArray[np.generic] | None,
    newest: Ints,
    sizes: Sequence[int],
) -> list[dict[Cell, Sum]]:
    """Of each source the sums of its rows that count, by cell; those that are out of date by
    ``newest`` add nothing.

    newest: int64 (n,) or (1,), the time that the source had come to before each row, in ms. sizes:
    how many rows are of each source, which lie one after the other.
    """
    added: list[dict[Cell, Sum]] = [{} for _ in sizes]
    parts = np.repeat(np.arange(len(sizes)), sizes)
    for i, series in definition.of(kind):
        valid = times >= newest - definition.kept_ms[i]
        units = np.zeros(len(times), np.int64)
        if truths is not None:
            units, fit = definition.units(series, truths)
            valid &= fit
        keys = definition.keys(series, columns)
        for part, cell, sum_ in _group(i, series, keys, valid, times, units, parts):
            added[part][cell] = sum_
    return added


def _group(
    number: int, series: Series, keys: Keys, valid: Mask, times: Ints, units: Ints, parts: Ints
) -> Iterator[tuple[int, Cell, Sum]]:
    if keys.valid is not None:
        valid = valid & keys.valid
    rows = np.flatnonzero(valid)
    if not len(rows):
        return
    codes, texts = encode([keys.texts[row] for row in rows.tolist()])
    buckets = times[rows] // series.every_ms
    first = int(buckets.min())
    span = int(buckets.max()) - first + 1
    places = parts[rows] * len(texts) + codes
    groups, at = np.unique(places * span + (buckets - first), return_inverse=True)
    counts = np.bincount(at, minlength=len(groups))
    totals = np.zeros(len(groups), np.int64)
    np.add.at(totals, at, units[rows])
    ends = (groups % span + first + 1) * series.every_ms
    of, names = np.divmod(groups // span, len(texts))
    for part, end, name, count, total in zip(
        of.tolist(), ends.tolist(), names.tolist(), counts.tolist(), totals.tolist(), strict=True
    ):
        yield part, Cell(end, number, texts[name]), Sum(count, total)


def encode(texts: list[str]) -> tuple[Ints, list[str]]:
    """Texts as codes from 0 in the order in which they first stand, and the text of each code."""
    codes: dict[str, int] = {}
    found = np.fromiter(
        (codes.setdefault(text, len(codes)) for text in texts), np.int64, len(texts)
    )
    return found, list(codes)
