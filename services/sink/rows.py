"""Values of one topic to rows of its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from schemas import columns as avro
from schemas.codec import Codec
from schemas.topics import BY_NAME
from services.sink.tables import ORIGIN, Column, Table

# The times that a DateTime64 and a pandas timestamp both can hold, in ms since 1970 UTC: 1900 to
# 2262. Times outside are a request's right to be wrong; they are kept as the nearest bound.
_EARLIEST_MS, _LATEST_MS = -2_208_988_800_000, 9_214_646_399_999
_TRACEPARENT = "traceparent"


class Record(Protocol):
    """What the sink takes of a Kafka record."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass(frozen=True)
class Rows:
    """Rows of one table, of one topic, by columns; those of a partition in order of offset."""

    topic: str
    names: list[str]
    columns: list[list[Any]]
    partitions: list[int]
    offsets: list[int]

    def __len__(self) -> int:
        return len(self.offsets)

    def after(self, positions: Mapping[int, int]) -> Rows:
        """Those rows that are past what the table has: ``positions`` by partition."""
        fresh = [
            offset > positions.get(partition, -1)
            for partition, offset in zip(self.partitions, self.offsets, strict=True)
        ]
        if all(fresh):
            return self
        return Rows(
            self.topic,
            self.names,
            [list(compress(column, fresh)) for column in self.columns],
            list(compress(self.partitions, fresh)),
            list(compress(self.offsets, fresh)),
        )

    def last(self) -> dict[int, int]:
        """The highest offset of each partition."""
        # Rows of a partition are in order, so the last one wins.
        return dict(zip(self.partitions, self.offsets, strict=True))


UNDECODABLE_NAMES = [
    *("_topic", "_partition", "_offset", "_timestamp", "_key", "_traceparent"),
    *("reason", "message", "value"),
]


def decode(table: Table, codec: Codec, records: Sequence[Record]) -> tuple[Rows, Rows]:
    """Rows for the topic's table, and rows for ``undecodable``."""
    if BY_NAME[table.topic].cleanup == "compact":
        # A key without a value takes a record back, in the topic; the table keeps what was said.
        records = [record for record in records if record.value is not None]
    batch = codec.decode([record.value for record in records])
    good = [records[position] for position in batch.index.tolist()]
    rows = Rows(
        table.topic,
        [column.name for column in (*ORIGIN, *table.columns)],
        _origin(good) + [values(column, batch.columns[column.name]) for column in table.columns],
        [record.partition for record in good],
        [record.offset for record in good],
    )
    failures = sorted(batch.failures, key=lambda failure: failure.position)
    bad = [records[failure.position] for failure in failures]
    undecodable = Rows(
        table.topic,
        UNDECODABLE_NAMES,
        [
            [table.topic] * len(bad),
            *_origin(bad),
            [failure.reason for failure in failures],
            [failure.message for failure in failures],
            [record.value for record in bad],
        ],
        [record.partition for record in bad],
        [record.offset for record in bad],
    )
    return rows, undecodable


def values(column: Column, data: avro.Column) -> list[Any]:
    """One column as ClickHouse's client takes it: Python values, None for null."""
    array = data.values
    if column.kind == "time":
        array = np.clip(array.astype(np.int64), _EARLIEST_MS, _LATEST_MS)
    elif column.kind == "array":
        return [[] if item is None else _list(item) for item in array]
    elif column.kind == "map":
        return [{} if item is None else item for item in array.tolist()]
    if data.valid is None:
        return _list(array)
    listed = array.astype(object)
    listed[~data.valid] = None
    return _list(listed)


def _list(array: npt.NDArray[Any] | Sequence[Any]) -> list[Any]:
    listed: list[Any] = array.tolist() if isinstance(array, np.ndarray) else list(array)
    return listed


def _origin(records: Sequence[Record]) -> list[list[Any]]:
    """The columns of ``ORIGIN``."""
    times = np.clip([record.timestamp for record in records], _EARLIEST_MS, _LATEST_MS)
    return [
        [record.partition for record in records],
        [record.offset for record in records],
        times.astype(np.int64).tolist(),
        [record.key or b"" for record in records],
        [_traceparent(record.headers) for record in records],
    ]


def _traceparent(headers: Sequence[tuple[str, bytes]]) -> bytes:
    for name, value in headers:
        if name == _TRACEPARENT:
            return value or b""
    return b""
