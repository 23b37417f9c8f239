"""Rows that a version is trained on: checked, in order of time, with an id of their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.columns import Column, Columns
from schemas.features import Category
from streams.frame import columns_of, frame
from streams.task import Task
from streams.training.check_policy import LEAST_ROWS
from streams.training.errors import DataError
from streams.windowed.history import with_windowed

EVENT_TIME, REQUEST_ID = "event_time", "request_id"
STANDS_FOR, WORTH, WEAK = "_stands_for", "_worth", "_weak"
"""Columns that no feature is named like: how many requests a row stands for, what its label is
worth, and whether that is a weak one."""
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

MIN_ROWS = LEAST_ROWS
MIN_CLASS_ROWS = 5
"""Rows that a class needs to be counted as there: one for each fold of the gate's training."""
MAX_WORDS = 255
"""Most names in a vocabulary: what scikit-learn's histogram trees take. Rarer ones are missing."""
TRAIN, VALIDATION = 0.70, 0.85
"""Shares of the rows, by time, at which training and validation end; the rest is the test."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows in order of event time.

    id: ``ds-<12 hex>``, a hash of the rows' features, targets, times and, where there are any,
        weights.
    frame: (n, features), as `streams.frame.frame` makes it with ``vocabularies``.
    target: (n,) bool, object of str, or float64, by the task's kind.
    times_ms: (n,) int64, milliseconds since 1970 UTC, ascending.
    weight: (n,) float64 above 0 with the mean 1: how many requests each row stands for, which it
        is judged by; None: all for as many.
    worth: (n,) float64, above 0 to 1, how far its label is to be believed; None: all wholly.
    weak: (n,), whose label is a weak one, which nothing is judged by; None: nobody's.
    """

    id: str
    frame: pd.DataFrame
    target: npt.NDArray[Any]
    times_ms: npt.NDArray[np.int64]
    vocabularies: Mapping[str, Sequence[str]]
    weight: Floats | None = None
    worth: Floats | None = None
    weak: Mask | None = None

    def __len__(self) -> int:
        return len(self.target)

    def rows(self, where: slice | Mask) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
        """Features and targets of some rows."""
        return self.frame[where].reset_index(drop=True), self.target[where]

    def weights(self, where: slice | Mask) -> Floats | None:
        """How much some rows count where something is judged by them; None: all the same."""
        return None if self.weight is None else self.weight[where]

    def lessons(self, where: slice | Mask, stand: bool) -> Floats | None:
        """How much some rows count where something is learned from them; None: all the same.

        stand: whether as rows that stand for all requests, or only by what their labels are worth.
        """
        weight = self.weight if stand else None
        if self.worth is not None:
            weight = self.worth if weight is None else weight * self.worth
        return None if weight is None else weight[where]

    def judged(self, where: slice) -> slice | Mask:
        """Of some rows those with a true label, which alone anything is judged by."""
        if self.weak is None:
            return where
        some = np.zeros(len(self), bool)
        some[where] = True
        return some & ~self.weak

    def all_requests(self) -> tuple[Dataset, slice | npt.NDArray[np.int64]]:
        """The rows as all requests are, without weights, and which rows these are.

        Of the rows with a true label each is there as often as its weight says, in order of time
        (systematic sampling: Madow and Madow 1944); its three parts are drawn from the three
        parts. Without weights and weak labels these are the rows themselves. For what takes no
        weights.
        """
        if self.weight is None and self.weak is None:
            return self, slice(None)
        rows = np.concatenate([self._drawn(p) for p in (self.train, self.validation, self.test)])
        frame = self.frame.iloc[rows].reset_index(drop=True)
        drawn = Dataset(self.id, frame, self.target[rows], self.times_ms[rows], self.vocabularies)
        return drawn, rows

    def _drawn(self, where: slice) -> npt.NDArray[np.int64]:
        numbers = np.arange(len(self))[self.judged(where)]
        each = np.ones(len(numbers)) if self.weight is None else self.weight[numbers]
        ends = np.cumsum(each) * (len(numbers) / each.sum())
        counts = np.diff(np.floor(ends + 0.5), prepend=0.0).astype(np.int64)
        return np.repeat(numbers, counts)

    @property
    def train(self) -> slice:
        """The first rows by time, that candidates are fitted on."""
        return slice(0, _at(TRAIN, len(self), self.weak))

    @property
    def validation(self) -> slice:
        """The rows after them, that choose the candidate and the gate's threshold."""
        return slice(self.train.stop, _at(VALIDATION, len(self), self.weak))

    @property
    def test(self) -> slice:
        """The newest rows, that nothing was chosen by."""
        return slice(self.validation.stop, len(self))


def prepare(task: Task, table: pd.DataFrame) -> Dataset:
    """Check a table and put it in order.

    ``table`` has the task's features, its target's name, ``event_time`` (UTC; a time without a
    zone counts as UTC) and, where there is one, ``request_id``, which orders rows of one time.
    Windowed features that are not among its columns are computed from it, with ``known_at``.
    Where it has them, ``_stands_for`` is how many requests each row stands for beside the others
    (above 0), ``_worth`` how far its label is to be believed (above 0 to 1) and ``_weak`` whether
    it is a weak one. Raises DataError.
    """
    for name in (EVENT_TIME, task.target.name):
        if name not in table:
            raise DataError(f"the data has no column {name!r}")
    weak_rows = int(table[WEAK].sum()) if WEAK in table else 0
    if len(table) - weak_rows < MIN_ROWS:
        found = f"{len(table)} rows"
        if weak_rows:
            found = f"{len(table) - weak_rows} rows with a true label (and {weak_rows} weak ones)"
        raise DataError(f"{found} are too few to train on; {MIN_ROWS} are needed")
    times = _times(table[EVENT_TIME])
    keys = pd.DataFrame({EVENT_TIME: times})
    if REQUEST_ID in table:
        keys[REQUEST_ID] = table[REQUEST_ID].fillna("").astype(str).to_numpy(object)
    table = _with_windowed(task, table)
    order = keys.sort_values(list(keys.columns), kind="stable").index.to_numpy()
    table = table.iloc[order].reset_index(drop=True)
    times_ms = times[order].to_numpy("datetime64[ms]").astype(np.int64)
    try:
        columns = columns_of(task.inputs, table, prefix="")
    except ValueError as error:
        raise DataError(str(error)) from error
    _check_features(task, columns)
    weight, worth = _weights(table, STANDS_FOR), _weights(table, WORTH)
    weight = None if weight is None else weight / weight.mean()
    weak = table[WEAK].to_numpy(bool) if weak_rows else None
    target = _target(task, table[task.target.name], _at(TRAIN, len(table), weak))
    vocabularies = _vocabularies(task, columns)
    hashed = [(f.name, columns[f.name]) for f in task.inputs]
    hashed += [(task.target.name, Column(target)), (EVENT_TIME, Column(times_ms))]
    extras = {STANDS_FOR: weight, WORTH: worth, WEAK: weak}
    hashed += [(name, Column(values)) for name, values in extras.items() if values is not None]
    return Dataset(
        _dataset_id(hashed),
        frame(task, columns, vocabularies, prefix=""),
        target,
        times_ms,
        vocabularies,
        weight,
        worth,
        weak,
    )


def _at(share: float, n: int, weak: Mask | None) -> int:
    """The row at which a share of the true labels is over."""
    if weak is None:
        return int(share * n)
    true = np.flatnonzero(~weak)
    return int(true[int(share * len(true))])


def _weights(table: pd.DataFrame, name: str) -> Floats | None:
    """A column of numbers above 0; None where there is none, or no row differs."""
    if name not in table:
        return None
    weight = table[name].to_numpy(np.float64)
    if not (np.isfinite(weight) & (weight > 0)).all():
        raise DataError(f"column {name!r} holds what is not a number above 0")
    return None if (weight == weight[0]).all() else weight


def _with_windowed(task: Task, table: pd.DataFrame) -> pd.DataFrame:
    try:
        return with_windowed(task, table)
    except ValueError as error:
        raise DataError(str(error)) from error


def _times(series: pd.Series) -> pd.Series:
    try:
        times = pd.to_datetime(series.reset_index(drop=True), utc=True).dt.tz_localize(None)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {EVENT_TIME!r} does not hold times: {error}") from error
    if times.isna().any():
        raise DataError(f"{times.isna().sum()} rows have no {EVENT_TIME}")
    return times.rename(EVENT_TIME)


def _check_features(task: Task, columns: Columns) -> None:
    for feature in task.inputs:
        column = columns[feature.name]
        if column.valid is not None and not feature.nullable:
            raise DataError(
                f"feature {feature.name!r} is null in {(~column.valid).sum()} rows; declare it "
                "nullable=True, or leave those rows out"
            )
        if not isinstance(feature, Category) and np.isinf(column.values).any():
            raise DataError(f"feature {feature.name!r} is infinite in some rows")


def _target(task: Task, series: pd.Series, train: int) -> npt.NDArray[Any]:
    """The targets, of which the first ``train`` rows must hold two classes."""
    name = task.target.name
    if series.isna().any():
        raise DataError(f"target {name!r} is null in {series.isna().sum()} rows; leave them out")
    if task.kind == "regression":
        try:
            numbers = series.to_numpy(float)
        except (TypeError, ValueError) as error:
            raise DataError(f"target {name!r} does not hold numbers: {error}") from error
        if not np.isfinite(numbers).all():
            raise DataError(f"target {name!r} is infinite in some rows")
        return numbers
    if task.kind == "binary":
        if not series.isin([False, True]).all():
            raise DataError(f"target {name!r} holds more than true and false")
        answers: npt.NDArray[Any] = series.astype(bool).to_numpy(bool)
    else:
        answers = series.astype(str).to_numpy(object)
        strange = sorted(set(answers) - set(task.classes))
        if strange:
            raise DataError(f"target {name!r} holds {', '.join(strange[:5])}: not classes of it")
    _check_classes(name, answers[:train])
    return answers


def _check_classes(name: str, answers: npt.NDArray[Any]) -> None:
    classes, counts = np.unique(answers, return_counts=True)
    if (counts >= MIN_CLASS_ROWS).sum() < 2:
        seen = ", ".join(f"{c} {n} times" for c, n in zip(classes, counts, strict=True))
        raise DataError(
            f"target {name!r} is {seen} in the first {TRAIN:.0%} of the rows; training needs two "
            f"values with {MIN_CLASS_ROWS} rows each"
        )


def _vocabularies(task: Task, columns: Columns) -> dict[str, list[str]]:
    """The names that the version knows: the declared ones, else the most frequent, sorted."""
    known = {}
    for feature in task.inputs:
        if not isinstance(feature, Category):
            continue
        if feature.values is not None:
            known[feature.name] = list(feature.values)
            continue
        column = columns[feature.name]
        values = column.values if column.valid is None else column.values[column.valid]
        words, counts = np.unique(values.astype(object), return_counts=True)
        most = np.argsort(-counts, kind="stable")[:MAX_WORDS]
        known[feature.name] = sorted(words[most].tolist())
    return known


def _dataset_id(parts: Sequence[tuple[str, Column]]) -> str:
    digest = hashlib.sha256()
    for name, column in parts:
        digest.update(f"{name} {len(column)}\n".encode())
        if column.values.dtype == object:
            digest.update(json.dumps(column.values.tolist()).encode())
        else:
            # One bit pattern for each number: adding 0 makes -0.0 a 0.0, and NaN are all alike.
            numbers = np.asarray(column.values, "<f8") + 0.0
            digest.update(np.where(np.isnan(numbers), np.nan, numbers).tobytes())
        if column.valid is not None:
            digest.update(np.packbits(column.valid).tobytes())
    return f"ds-{digest.hexdigest()[:12]}"
