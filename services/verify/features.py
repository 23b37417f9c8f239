"""Windowed features by their plain definition, from all outcomes and predictions at once.

Nothing here keeps sums: for each logged value the records of its window are taken one by one, those
that had been counted by then, and averaged. What the check shares with the system is which records
count, what a key is, and the last division.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columns import Column, Columns
from services.verify.dominance import Dominance
from streams.windowed.cells import counted, encode
from streams.windowed.declare import Of
from streams.windowed.definition import SLACK_MS, Definition, Ints, Mask, Series, Window
from streams.windowed.window import value

_FEW = 20
_ALL = 1 << 62
"""An offset beyond all of a topic."""
_TIME_BITS = 44
"""Bits of a time in milliseconds: until the year 2527."""


@dataclass(frozen=True, eq=False)
class Times:
    """Times that may not be there.

    values: int64 (n,), milliseconds, of no meaning where there is none. there: bool (n,).
    """

    values: Ints
    there: Mask

    @classmethod
    def none(cls, n: int) -> Times:
        """Not one of n."""
        return cls(np.zeros(n, np.int64), np.zeros(n, bool))

    def later(self, other: Times) -> Times:
        """Row by row the later of both."""
        newer = other.there & (~self.there | (other.values > self.values))
        return Times(np.where(newer, other.values, self.values), self.there | other.there)


@dataclass(frozen=True, eq=False)
class Source:
    """The records of one partition that count, in order of offset.

    offsets, times: int64 (n,). columns: of the same rows, with the features and the truth.
    missing_before: a time before which its records may be deleted already; None where none is.
    """

    kind: Of
    offsets: Ints
    times: Ints
    columns: Columns
    missing_before: int | None = None

    @classmethod
    def of(
        cls, kind: Of, columns: Columns, offsets: Ints, slack_ms: int = 0, whole: bool = True
    ) -> Source:
        """From a topic's decoded records; not whole where its first ones are deleted."""
        found = counted(kind, columns)
        taken = {path: column.take(found.rows) for path, column in columns.items()}
        missing = None if whole or not len(found.times) else int(found.times[0]) + slack_ms
        return cls(kind, offsets[found.rows], found.times, taken, missing)

    def newest(self, as_of: Ints) -> Times:
        """The newest time of the records before each offset."""
        if not len(self.times):
            return Times.none(len(as_of))
        n = np.searchsorted(self.offsets, as_of)
        return Times(np.maximum.accumulate(self.times)[np.maximum(n, 1) - 1], n > 0)


@dataclass(frozen=True, eq=False)
class Logged:
    """Predictions with windowed features.

    columns: ``request_id``, ``event_time``, the features and the windowed ones. as_of: int64
    (n, sources).
    """

    columns: Columns
    as_of: Ints

    def __len__(self) -> int:
        return len(self.as_of)


@dataclass
class Report:
    """What the check found.

    predictions, values: how many were compared. differences: values that are not what they should
    be. unverifiable: predictions whose window's records may be deleted. complete: values that are
    what they would be had every record been there that was known at the event time. errors: by
    feature, the mean distance to that. lags_ms: event time, from the newest record that had been
    counted to the request.
    """

    predictions: int = 0
    values: int = 0
    differences: int = 0
    unverifiable: int = 0
    complete: int = 0
    errors: dict[str, float] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    lags_ms: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def figures(self) -> dict[str, Any]:
        """As JSON data; lags in seconds of event time."""
        lags = self.lags_ms / 1000
        spread = (
            {name: round(float(np.percentile(lags, q)), 1) for name, q in _QUANTILES.items()}
            if len(lags)
            else dict.fromkeys(_QUANTILES)
        )
        return {
            "predictions": self.predictions,
            "values": self.values,
            "differences": self.differences,
            "unverifiable": self.unverifiable,
            "complete": round(self.complete / self.values, 6) if self.values else None,
            "mean_error": {name: round(error, 6) for name, error in self.errors.items()},
            "lag_s": spread,
            "examples": self.examples,
        }


_QUANTILES = {"p50": 50, "p99": 99, "max": 100}


def check(definition: Definition, sources: Mapping[str, Source], logged: Logged) -> Report:
    """Recompute every logged value. ``sources``: by the names in ``definition.sources``."""
    ordered = [sources[name] for name in definition.sources]
    times = np.asarray(logged.columns["event_time"].values, np.int64)
    newest = _newest(ordered, logged.as_of)
    report = Report()
    if newest and len(logged):
        # Until every kind has a record that counts there is no lag to speak of.
        every = np.logical_and.reduce([kind.there for kind in newest.values()])
        slowest = np.min([kind.values for kind in newest.values()], axis=0)
        report.lags_ms = np.maximum(times - slowest, 0)[every]
    verifiable = np.ones(len(logged), bool)
    ends: dict[tuple[Of, int], tuple[Times, ...]] = {}
    for window in definition.windows:
        series = definition.series[window.series]
        earliest = times - SLACK_MS - window.ms(series) - series.every_ms
        here = np.ones(len(logged), bool)
        for source in ordered:
            if source.kind == series.of and source.missing_before is not None:
                here &= earliest >= source.missing_before
        verifiable &= here
        reached = newest[series.of]
        left = reached.there & (earliest < reached.values - definition.kept_ms[window.series])
        place = series.of, series.every_ms
        if place not in ends:
            mine = [(i, s) for i, s in enumerate(ordered) if s.kind == series.of]
            before = times // series.every_ms * series.every_ms
            ends[place] = tuple(
                _bucket_end(_last(mine, before, as_of), series.every_ms)
                for as_of in (logged.as_of, np.full_like(logged.as_of, _ALL))
            )
        _compare(definition, window, series, ordered, logged, here, left, ends[place], report)
    report.unverifiable = int((~verifiable).sum())
    report.predictions = len(logged) - report.unverifiable
    return report


def _newest(sources: list[Source], as_of: Ints) -> dict[Of, Times]:
    """By kind, for each prediction the newest time of any source that it had counted."""
    newest: dict[Of, Times] = {}
    for i, source in enumerate(sources):
        here = source.newest(as_of[:, i])
        before = newest.get(source.kind)
        newest[source.kind] = here if before is None else before.later(here)
    return newest


def _compare(
    definition: Definition,
    window: Window,
    series: Series,
    sources: list[Source],
    logged: Logged,
    here: Mask,
    left: Mask,
    ends: tuple[Times, ...],
    report: Report,
) -> None:
    keys = definition.keys(series, logged.columns)
    no_key = np.zeros(len(logged), bool) if keys.valid is None else ~keys.valid
    events = _Events(definition, series, sources)
    texts = list(keys.texts)
    everything = np.full_like(logged.as_of, _ALL)
    times = np.asarray(logged.columns["event_time"].values, np.int64)
    silent, silent_in_all = (~end.there | (times - end.values > SLACK_MS) for end in ends)
    sums = events.windows(texts, ends[0].values, logged.as_of, window.ms(series))
    best_sums = events.windows(texts, ends[1].values, everything, window.ms(series))
    online = logged.columns[f"features.{window.name}"]
    given, present = _filled(online)
    wanted, there = _filled(value(window, series, *sums))
    there &= ~left & ~silent & ~no_key
    wrong = here & ((there != present) | (there & (given != wanted)))
    report.values += int(here.sum())
    report.differences += int(wrong.sum())
    for row in np.flatnonzero(wrong)[: max(0, _FEW - len(report.examples))].tolist():
        said = given[row] if present[row] else None
        right = wanted[row] if there[row] else None
        id_ = logged.columns["request_id"].values[row]
        report.examples.append(f"{id_}: {window.name} is {said}, not {right}")
    best, known = _filled(value(window, series, *best_sums))
    known &= ~silent_in_all & ~no_key
    same = (known == present) & (~known | (best == given))
    report.complete += int((here & same).sum())
    both = here & known & present
    report.errors[window.name] = float(np.abs(best - given)[both].mean()) if both.any() else 0.0


def _filled(column: Column) -> tuple[npt.NDArray[np.float64], Mask]:
    n = len(column)
    there = np.ones(n, bool) if column.valid is None else column.valid.copy()
    values = np.zeros(n)
    values[there] = column.values[there]
    return values, there


class _Events:
    """The records of one series, in order of key and time."""

    def __init__(self, definition: Definition, series: Series, sources: list[Source]) -> None:
        texts: list[str] = []
        parts: list[tuple[Ints, Ints, Ints, Ints]] = []
        for number, source in enumerate(sources):
            if source.kind != series.of or not len(source.times):
                continue
            n = len(source.times)
            keys = definition.keys(series, source.columns)
            valid = np.ones(n, bool) if keys.valid is None else keys.valid.copy()
            units = np.zeros(n, np.int64)
            if series.of == "truth":
                units, fit = definition.units(series, source.columns["truth"].values)
                valid &= fit
            rows = np.flatnonzero(valid)
            texts += [keys.texts[row] for row in rows.tolist()]
            parts.append(
                (source.times[rows], source.offsets[rows], units[rows], np.full(len(rows), number))
            )
        codes, names = encode(texts)
        self.numbers = {name: number for number, name in enumerate(names)}
        empty = [np.zeros(0, np.int64)] * 4
        times, offsets, units, owners = map(
            np.concatenate, zip(*parts, strict=True) if parts else [[e] for e in empty]
        )
        place = (codes << _TIME_BITS) + times
        order = np.argsort(place, kind="stable")
        self.places = place[order]
        offsets, units, owners = offsets[order], units[order], owners[order]
        self.of_source: list[tuple[int, Ints, Dominance]] = []
        for number in np.unique(owners).tolist():
            at = np.flatnonzero(owners == number)
            self.of_source.append((number, at, Dominance(offsets[at], units[at])))

    def windows(
        self, keys: list[str], ends: Ints, as_of: Ints, length_ms: int
    ) -> tuple[Ints, Ints]:
        """Count and total of each row's window, of the records before its offsets."""
        n = len(keys)
        code = np.fromiter((self.numbers.get(key, -1) for key in keys), np.int64, n)
        base = code << _TIME_BITS
        low = np.searchsorted(self.places, base + np.maximum(ends - length_ms, 0))
        high = np.searchsorted(self.places, base + np.maximum(ends, 0))
        low, high = np.where(code < 0, 0, low), np.where(code < 0, 0, high)
        count, total = np.zeros(n, np.int64), np.zeros(n, np.int64)
        for number, at, records in self.of_source:
            had, units = records.before(
                np.searchsorted(at, low), np.searchsorted(at, high), as_of[:, number]
            )
            count += had
            total += units
        return count, total


def _bucket_end(times: Times, every_ms: int) -> Times:
    """The end of the bucket that each time falls into."""
    return Times(times.values // every_ms * every_ms + every_ms, times.there)


def _last(sources: list[tuple[int, Source]], before: Ints, as_of: Ints) -> Times:
    """The newest time before each of some, of the records that had been counted by then."""
    newest = Times.none(len(before))
    for number, source in sources:
        order = np.argsort(source.times, kind="stable")
        times, offsets = source.times[order], source.offsets[order]
        reached = source.newest(as_of[:, number])
        values, there = reached.values.copy(), reached.there & (reached.values < before)
        # Where the stream had gone on past the request: back from it to a record that counts.
        open_ = np.flatnonzero(reached.there & ~there)
        at = np.searchsorted(times, before[open_]) - 1
        while len(open_):
            some = at >= 0
            open_, at = open_[some], at[some]
            had = offsets[at] < as_of[open_, number]
            values[open_[had]] = times[at[had]]
            there[open_[had]] = True
            open_, at = open_[~had], at[~had] - 1
        newest = newest.later(Times(values, there))
    return newest
