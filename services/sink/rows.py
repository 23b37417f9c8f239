"""Records of one topic to rows of its table, in Arrow's columns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow_columns import ArrowReader
from schemas.moments import EARLIEST_MS, LATEST_MS
from schemas.topics import BY_NAME, OUTPUT_MAX_BYTES
from services.sink.tables import ORIGIN, Column, Table

_TIME = pa.timestamp("ms", "UTC")
# Of a record that the tables keep, even where it cannot be read: no record of Weir's is larger.
MOST_VALUE_BYTES = OUTPUT_MAX_BYTES
MOST_KEY_BYTES = 1 << 16

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Records:
    """What the sink takes of Kafka records of one topic; those of a partition in order of offset.

    times_ms: the records' Kafka timestamps. traceparents: empty bytes where there is none.
    """

    partitions: Integers
    offsets: Integers
    times_ms: Integers
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    traceparents: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.offsets)

    def take(self, rows: Integers) -> Records:
        """The records at these positions."""
        if len(rows) == len(self):
            return self
        listed = rows.tolist()
        return Records(
            self.partitions[rows],
            self.offsets[rows],
            self.times_ms[rows],
            [self.keys[row] for row in listed],
            [self.values[row] for row in listed],
            [self.traceparents[row] for row in listed],
        )


@dataclass(frozen=True)
class Rows:
    """Rows of one table, of one topic, by columns; those of a partition in order of offset.

    columns: a record batch with the names of the table's columns.
    """

    topic: str
    columns: Any
    partitions: Integers
    offsets: Integers

    def __len__(self) -> int:
        return len(self.offsets)

    def after(self, positions: Mapping[int, int]) -> Rows:
        """Those rows that are past what the table has: ``positions`` by partition."""
        partitions, at = np.unique(self.partitions, return_inverse=True)
        held = np.array([positions.get(p, -1) for p in partitions.tolist()], np.int64)
        fresh = self.offsets > held[at]
        if fresh.all():
            return self
        columns = self.columns.filter(pa.array(fresh))
        return Rows(self.topic, columns, self.partitions[fresh], self.offsets[fresh])

    def last(self) -> dict[int, int]:
        """The highest offset of each partition."""
        return last(self.partitions, self.offsets)


def last(partitions: Integers, offsets: Integers) -> dict[int, int]:
    """The highest offset of each partition."""
    return {p: int(offsets[partitions == p].max()) for p in np.unique(partitions).tolist()}


def decode(table: Table, reader: ArrowReader, records: Records) -> tuple[Rows, Rows]:
    """Rows for the topic's table, and rows for ``undecodable``."""
    if BY_NAME[table.topic].cleanup == "compact":
        # A key without a value takes a record back, in the topic; the table keeps what was said.
        there = [row for row, value in enumerate(records.values) if value is not None]
        records = records.take(np.array(there, np.int64))
    records, large = _without_large(records)
    batch = reader.decode(records.values)
    good = records.take(batch.index)
    columns = _origin(good) | {c.name: values(c, batch.columns[c.name]) for c in table.columns}
    rows = Rows(table.topic, pa.record_batch(columns), good.partitions, good.offsets)
    bad = records.take(np.array([f.position for f in batch.failures], np.int64))
    undecodable = {
        "_topic": _repeated(table.topic, pa.string(), len(bad)),
        **_origin(bad),
        "reason": pa.array(
            ["too-large" if f.position in large else f.reason for f in batch.failures], pa.string()
        ),
        "message": pa.array(
            [large.get(f.position, f.message) for f in batch.failures], pa.string()
        ),
        "value": pa.array(bad.values, pa.binary()),
    }
    return rows, Rows(table.topic, pa.record_batch(undecodable), bad.partitions, bad.offsets)


def _without_large(records: Records) -> tuple[Records, dict[int, str]]:
    """The records, the bytes of those left out that are too many; what was left out, by position.

    A topic's limit is on what travels, and what travels compressed may be of any size.
    """
    longest = max(map(len, filter(None, records.values)), default=0)
    if longest <= MOST_VALUE_BYTES and _longest_key(records) <= MOST_KEY_BYTES:
        return records, {}
    large = {
        row: f"the value of {len(value)} bytes (SHA-256 {hashlib.sha256(value).hexdigest()}) is "
        f"left at the origin: at most {MOST_VALUE_BYTES} are kept"
        for row, value in enumerate(records.values)
        if value is not None and len(value) > MOST_VALUE_BYTES
    }
    values = [b"" if row in large else value for row, value in enumerate(records.values)]
    keys = [None if key is None else key[:MOST_KEY_BYTES] for key in records.keys]
    return replace(records, keys=keys, values=values), large


def _longest_key(records: Records) -> int:
    return max(map(len, filter(None, records.keys)), default=0)


def values(column: Column, array: Any) -> Any:
    """One column of a record as ClickHouse takes it from Arrow."""
    return _times(array) if column.kind == "time" else array


def with_constant(rows: Rows, name: str, value: int) -> Any:
    """The rows' record batch with one more column, of the same whole number in every row."""
    column = _repeated(value, pa.uint64(), len(rows))
    return pa.record_batch([*rows.columns.columns, column], [*rows.columns.schema.names, name])


def stream(batch: Any) -> Any:
    """A record batch as the bytes of ClickHouse's format ``ArrowStream``."""
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, batch.schema) as writer:
        writer.write_batch(batch)
    return out.getvalue()


def _times(array: Any) -> Any:
    """Times outside the bounds are a record's right to be wrong; the nearest bound is kept."""
    low = pc.max_element_wise(array, pa.scalar(EARLIEST_MS, pa.int64()), skip_nulls=False)
    return pc.min_element_wise(low, pa.scalar(LATEST_MS, pa.int64()), skip_nulls=False).view(_TIME)


def _origin(records: Records) -> dict[str, Any]:
    """The columns of ``ORIGIN``, by name."""
    arrays = (
        pa.array(records.partitions.astype(np.int32)),
        pa.array(records.offsets),
        _times(pa.array(records.times_ms)),
        pc.fill_null(pa.array(records.keys, pa.binary()), b""),
        pa.array(records.traceparents, pa.binary()),
    )
    return {column.name: array for column, array in zip(ORIGIN, arrays, strict=True)}


def _repeated(value: Any, kind: Any, n: int) -> Any:
    return pa.repeat(pa.scalar(value, kind), n)
