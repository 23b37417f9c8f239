"""Tables of any origin as requests: columns as a worker decodes them, and what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.columns import Column, Columns, constant
from schemas.features import Boolean, Category, Feature, Integer
from services.texts import boolean, millis, real, whole
from streams.task import Task
from streams.task import millis as millis_of

PREFIX = "features."
OWN_COLUMNS = ("request_id", "event_time", "entity")
Mask = npt.NDArray[np.bool_]
Parse = Callable[[Any], Any]


class TableError(ValueError):
    """A table that holds no requests of the task; the message lists what is missing."""


@dataclass(frozen=True, slots=True)
class Read:
    """The requests in n rows of a table.

    ids: of all n rows. rows: of the n, those that are requests. columns: theirs, windowed features
    among them. refused: of each other row why.
    """

    ids: npt.NDArray[np.object_]
    rows: npt.NDArray[np.intp]
    columns: Columns
    refused: Mapping[int, str]


@dataclass(frozen=True)
class Layout:
    """Which columns of a table hold what.

    inputs: of each input of the model the column, None where the table has none. own: the columns
    of request_id, event_time and entity, where there are some.
    """

    inputs: Sequence[tuple[Feature, str | None]]
    own: Mapping[str, str]

    @classmethod
    def of(cls, task: Task, names: Sequence[str]) -> Layout:
        """The layout of a table with these columns: a feature's name, or ``features.<name>``.

        Raises TableError naming every feature that must be there and is not.
        """
        known = set(names)
        found: list[tuple[Feature, str | None]] = []
        for feature in task.inputs:
            both = (PREFIX + feature.name, feature.name)
            found.append((feature, next((name for name in both if name in known), None)))
        missing = [f.name for f, name in found if name is None and not f.nullable]
        if missing:
            raise TableError(
                f"it has no column {', '.join(missing)}, which the task {task.name} needs; "
                f"its columns are {', '.join(names)}"
            )
        own: dict[str, str] = {name: name for name in OWN_COLUMNS if name in known}
        return cls(found, own)

    @property
    def absent(self) -> list[str]:
        """The inputs that the table lacks; they are null."""
        return [feature.name for feature, name in self.inputs if name is None]


def read(
    task: Task,
    layout: Layout,
    table: pa.Table,
    first: int,
    now_ms: int,
    refused: Mapping[int, str],
) -> Read:
    """The requests in a table.

    first: number of its first row: ids that are missing are made of it. now_ms: event time of rows
    that have none. refused: rows that are known to be none, and why.
    """
    n = table.num_rows
    problems: dict[int, list[str]] = {row: [why] for row, why in refused.items()}
    columns: Columns = {}
    ids = constant(None, n)
    if "request_id" in layout.own:
        ids = _texts(table[layout.own["request_id"]])
    made = np.array([f"row-{first + i}" for i in range(n)], object)
    names = made if ids.valid is None and ids.values.dtype != object else ids.values
    if ids.valid is not None:
        names = np.where(ids.valid, ids.values, made)
    columns["request_id"] = Column(np.asarray(names, object))
    columns["entity"] = (
        _texts(table[layout.own["entity"]]) if "entity" in layout.own else constant(None, n)
    )
    columns["event_time"] = _times(task, layout, table, now_ms, problems)
    for feature, name in layout.inputs:
        path = PREFIX + feature.name
        if name is None:
            columns[path] = constant(None, n)
            continue
        column, wrong = _column(feature, table[name])
        for row, why in wrong.items():
            problems.setdefault(row, []).append(f"{feature.name}: {why}")
        if not feature.nullable and column.valid is not None:
            for row in np.flatnonzero(~column.valid).tolist():
                if row not in wrong:
                    why = f"{feature.name} is missing; the task says that it is never null"
                    problems.setdefault(row, []).append(why)
            column = Column(column.values)
        columns[path] = column
    rows = np.setdiff1d(np.arange(n), np.array(list(problems), np.intp))
    if len(rows) < n:
        columns = {path: column.take(rows) for path, column in columns.items()}
    told = {
        row: "; ".join(found if row not in refused else found[:1])
        for row, found in problems.items()
    }
    return Read(np.asarray(names, object), rows, columns, told)


def _times(
    task: Task, layout: Layout, table: pa.Table, now_ms: int, problems: dict[int, list[str]]
) -> Column:
    n = table.num_rows
    if "event_time" not in layout.own:
        # Nothing is placed by it here: any time that the task takes for possible will do.
        earliest, latest = task.event_times
        low = 0 if earliest is None else millis_of(earliest)
        high = now_ms if latest is None else millis_of(latest)
        return constant(min(max(now_ms, low), high), n)
    values = table[layout.own["event_time"]].combine_chunks()
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("ms", values.type.tz), safe=False).cast(pa.int64())
    column, wrong = _numbers(values, pa.int64(), np.int64, millis)
    for row, why in wrong.items():
        problems.setdefault(row, []).append(f"event_time: {why}")
    if column.valid is not None:
        for row in np.flatnonzero(~column.valid).tolist():
            if row not in wrong:
                problems.setdefault(row, []).append("event_time is missing")
    return Column(column.values)


def _column(feature: Feature, values: pa.ChunkedArray) -> tuple[Column, dict[int, str]]:
    """A feature's column, and of which rows it holds something else."""
    if isinstance(feature, Category):
        return _texts(values), {}
    array = values.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if isinstance(feature, Boolean):
        return _numbers(array, pa.bool_(), np.bool_, boolean)
    if isinstance(feature, Integer):
        return _numbers(array, pa.int64(), np.int64, whole)
    return _numbers(array, pa.float64(), np.float64, real)


def _numbers(
    array: pa.Array, wanted: pa.DataType, dtype: Any, parse: Parse
) -> tuple[Column, dict[int, str]]:
    """At once where all values fit, else one by one, to tell which do not."""
    wrong: dict[int, str] = {}
    boolean_as_number = pa.types.is_boolean(array.type) and not pa.types.is_boolean(wanted)
    number_as_boolean = pa.types.is_boolean(wanted) and not pa.types.is_boolean(array.type)
    try:
        if boolean_as_number or number_as_boolean:
            raise pa.ArrowInvalid
        array = array.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        made: list[Any] = []
        for row, value in enumerate(array.to_pylist()):
            try:
                made.append(None if value is None else parse(value))
            except ValueError as error:
                wrong[row] = str(error)
                made.append(None)
        array = pa.array(made, wanted)
    valid = None
    if array.null_count:
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        array = array.fill_null(np.zeros(1, dtype)[0].item())
    return Column(array.to_numpy(zero_copy_only=False).astype(dtype, copy=False), valid), wrong


def _texts(values: pa.ChunkedArray) -> Column:
    array = values.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    array = array.cast(pa.string())
    valid = None
    if array.null_count:
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        array = array.fill_null("")
    return Column(np.asarray(array.to_numpy(zero_copy_only=False), object), valid)
