"""Runs the behavioural tests that a task declares on a version, by the path of serving."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.features import Boolean, Category, Feature
from streams.frame import columns_of
from streams.task import Task
from streams.training.behaviour import (
    Behaviour,
    Directional,
    Functionality,
    Invariance,
    Severity,
    Where,
)
from streams.training.metrics import scores
from streams.version import Answers, Version

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

EXAMPLES = 3
"""Rows that a finding shows: the ones that fail by most."""


@dataclass(frozen=True, eq=False)
class Rows:
    """What a version is tested on: rows that it was not chosen by, all with a true label.

    table: a column an input, numbers as float64 with NaN for null, categories as str or None.
    truth: (n,); held_out: answers by a model that has not seen them (the rehearsal's).
    weight: (n,), how much each counts; None: all the same.
    """

    table: pd.DataFrame
    truth: npt.NDArray[Any]
    held_out: Answers
    weight: Floats | None = None


@dataclass(frozen=True)
class Finding:
    """What became of one test.

    rows: how many it was about; failed: the share of them, by weight, that fails, of which
    ``allowed`` may; of a measure: value is what was found. note: why it could not be judged, or
    what else there is to say. examples: failing rows, as JSON data with what was ``before`` and
    ``after`` a change, or ``expected`` and ``answered``.
    """

    name: str
    kind: str
    severity: Severity
    passed: bool
    rows: int
    failed: float = 0.0
    allowed: float = 0.0
    value: float | None = None
    note: str = ""
    examples: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    def facts(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self) | {"examples": [dict(example) for example in self.examples]}


def run(task: Task, version: Version, rows: Rows) -> list[Finding]:
    """A finding for each test that the task declares, in their order.

    Changes and plain cases are answered by ``version``, which is to be registered; a measure of a
    slice is of the held-out answers, since the version has learned from these rows.
    """
    return [_run(task, version, rows, test) for test in task.training.behaviour]


def as_table(inputs: Sequence[Feature], frame: pd.DataFrame) -> pd.DataFrame:
    """A model's frame as the table that a test's functions get."""
    table = {}
    for feature in inputs:
        column = frame[feature.name]
        if isinstance(feature, Category):
            words = column.astype(object)
            table[feature.name] = words.where(words.notna(), None)
        else:
            table[feature.name] = column.astype(np.float64)
    return pd.DataFrame(table).reset_index(drop=True)


def _run(task: Task, version: Version, rows: Rows, test: Behaviour) -> Finding:
    try:
        if isinstance(test, Functionality):
            return _cases(task, version, test) if test.rows else _measured(task, rows, test)
        chosen = _chosen(rows.table, test.where)
        table = rows.table[chosen].reset_index(drop=True)
        weight = None if rows.weight is None else rows.weight[chosen]
        if isinstance(test, Invariance):
            return _invariance(task, version, table, weight, test)
        return _directional(task, version, table, weight, test)
    except Exception as error:  # the task's own function, or a model that cannot answer
        return _finding(test, 0, False, note=f"it failed: {type(error).__name__}: {error}")


def _invariance(
    task: Task, version: Version, table: pd.DataFrame, weight: Floats | None, test: Invariance
) -> Finding:
    if not len(table):
        return _finding(test, 0, True, note="there is no such row: not judged")
    given = test.change(table.copy())
    if len(given) != len(table):
        raise ValueError(f"change gave {len(given)} rows for {len(table)}")
    changed = table.assign(**{name: given[name].to_numpy() for name in test.features})
    before, after = _answers(task, version, table), _answers(task, version, changed)
    moved = np.abs(after - before).max(axis=1)
    shown = before.shape[1] - 1 if task.kind == "multiclass" else 0

    def example(at: int) -> dict[str, Any]:
        # Of several classes the one that moved by most.
        column = int(np.abs(after[at] - before[at]).argmax()) if shown else 0
        of = {"of": task.classes[column]} if shown else {}
        return of | {"before": float(before[at, column]), "after": float(after[at, column])}

    return _compared(task, test, table, changed, moved - test.at_most, weight, example)


def _directional(
    task: Task, version: Version, table: pd.DataFrame, weight: Floats | None, test: Directional
) -> Finding:
    feature = next(f for f in task.inputs if f.name == test.feature)
    low, high = getattr(feature, "low", None), getattr(feature, "high", None)
    values = table[test.feature].to_numpy(np.float64)
    raised = (
        np.clip(values + test.by, low, high) if (low, high) != (None, None) else values + test.by
    )
    movable = np.isfinite(values) & (raised != values)
    if not movable.any():
        return _finding(test, 0, True, note="there is no row in which it can move: not judged")
    table = table[movable].reset_index(drop=True)
    changed = table.assign(**{test.feature: raised[movable]})
    column = task.classes.index(test.of) if test.of else 0
    before = _answers(task, version, table)[:, column]
    after = _answers(task, version, changed)[:, column]
    against = before - after if test.expect == "not_lower" else after - before

    def example(at: int) -> dict[str, Any]:
        return {"before": float(before[at]), "after": float(after[at])}

    weight = None if weight is None else weight[movable]
    return _compared(task, test, table, changed, against - test.at_most, weight, example)


def _compared(
    task: Task,
    test: Invariance | Directional,
    table: pd.DataFrame,
    changed: pd.DataFrame,
    beyond: Floats,
    weight: Floats | None,
    example: Any,
) -> Finding:
    """What rows say whose answer moved by ``beyond`` more than it may."""
    fails = beyond > 1e-12  # not by rounding
    failed = float(np.average(fails, weights=weight))
    names = test.features if isinstance(test, Invariance) else [test.feature]
    worst = np.argsort(-beyond, kind="stable")[: min(EXAMPLES, int(fails.sum()))]
    examples = [
        {
            "row": _row(task.inputs, table, int(at)),
            "changed": {name: _row(task.inputs, changed, int(at))[name] for name in names},
            **example(int(at)),
        }
        for at in worst
    ]
    passed = failed <= test.share
    return _finding(test, len(table), passed, failed=failed, allowed=test.share, examples=examples)


def _cases(task: Task, version: Version, test: Functionality) -> Finding:
    """Plain cases, each with its answer."""
    table = pd.DataFrame(
        [{f.name: row.get(f.name) for f in task.inputs} for row in test.rows],
        columns=[f.name for f in task.inputs],
        dtype=object,
    )
    given = _ask(task, version, table)
    wanted = np.array(test.answers, given.answer.dtype)
    if task.kind == "regression":
        fails = ~(np.abs(given.answer - wanted) <= test.within)
    else:
        fails = given.answer != wanted
    examples = []
    for at in np.flatnonzero(fails)[:EXAMPLES].tolist():
        row = _row(task.inputs, table, at)
        found = {"row": row, "expected": test.answers[at], "answered": _plain(given.answer[at])}
        if given.probability is not None:
            found["probability"] = float(given.probability[at])
        examples.append(found)
    failed = float(fails.mean())
    return _finding(
        test, len(table), failed <= test.share, failed=failed, allowed=test.share, examples=examples
    )


def _measured(task: Task, rows: Rows, test: Functionality) -> Finding:
    """A measure of a slice."""
    chosen = _chosen(rows.table, test.where)
    count = int(chosen.sum())
    if count < test.least_rows:
        note = f"{count} such rows are fewer than {test.least_rows}: not judged"
        return _finding(test, count, True, note=note)
    weight = None if rows.weight is None else rows.weight[chosen]
    found = scores(task, rows.truth[chosen], rows.held_out.take(chosen), weight)[test.measure]
    low = test.at_least is None or found >= test.at_least
    high = test.at_most is None or found <= test.at_most
    bounds = [f"at least {test.at_least:g}"] if test.at_least is not None else []
    bounds += [f"at most {test.at_most:g}"] if test.at_most is not None else []
    note = f"{test.measure} is {found:.4f}, must be {' and '.join(bounds)}"
    return _finding(test, count, low and high, value=found, note=note)


def _chosen(table: pd.DataFrame, where: Where | None) -> Mask:
    mask = np.ones(len(table), bool)
    for name, wanted in (where or {}).items():
        values = wanted if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
        mask &= table[name].isin(list(values)).to_numpy(bool)
    return mask


def _ask(task: Task, version: Version, table: pd.DataFrame) -> Answers:
    return version.predict(version.frame(columns_of(task.inputs, table)))


def _answers(task: Task, version: Version, table: pd.DataFrame) -> Floats:
    """(n, k): the probability of true, of each class, or a regression's answer. ValueError: NaN."""
    given = _ask(task, version, table)
    if task.kind == "multiclass":
        assert given.probabilities is not None
        found: Floats = given.probabilities
    else:
        found = (given.answer if task.kind == "regression" else given.probability)[:, None]  # type: ignore[index]
    if not np.isfinite(found).all():
        raise ValueError("it answers with numbers that are not finite")
    return found


def _row(inputs: Sequence[Feature], table: pd.DataFrame, at: int) -> dict[str, Any]:
    """A row as JSON data, null for missing."""
    row: dict[str, Any] = {}
    for feature in inputs:
        value = _plain(table[feature.name].iloc[at])
        missing = value is None or (isinstance(value, float) and not math.isfinite(value))
        if missing:
            row[feature.name] = None
        else:
            row[feature.name] = bool(value) if isinstance(feature, Boolean) else value
    return row


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _finding(test: Behaviour, rows: int, passed: bool, **more: Any) -> Finding:
    return Finding(test.name, type(test).__name__.lower(), test.severity, passed, rows, **more)
