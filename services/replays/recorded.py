"""Recorded requests with what was answered and what turned out to be true, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas.codec import Codec
from schemas.columns import Column, Columns
from schemas.topics import BY_NAME
from services.scoring.inputs import Layout, read
from services.scoring.sources import CHUNK_ROWS, Query
from streams.task import Task

OWN = ("request_id", "event_time", "entity")
SAID = ("status", "answer", "probability", "probabilities", "version")


@dataclass(frozen=True, eq=False)
class Recorded:
    """Requests that were answered or deferred.

    inputs: as `streams.offline.score` takes them. said: fields of their predictions (SAID).
    truth: of each the newest that is no weak label; null where none is known.
    """

    inputs: Columns
    said: Columns
    truth: Column

    def __len__(self) -> int:
        return len(self.truth)


def query(task: Task, begin_ms: int, end_ms: int) -> str:
    """The statement that gives recorded requests in order of event time, each once.

    A request that was refused has no features and is left out.
    """
    within = (
        f"event_time >= fromUnixTimestamp64Milli({int(begin_ms)}) "
        f"AND event_time < fromUnixTimestamp64Milli({int(end_ms)})"
    )
    wanted = [*OWN, *SAID, *(f"features.{feature.name}" for feature in task.inputs)]
    columns = ", ".join(f"p.`{name}` AS `{name}`" for name in wanted)
    predictions, outcomes = (BY_NAME[name].table for name in ("predictions", "outcomes"))
    return f"""
        SELECT {columns}, o.truth AS _truth, o.there AS _known
        FROM (
            SELECT * FROM `{task.name}`.`{predictions}`
            WHERE status != 'rejected' AND {within}
            LIMIT 1 BY _partition, _offset
        ) AS p
        LEFT JOIN (
            SELECT request_id, truth, 1 AS there FROM `{task.name}`.`{outcomes}`
            WHERE label != 'weak' AND {within}
            ORDER BY revision DESC LIMIT 1 BY request_id
        ) AS o ON p.request_id = o.request_id
        ORDER BY event_time, request_id
    """


def from_clickhouse(
    task: Task, begin_ms: int, end_ms: int, stream: Callable[[str, str], Iterator[bytes]]
) -> Iterator[Recorded]:
    """Recorded requests from the tables of predictions and outcomes.

    Event times from ``begin_ms`` and before ``end_ms``. stream: as `Query` takes it.
    """
    source = Query(query(task, begin_ms, end_ms), stream)
    layout = Layout.of(task, source.names)
    for chunk in source.chunks():
        found = read(task, layout, chunk.table, 1, 0, {})
        table = chunk.table.take(found.rows)
        said: Columns = {}
        for name in SAID:
            said[name] = _plain(table[name])
        known = np.array(table["_known"].to_pylist(), bool)
        truth = Column(np.array(table["_truth"].to_pylist(), object), known)
        yield Recorded(found.columns, said, truth)


def from_kafka(
    task: Task,
    begin_ms: int,
    end_ms: int,
    codecs: Mapping[str, Codec],
    values: Callable[[str], Iterator[Sequence[bytes | None]]],
) -> Iterator[Recorded]:
    """The same from the topics; truths are held in memory. values: of a topic, in batches."""
    truths: dict[str, tuple[int, Any]] = {}
    for batch in values("outcomes"):
        decoded = codecs["outcome"].decode(batch).columns
        chosen = _within(decoded, begin_ms, end_ms) & (decoded["label"].values != "weak")
        ids, truth = decoded["request_id"].values[chosen], decoded["truth"].values[chosen]
        for id_, revision, value in zip(
            ids.tolist(), decoded["revision"].values[chosen].tolist(), truth.tolist(), strict=True
        ):
            if id_ not in truths or revision >= truths[id_][0]:
                truths[id_] = revision, value
    paths = [*OWN, *(f"features.{feature.name}" for feature in task.inputs)]
    for batch in values("predictions"):
        for first in range(0, len(batch), CHUNK_ROWS):
            columns = codecs["prediction"].decode(batch[first : first + CHUNK_ROWS]).columns
            chosen = _within(columns, begin_ms, end_ms) & (columns["status"].values != "rejected")
            if not chosen.any():
                continue
            columns = {path: column.take(chosen) for path, column in columns.items()}
            found = [truths.get(id_) for id_ in columns["request_id"].values.tolist()]
            known = np.array([one is not None for one in found], bool)
            truth = np.full(len(found), None, object)
            truth[:] = [None if one is None else one[1] for one in found]
            yield Recorded(
                {path: columns[path] for path in paths},
                {name: columns[name] for name in SAID},
                Column(truth, known),
            )


def _within(columns: Columns, begin_ms: int, end_ms: int) -> Any:
    times = columns["event_time"].values
    return (times >= begin_ms) & (times < end_ms)


def _plain(column: Any) -> Column:
    """Arrow values as a column of Python's, null where there is none."""
    values = np.full(len(column), None, object)
    values[:] = column.to_pylist()
    valid = np.array([value is not None for value in values], bool)
    return Column(values, None if valid.all() else valid)
