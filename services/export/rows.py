"""Rows to compare a version's forms on, and to teach a student with: its own, or given ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.columns import Column, Columns
from schemas.records import Kind
from services.scoring.inputs import Layout, TableError, read
from services.scoring.sources import Source
from services.texts import boolean, real
from streams.frame import columns_of
from streams.task import Task
from streams.version import Version
from streams.windowed.history import with_windowed

LEAST = 50
"""Rows of a part, below which it says nothing."""
TAUGHT = 0.8
"""The share of the rows that a student is taught with where time does not tell them apart."""
MOST = 200_000
"""Newest rows that are kept: enough for a student, and they fit into memory."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Two parts of the rows, in order of time.

    taught: inputs for a student. judged: inputs that forms are compared on; truth: theirs, None
    where unknown. held_out: whether ``judged`` is later than all that the version was trained on;
    None: nobody knows.
    """

    taught: pd.DataFrame
    judged: pd.DataFrame
    truth: npt.NDArray[Any] | None
    held_out: bool | None


def of_history(task: Task, version: Version) -> Rows:
    """The task's history: what is later than the version's training, where it reaches that far.

    Raises TableError where the task has none.
    """
    if task.history is None:
        raise TableError(f"the task {task.name} has no history: give rows (--rows FILE|QUERY)")
    history = with_windowed(task, task.history()).tail(MOST)
    times = pd.to_datetime(history["event_time"], utc=True).dt.tz_localize(None)
    millis = times.to_numpy("datetime64[ms]").astype(np.int64)
    order = np.argsort(millis, kind="stable")
    history, millis = history.iloc[order].reset_index(drop=True), millis[order]
    truth = history[task.target.name].to_numpy()
    return _parts(version, columns_of(task.inputs, history), truth, millis)


def of_source(task: Task, version: Version, source: Source) -> Rows:
    """Rows of a file or a query, with truths where it has the target's name or ``truth`` as a
    column. Raises TableError."""
    layout = Layout.of(task, source.names)
    named = [name for name in (task.target.name, "truth") if name in source.names]
    parts: list[Columns] = []
    truths: list[Any] = []
    for chunk in source.chunks():
        found = read(task, layout, chunk.table, 1, 0, chunk.refused)
        if len(found.rows):
            parts.append(found.columns)
            if named:
                truths += chunk.table[named[0]].take(found.rows).to_pylist()
    if not parts:
        raise TableError("there are no rows that the task could be asked about")
    columns = {
        path: part if len(parts) == 1 else _joined([one[path] for one in parts])
        for path, part in parts[0].items()
    }
    truth = _truth(task, truths) if named else None
    if "event_time" not in layout.own:
        return _parts(version, columns, truth, None)
    order = np.argsort(columns["event_time"].values, kind="stable")
    columns = {path: column.take(order) for path, column in columns.items()}
    ordered = None if truth is None else truth[order]
    return _parts(version, columns, ordered, columns["event_time"].values)


def _parts(
    version: Version,
    columns: Columns,
    truth: npt.NDArray[Any] | None,
    millis: npt.NDArray[np.int64] | None,
) -> Rows:
    frame = version.frame(columns)
    n = len(frame)
    if n < 2 * LEAST:
        raise TableError(f"{n} rows are too few: {2 * LEAST} are the least")
    cut, held_out = int(n * TAUGHT), None
    if millis is not None:
        end = version.manifest["dataset"]["to"]
        seen = int((millis <= end).sum())  # rows are in order of time
        if seen >= LEAST and n - seen >= LEAST:
            cut = seen
        held_out = bool((millis[cut:] > end).all())
    return Rows(
        frame.iloc[:cut].reset_index(drop=True),
        frame.iloc[cut:].reset_index(drop=True),
        None if truth is None else truth[cut:],
        held_out,
    )


def _joined(columns: list[Column]) -> Column:
    values = np.concatenate([column.values for column in columns])
    if all(column.valid is None for column in columns):
        return Column(values)
    valid = [column.present for column in columns]
    return Column(values, np.concatenate(valid))


def _truth(task: Task, given: list[Any]) -> npt.NDArray[Any]:
    parses: dict[Kind, Callable[[Any], Any]] = {
        "binary": boolean,
        "multiclass": str,
        "regression": real,
    }
    parse = parses[task.kind]
    try:
        values = [parse(value) for value in given]
    except ValueError as error:
        raise TableError(f"a truth of the rows: {error}") from error
    return np.array(values, object if task.kind == "multiclass" else None)
