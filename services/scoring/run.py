"""Chunk by chunk from a source to a file: every row that goes in comes out, answered or refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.columns import Column, constant
from schemas.records import Kind
from services.scoring.inputs import Layout, Read, read
from services.scoring.sources import Source
from streams.dead_letters import words
from streams.offline import Scored, score
from streams.task import Task
from streams.version import Version

Progress = Callable[[int, float | None], None]
"""Told how many rows are answered, and which share of all that is (None: nobody knows)."""

MOST_EXAMPLES = 5
"""Refused rows that a summary tells of."""

_ANSWER: dict[Kind, pa.DataType] = {
    "binary": pa.bool_(),
    "multiclass": pa.string(),
    "regression": pa.float64(),
}


@dataclass
class Summary:
    """What became of the rows. refused: the first few by row number, and why."""

    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    refused: dict[int, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        counts = {name: self.statuses[name] for name in ("answered", "deferred", "rejected")}
        examples = [{"row": row, "reason": why} for row, why in self.refused.items()]
        return {"rows": self.rows, **counts, "examples": examples}


def schema_of(kind: Kind) -> pa.Schema:
    """The columns of scored rows: the fields of a prediction, after the row's number.

    row: of the source, the first is 1. reason: why it was deferred or rejected.
    """
    floats = pa.list_(pa.float64())
    return pa.schema(
        {
            "row": pa.int64(),
            "request_id": pa.string(),
            "event_time": pa.timestamp("ms", "UTC"),
            "status": pa.string(),
            "reason": pa.string(),
            "answer": _ANSWER[kind],
            "probability": pa.float64(),
            "probabilities": floats,
            "gate_decision": pa.string(),
            "gate_score": pa.float64(),
            "explored": pa.bool_(),
            "model_propensity": pa.float64(),
            "expected": floats,
            "expected_spread": floats,
            "outside_region": pa.bool_(),
            "version": pa.string(),
            "dataset_id": pa.string(),
            "role": pa.string(),
        }
    )


def scored_tables(
    task: Task,
    version: Version,
    role: str,
    source: Source,
    now_ms: int,
    summary: Summary,
    progress: Progress = lambda rows, done: None,
) -> Iterator[pa.Table]:
    """The rows of a source as a version answers them, in their order; ``summary`` counts them.

    Raises TableError where the source lacks columns, SourceError where it cannot be read.
    """
    layout = Layout.of(task, source.names)
    schema = schema_of(task.kind)
    for chunk in source.chunks():
        first = summary.rows + 1
        found = read(task, layout, chunk.table, first, now_ms, chunk.refused)
        scored = score(task, version, role, found.columns, now_ms) if len(found.rows) else None
        table = answers_table(schema, first, found, scored)
        summary.rows += table.num_rows
        for name, count in zip(
            *np.unique(table["status"].to_pylist(), return_counts=True), strict=True
        ):
            summary.statuses[str(name)] += int(count)
        _examples(summary, first, found, scored)
        progress(summary.rows, chunk.done)
        yield table


def _examples(summary: Summary, first: int, found: Read, scored: Scored | None) -> None:
    refused = _refused(found, scored)
    for row in sorted(refused)[: MOST_EXAMPLES - len(summary.refused)]:
        summary.refused[first + row] = refused[row]


def _refused(found: Read, scored: Scored | None) -> Mapping[int, str]:
    """Of each refused row why, in the words of a rejected prediction."""
    refused = dict(found.refused)
    if scored is not None:
        refused |= {int(found.rows[row]): why for row, why in scored.refused.items()}
    return {row: words(f"invalid: {why}") for row, why in refused.items()}


def answers_table(schema: pa.Schema, first: int, found: Read, scored: Scored | None) -> pa.Table:
    """The rows of `schema_of`: answers where a version gave some, refusals elsewhere."""
    n = len(found.ids)
    rows = np.empty(0, np.intp) if scored is None else found.rows[scored.rows]
    columns = {} if scored is None else dict(scored.columns)
    times = np.full(n, None, object)
    times[found.rows] = found.columns["event_time"].values
    reasons = np.full(n, None, object)
    for row, why in _refused(found, scored).items():
        reasons[row] = why
    if "reason" in columns:
        reasons[rows] = _objects(columns["reason"])
    status = np.full(n, "rejected", object)
    if "status" in columns:
        status[rows] = columns["status"].values
    made: dict[str, Any] = {
        "row": np.arange(first, first + n),
        "request_id": found.ids,
        "event_time": times,
        "status": status,
        "reason": reasons,
    }
    for name in schema.names:
        if name not in made:
            made[name] = _spread(columns.get(name, constant(None, len(rows))), rows, n)
    arrays = [pa.array(made[f.name], f.type, from_pandas=False) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _spread(column: Column, rows: npt.NDArray[np.intp], n: int) -> npt.NDArray[np.object_]:
    """A column's values where they belong among n rows, None elsewhere."""
    spread = np.full(n, None, object)
    values = _objects(column)
    for row, value in zip(rows.tolist(), values, strict=True):
        spread[row] = value
    return spread


def _objects(column: Column) -> list[Any]:
    """A column's values as Python's, None for null."""
    values = column.values
    if values.dtype == object and len(values) and isinstance(values[0], np.ndarray):
        found: list[Any] = [value.tolist() for value in values]
    else:
        found = values.tolist()
    if column.valid is not None:
        found = [value if there else None for value, there in zip(found, column.valid, strict=True)]
    return found
