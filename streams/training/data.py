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
from streams.training.errors import DataError
from streams.windowed.history import with_windowed

EVENT_TIME, REQUEST_ID = "event_time", "request_id"

MIN_ROWS = 60
"""Below it the tests' seventh of the rows would be fewer than ten: chance, not evidence."""
MIN_CLASS_ROWS = 5
"""Rows that a class needs to be counted as there: one for each fold of the gate's training."""
MAX_WORDS = 255
"""Most names in a vocabulary: what scikit-learn's histogram trees take. Rarer ones are missing."""
TRAIN, VALIDATION = 0.70, 0.85
"""Shares of the rows, by time, at which training and validation end; the rest is the test."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows in order of event time.

    id: ``ds-<12 hex>``, a hash of the rows' features, targets and times.
    frame: (n, features), as `streams.frame.frame` makes it with ``vocabularies``.
    target: (n,) bool, object of str, or float64, by the task's kind.
    times_ms: (n,) int64, milliseconds since 1970 UTC, ascending.
    """

    id: str
    frame: pd.DataFrame
    target: npt.NDArray[Any]
    times_ms: npt.NDArray[np.int64]
    vocabularies: Mapping[str, Sequence[str]]

    def __len__(self) -> int:
        return len(self.target)

    def rows(self, where: slice | npt.NDArray[np.bool_]) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
        """Features and targets of some rows."""
        return self.frame[where].reset_index(drop=True), self.target[where]

    @property
    def train(self) -> slice:
        """The first rows by time, that candidates are fitted on."""
        return slice(0, int(TRAIN * len(self)))

    @property
    def validation(self) -> slice:
        """The rows after them, that choose the candidate and the gate's threshold."""
        return slice(int(TRAIN * len(self)), int(VALIDATION * len(self)))

    @property
    def test(self) -> slice:
        """The newest rows, that nothing was chosen by."""
        return slice(int(VALIDATION * len(self)), len(self))


def prepare(task: Task, table: pd.DataFrame) -> Dataset:
    """Check a table and put it in order.

    ``table`` has the task's features, its target's name, ``event_time`` (UTC; a time without a
    zone counts as UTC) and, where there is one, ``request_id``, which orders rows of one time.
    Windowed features that are not among its columns are computed from it, with ``known_at``.
    Raises DataError.
    """
    for name in (EVENT_TIME, task.target.name):
        if name not in table:
            raise DataError(f"the data has no column {name!r}")
    if len(table) < MIN_ROWS:
        raise DataError(f"{len(table)} rows are too few to train on; {MIN_ROWS} are needed")
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
    target = _target(task, table[task.target.name])
    vocabularies = _vocabularies(task, columns)
    return Dataset(
        _dataset_id(task, columns, target, times_ms),
        frame(task, columns, vocabularies, prefix=""),
        target,
        times_ms,
        vocabularies,
    )


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


def _target(task: Task, series: pd.Series) -> npt.NDArray[Any]:
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
    _check_classes(name, answers[: int(TRAIN * len(answers))])
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


def _dataset_id(
    task: Task, columns: Columns, target: npt.NDArray[Any], times_ms: npt.NDArray[np.int64]
) -> str:
    digest = hashlib.sha256()
    parts = [(f.name, columns[f.name]) for f in task.inputs]
    parts += [(task.target.name, Column(target)), (EVENT_TIME, Column(times_ms))]
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
