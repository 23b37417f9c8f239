"""The windowed stage without Kafka: outcomes and predictions in, values of requests out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from schemas.columns import Columns
from streams.codecs import codecs
from streams.store import Stores
from streams.task import Task, Windowed
from streams.transport.batch import Output, RecordBatch, joined
from streams.windowed.agent import Cells
from streams.windowed.definition import Definition
from streams.windowed.table import Snapshot, Table
from tests.streams.joining import FEATURES, prediction
from tests.streams.tasks import START, batch_of, task_of

NOT_OF_OUTCOMES = ("app_version", "timings")
MINUTE_MS = 60_000
MINUTE = timedelta(minutes=1)
WINDOWED = [
    Windowed("shop_late", 30 * MINUTE, by="shop"),
    Windowed("late_10", 10 * MINUTE),
    Windowed("known", 30 * MINUTE, by=["shop", "fresh"], aggregate="count"),
    Windowed("asked", 20 * MINUTE, by="age", of="requests", aggregate="rate"),
]
TASK = task_of(windowed=WINDOWED, partitions=2)


def features(**changes: Any) -> dict[str, Any]:
    return {**FEATURES, **changes}


def asked(event_time: int, **changes: Any) -> dict[str, Any]:
    """A prediction; its worker's clock is far ahead, as in a replay."""
    given = features(**changes.pop("features", {}))
    return prediction("r", event_time, predicted_at=START * 2, features=given, **changes)


def known(known_at: int, truth: Any = True, **changes: Any) -> dict[str, Any]:
    """An outcome."""
    given = features(**changes.pop("features", {}))
    answered = prediction("r", known_at - MINUTE_MS, features=given)
    return {
        **{name: value for name, value in answered.items() if name not in NOT_OF_OUTCOMES},
        "known_at": known_at,
        "joined_at": START * 2,
        "revision": 0,
        "truth": truth,
        "source": "system",
        **changes,
    }


class Counting:
    """The stage and a worker's table; records get their offsets as they come."""

    def __init__(self, folder: Path, task: Task = TASK) -> None:
        self.task, self.folder = task, folder
        self.definition = Definition(task)
        self.codecs = codecs(task)
        self.records: dict[tuple[str, int], list[dict[str, Any]]] = {}
        self.taken: list[RecordBatch] = []
        # Offsets that ends of transactions took, by topic and partition.
        self.gaps: dict[tuple[str, int], int] = {}
        self.outputs: list[Output] = []
        # False: the process dies before it writes what it commits from now on.
        self.writes = True
        self.begin()

    def begin(self) -> None:
        self.stores = Stores(self.folder)
        self.cells = Cells(self.task, self.definition, self.codecs, self.stores, lambda: START)
        for partition in range(self.task.partitions):
            self.cells.open(partition)

    def restart(self) -> None:
        """Another process over the same disk, or over another one (`folder`).

        What the disk lacks is replayed, in other batches and without publishing any of it.
        """
        self.cells.close()
        self.stores.close()
        self.writes = True
        self.begin()
        self.cells.close()
        places: dict[tuple[str, int], list[RecordBatch]] = {}
        for batch in self.taken:
            offsets = self.stores.get(self.cells.stage, batch.partition).offsets
            if batch.next_offset > offsets.get(batch.topic, 0):
                places.setdefault(batch.tp, []).append(batch)
        for batches in places.values():
            assert self._count(joined(batches)) == []
        for partition in range(self.task.partitions):
            self.cells.open(partition)

    def take(self, topic: str, partition: int, records: Sequence[dict[str, Any]]) -> list[Output]:
        """One batch; what it publishes."""
        batch = self.fetched(topic, partition, records)
        self.taken.append(batch)
        outputs = self._count(batch)
        self.outputs += outputs
        return outputs

    def take_together(self, topic: str, parts: Sequence[Sequence[dict[str, Any]]]) -> list[Output]:
        """One batch of all partitions that have records; what it publishes."""
        batches = [self.fetched(topic, p, records) for p, records in enumerate(parts) if records]
        self.taken += batches
        outputs = self._count(joined(batches)) if batches else []
        self.outputs += outputs
        return outputs

    def fetched(self, topic: str, partition: int, records: Sequence[dict[str, Any]]) -> RecordBatch:
        """The next records of a partition."""
        before = self.records.setdefault((topic, partition), [])
        codec = self.codecs[topic.rstrip("s")]
        batch = batch_of(
            f"{self.task.name}.{topic}",
            codec.write_many(records),
            first=len(before),
            partition=partition,
        )
        batch.offsets += self.gaps.get((topic, partition), 0)
        before += records
        return batch

    def _count(self, batch: RecordBatch) -> list[Output]:
        result = self.cells(batch)
        assert result.after_commit is not None
        if self.writes:
            result.after_commit()
        return result.outputs

    def table(self, compacted: bool = False) -> Table:
        """What a worker knows that has read the topic from its start."""
        table = Table(self.definition)
        feed(table, self, self.outputs, compacted)
        return table

    def updates(self, outputs: Sequence[Output]) -> list[dict[str, Any]]:
        """The records of the features' topic."""
        codec = self.codecs["feature_update"]
        topic = f"{self.task.name}.features"
        return [codec.read(v) for output in outputs if output.topic == topic for v in output.values]

    def requests(self, records: Sequence[dict[str, Any]]) -> Columns:
        codec = self.codecs["prediction"]
        return codec.decode(codec.write_many(records)).columns

    def values(self, snapshot: Snapshot, records: Sequence[dict[str, Any]]) -> list[list[Any]]:
        """The windowed features of each request, None for null."""
        found = snapshot.columns(self.requests(records), len(records))
        columns = []
        for windowed in self.task.windowed:
            column = found[f"features.{windowed.name}"]
            valid = np.ones(len(records), bool) if column.valid is None else column.valid
            columns.append([v if ok else None for v, ok in zip(column.values, valid, strict=True)])
        return [list(row) for row in zip(*columns, strict=True)]


def feed(
    table: Table, counting: Counting, outputs: Sequence[Output], compacted: bool = False
) -> None:
    """Let a table read what was published; compacted: the last record of each key alone."""
    records = [
        (key, value)
        for output in outputs
        for key, value in zip(output.keys, output.values, strict=True)
    ]
    if compacted:
        last = {key: i for i, (key, _) in enumerate(records)}
        records = [records[i] for i in sorted(last.values())]
    for _, value in records:
        table.take(counting.codecs["feature_update"].read(value))
