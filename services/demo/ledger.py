"""Reads the topics back and keeps account of every request: asked, answered, known, joined.

It reads committed records only and counts records, not offsets: transactions leave markers that
take offsets too. `advance` reads what has come since, so waiting for the system to finish costs
each record once.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from confluent_kafka import (
    OFFSET_BEGINNING,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from schemas.codec import Batch
from schemas.topics import BY_NAME
from services.contract import Contract
from streams.roles import ModelRecord, Roles, fold
from streams.transport.messages import BoundedConsumer

TIMEOUT_S = 30.0
"""Longest wait for the broker to send anything while there is more to read."""

RETRY_S = 0.1

AT_ONCE = 10_000
"""Records that are decoded together."""

Rows = npt.NDArray[np.int64]


class LedgerError(RuntimeError):
    """The topics cannot be read; the message says why."""


class Ledger:
    """The account of a task's topics; use as a context manager.

    records: data records read, by short topic name. accounts: one row a request id.
    roles: of the model versions. metrics: the latest revision of each metric record, by window,
    start and group.
    """

    def __init__(self, contract: Contract, librdkafka: Mapping[str, Any], home: Any = None) -> None:
        """``home``: folder of the deployment, for records that older schemas wrote."""
        self._librdkafka = {"log_level": 0, **librdkafka}
        self._admin = AdminClient(self._librdkafka)
        self._name = {full: topic.name for full, topic in contract.topics()}
        self._where = [
            (full, number)
            for full, topic in contract.topics()
            for number in range(contract.partitions_of(topic))
        ]
        self._read = {
            "requests": self._requests,
            "predictions": self._predictions,
            "truth": self._truths,
            "outcomes": self._outcomes,
            "metrics": self._metrics,
            "models": self._models,
        }
        self._codecs = {n: contract.codec(BY_NAME[n].record, home) for n in self._read}
        self._at = dict.fromkeys(self._where, 0)
        self.records = dict.fromkeys(self._name.values(), 0)
        self.accounts = Accounts()
        self.roles = Roles()
        self.metrics: dict[tuple[Any, ...], dict[str, Any]] = {}

    def __enter__(self) -> Self:
        self._consumer = BoundedConsumer(
            {
                **self._librdkafka,
                "group.id": "weir-ledger",  # librdkafka wants one; assign() never joins it
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,
            }
        )
        self._consumer.assign([TopicPartition(*each, OFFSET_BEGINNING) for each in self._where])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def advance(self) -> int:
        """Read up to where the topics end now; the number of records that were new."""
        ends, new = self._ends(), 0
        heard = time.monotonic()
        while any(self._at[each] < end for each, end in ends.items()):
            messages = self._consumer.consume(AT_ONCE, 0.05)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > TIMEOUT_S:
                behind = [f"{t} [{n}]" for (t, n), end in ends.items() if self._at[t, n] < end]
                raise LedgerError(f"the broker sends no more of {', '.join(behind)}")
            values: defaultdict[str, list[bytes | None]] = defaultdict(list)
            for message in messages:
                where = message.topic(), message.partition()
                error = message.error()
                if error is None:
                    values[message.topic()].append(message.value())
                    self._at[where] = message.offset() + 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._at[where] = max(self._at[where], message.offset())
                elif error.fatal():
                    raise LedgerError(f"the topics cannot be read: {error.str()}")
            for topic, batch in values.items():
                self._take(self._name[topic], batch)
                new += len(batch)
        return new

    def _ends(self) -> dict[tuple[str, int], int]:
        """The next offset that a reader of committed records would get, of every partition."""
        asked = {TopicPartition(*each): OffsetSpec.latest() for each in self._where}
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                answers = self._admin.list_offsets(
                    asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT_S
                )
                return {(p.topic, p.partition): f.result().offset for p, f in answers.items()}
            except KafkaException as error:  # such as a topic that was just made
                if time.monotonic() > deadline:
                    raise LedgerError(
                        f"the broker does not say where the topics end: {error.args[0].str()}"
                    ) from error
                time.sleep(RETRY_S)

    def _take(self, name: str, values: list[bytes | None]) -> None:
        if BY_NAME[name].cleanup == "compact":  # a key without a value takes a record back
            values = [value for value in values if value is not None]
        self.records[name] += len(values)
        if name in self._read:
            self._read[name](self._codecs[name].decode(values))

    def _requests(self, batch: Batch) -> None:
        # A request that cannot be read, but whose id can, gets its prediction too (rejected).
        partial = [f.request_id for f in batch.failures if f.request_id is not None]
        self.accounts.asked(partial, None)
        self.accounts.asked(*_columns(batch, "request_id", "event_time"))

    def _predictions(self, batch: Batch) -> None:
        self.accounts.answered(*_columns(batch, "request_id", "event_time", "status"))

    def _truths(self, batch: Batch) -> None:
        self.accounts.known(*_columns(batch, "request_id", "known_at"))

    def _outcomes(self, batch: Batch) -> None:
        ids, label = _columns(batch, "request_id", "label")
        self.accounts.joined([id_ for id_, one in zip(ids, label, strict=True) if one == "true"])

    def _metrics(self, batch: Batch) -> None:
        for record in _records(batch):
            key = tuple(record[name] for name in GROUP)
            held = self.metrics.get(key)
            if held is None or record["revision"] >= held["revision"]:
                self.metrics[key] = record

    def _models(self, batch: Batch) -> None:
        self.roles = fold(map(ModelRecord.of, _records(batch)), self.roles)


GROUP = ("window", "window_start", "version", "role", "segment", "value")
"""What a metric record is about."""


class Accounts:
    """One row a request id, in the order in which the ids were first met.

    Columns, by name: requests, predictions, truths, outcomes: how many records there are.
    rejected, deferred: how many of the predictions. asked_at: event time of the request or its
    prediction, known_at: of its last truth; milliseconds, 0 where there is none.
    """

    def __init__(self) -> None:
        self._row: dict[str, int] = {}
        self._table = np.zeros(1024, self._DTYPE)

    _DTYPE = np.dtype(
        [
            ("requests", np.int32),
            ("predictions", np.int32),
            ("outcomes", np.int32),
            ("truths", np.int32),
            ("rejected", np.int32),
            ("deferred", np.int32),
            ("asked_at", np.int64),
            ("known_at", np.int64),
        ]
    )

    def __getitem__(self, column: str) -> npt.NDArray[Any]:
        return self._table[column][: len(self._row)]

    def ids(self, rows: Rows) -> list[str]:
        """The ids of some rows."""
        names = list(self._row)
        return [names[row] for row in rows]

    def lost(self) -> Rows:
        """Rows of requests that have no prediction."""
        return np.flatnonzero((self["requests"] > 0) & (self["predictions"] == 0))

    def duplicates(self) -> int:
        """Predictions beyond one for each request record (a producer may send an id twice)."""
        surplus = self["predictions"] - np.maximum(self["requests"], 1)
        return int(np.maximum(surplus, 0).sum())

    def unjoined(self, horizon_ms: int) -> Rows:
        """Rows of truths that came in time for a prediction, and have no outcome."""
        answered = self["predictions"] > self["rejected"]
        in_time = self["known_at"] - self["asked_at"] <= horizon_ms
        return np.flatnonzero(answered & (self["truths"] > 0) & in_time & (self["outcomes"] == 0))

    def asked(self, ids: Sequence[str], event_time: Any) -> None:
        """Requests."""
        rows = self._rows(ids)
        np.add.at(self._table["requests"], rows, 1)
        if event_time is not None:
            self._table["asked_at"][rows] = event_time

    def answered(self, ids: Sequence[str], event_time: Any, status: Any) -> None:
        """Predictions."""
        rows = self._rows(ids)
        np.add.at(self._table["predictions"], rows, 1)
        np.add.at(self._table["rejected"], rows, status == "rejected")
        np.add.at(self._table["deferred"], rows, status == "deferred")
        self._table["asked_at"][rows] = event_time

    def known(self, ids: Sequence[str], known_at: Any) -> None:
        """Truths."""
        rows = self._rows(ids)
        np.add.at(self._table["truths"], rows, 1)
        self._table["known_at"][rows] = known_at

    def joined(self, ids: Sequence[str]) -> None:
        """Outcomes."""
        rows = self._rows(ids)  # before the table is taken: it may grow
        np.add.at(self._table["outcomes"], rows, 1)

    def _rows(self, ids: Sequence[str]) -> Rows:
        of = self._row
        rows = np.fromiter((of.setdefault(id_, len(of)) for id_ in ids), np.int64, len(ids))
        if len(of) > len(self._table):
            grown = np.zeros(2 * len(of), self._DTYPE)
            grown[: len(self._table)] = self._table
            self._table = grown
        return rows


def _columns(batch: Batch, *names: str) -> list[Any]:
    return [batch.columns[name].values for name in names]


def _records(batch: Batch) -> Iterator[dict[str, Any]]:
    """The few records of a control topic, as dicts."""
    names = list(batch.columns)
    for values in zip(*(_objects(batch, name) for name in names), strict=True):
        yield dict(zip(names, values, strict=True))


def _objects(batch: Batch, name: str) -> list[Any]:
    column = batch.columns[name]
    values: list[Any] = column.values.tolist()
    if column.valid is not None:
        values = [v if ok else None for v, ok in zip(values, column.valid, strict=True)]
    return values
