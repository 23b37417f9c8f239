"""Cells: how many truths or requests of one key fall into one bucket of time, and their total.

Sums of whole numbers: any order and any cut into batches give the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    definition: Definition, kind: Of, columns: Columns, newest: int | None
) -> tuple[dict[Cell, Sum], int | None]:
    """What a batch of one source adds to each cell, and the source's newest time after it.

    newest: the source's newest time before, in ms; None before its first record that counts. Rows
    of buckets that have left add nothing.
    """
    found = counted(kind, columns)
    if not len(found.rows):
        return {}, newest
    # A row is late by the times before it, so that the cut into batches makes no difference. The
    # first of all is not late.
    first = found.times[0] if newest is None else np.int64(newest)
    before = np.maximum.accumulate(np.append(first, found.times))
    taken = {path: column.take(found.rows) for path, column in columns.items()}
    return grouped(definition, kind, taken, found.times, found.truths, before[:-1]), int(before[-1])


def grouped(
    definition: Definition,
    kind: Of,
    columns: Columns,
    times: Ints,
    truths: npt.NDArray[np.generic] | None,
    newest: Ints,
) -> dict[Cell, Sum]:
    """The sums of rows that count, by cell; those that are out of date by ``newest`` add nothing.

    newest: int64 (n,) or (1,), the time that the source had come to before each row, in ms.
    """
    added: dict[Cell, Sum] = {}
    for i, series in definition.of(kind):
        valid = times >= newest - definition.kept_ms[i]
        units = np.zeros(len(times), np.int64)
        if truths is not None:
            units, fit = definition.units(series, truths)
            valid &= fit
        keys = definition.keys(series, columns)
        added.update(_group(i, series, keys, valid, times, units))
    return added


def _group(
    number: int, series: Series, keys: Keys, valid: Mask, times: Ints, units: Ints
) -> Mapping[Cell, Sum]:
    if keys.valid is not None:
        valid = valid & keys.valid
    rows = np.flatnonzero(valid)
    if not len(rows):
        return {}
    codes, texts = encode([keys.texts[row] for row in rows.tolist()])
    buckets = times[rows] // series.every_ms
    first = int(buckets.min())
    span = int(buckets.max()) - first + 1
    groups, at = np.unique(codes * span + (buckets - first), return_inverse=True)
    counts = np.bincount(at, minlength=len(groups))
    totals = np.zeros(len(groups), np.int64)
    np.add.at(totals, at, units[rows])
    ends = (groups % span + first + 1) * series.every_ms
    names = (texts[code] for code in (groups // span).tolist())
    return {
        Cell(end, number, name): Sum(count, total)
        for end, name, count, total in zip(
            ends.tolist(), names, counts.tolist(), totals.tolist(), strict=True
        )
    }


def encode(texts: list[str]) -> tuple[Ints, list[str]]:
    """Texts as codes from 0 in the order in which they first stand, and the text of each code."""
    codes: dict[str, int] = {}
    found = np.fromiter(
        (codes.setdefault(text, len(codes)) for text in texts), np.int64, len(texts)
    )
    return found, list(codes)
