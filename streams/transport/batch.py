"""What flows through an agent: a batch of records of one topic in, batches of records out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.codec import Batch, Codec
from streams.transport.messages import Headers as Headers
from streams.transport.messages import headers_of

TP = tuple[str, int]
_number = count(1)


@dataclass(slots=True, eq=False)
class RecordBatch:
    """Records of one partition, in the order of their offsets; or of several partitions of one
    topic, one after the other.

    partition: the first one's. partitions: int32 (n,), None where all are of `partition`.
    offsets, timestamps: int64 (n,), timestamps in milliseconds.
    keys, values: as the broker has them, n each.
    headers: by position in the batch, only where a record has any.
    generation: of the assignment that it was fetched under.
    number: which batch it is of this process. size: bytes of the values, as fetched.
    """

    topic: str
    partition: int
    offsets: npt.NDArray[np.int64]
    timestamps: npt.NDArray[np.int64]
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: dict[int, Headers] = field(default_factory=dict)
    generation: int = 0
    number: int = field(default_factory=lambda: next(_number))
    partitions: npt.NDArray[np.int32] | None = None
    size: int = 0
    _decoded: dict[tuple[Codec, int | None], Batch] = field(default_factory=dict, repr=False)
    _parts: list[RecordBatch] | None = field(default=None, repr=False)
    _part_of: tuple[RecordBatch, int] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def tp(self) -> TP:
        """Topic and partition, the first of them where there are several."""
        return self.topic, self.partition

    @property
    def next_offset(self) -> int:
        """The offset to commit once a batch of one partition is done."""
        return int(self.offsets[-1]) + 1

    @property
    def next_offsets(self) -> dict[TP, int]:
        """The offsets to commit once the batch is done, by partition."""
        if self.partitions is None:
            return {self.tp: self.next_offset}
        # Of each partition the last one stays: its records are in order.
        last = dict(zip(self.partitions.tolist(), self.offsets.tolist(), strict=True))
        return {(self.topic, partition): offset + 1 for partition, offset in last.items()}

    def decoded(self, codec: Codec, most_bytes: int | None = None) -> Batch:
        """The records as columns, decoded once for all agents that read them, with the batch that
        this one is a part of.

        So nobody may change them. most_bytes: as `Codec.decode` has it.
        """
        found = self._decoded.get((codec, most_bytes))
        if found is None:
            if self._part_of is None:
                found = codec.decode(self.values, most_bytes)
            else:
                whole, begin = self._part_of
                found = whole.decoded(codec, most_bytes).part(begin, begin + len(self))
            self._decoded[codec, most_bytes] = found
        return found

    def parts(self) -> list[RecordBatch]:
        """The same records, a batch for each partition."""
        if self.partitions is None:
            return [self]
        if self._parts is None:
            cuts = np.flatnonzero(np.diff(self.partitions)) + 1
            ends = [*cuts.tolist(), len(self)]
            self._parts = [self._part(begin, end) for begin, end in pairwise([0, *ends])]
        return self._parts

    def _part(self, begin: int, end: int) -> RecordBatch:
        assert self.partitions is not None
        values = self.values[begin:end]
        return RecordBatch(
            self.topic,
            int(self.partitions[begin]),
            self.offsets[begin:end],
            self.timestamps[begin:end],
            self.keys[begin:end],
            values,
            {i - begin: found for i, found in self.headers.items() if begin <= i < end},
            self.generation,
            size=sum(len(value) for value in values if value),
            _part_of=(self, begin),
        )

    def place(self, position: int) -> tuple[int, int]:
        """Partition and offset of one record."""
        many = self.partitions
        partition = self.partition if many is None else int(many[position])
        return partition, int(self.offsets[position])


def joined(batches: Sequence[RecordBatch]) -> RecordBatch:
    """Batches of one topic, of a partition each, as one: by partition, each in order."""
    if len(batches) == 1:
        return batches[0]
    batches = sorted(batches, key=lambda batch: batch.partition)
    headers: dict[int, Headers] = {}
    at = 0
    for batch in batches:
        headers.update({at + i: found for i, found in batch.headers.items()})
        at += len(batch)
    first = batches[0]
    sizes = [len(batch) for batch in batches]
    partitions = [batch.partition for batch in batches]
    one = partitions[-1] == first.partition
    return RecordBatch(
        first.topic,
        first.partition,
        np.concatenate([batch.offsets for batch in batches]),
        np.concatenate([batch.timestamps for batch in batches]),
        [key for batch in batches for key in batch.keys],
        [value for batch in batches for value in batch.values],
        headers,
        first.generation,
        partitions=None if one else np.repeat(np.array(partitions, np.int32), sizes),
        size=sum(batch.size for batch in batches),
    )


@dataclass(slots=True)
class Output:
    """Records to publish to one topic; the key decides the partition unless one is given.

    values: None takes a record of a compacted topic back.

    headers: by position, only where a record has any.
    """

    topic: str
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: dict[int, Headers] = field(default_factory=dict)
    partition: int | None = None


@dataclass(slots=True)
class Result:
    """What an agent makes of one batch: outputs, and a change of its state.

    batch: None for what a timer makes; it then commits no offsets.
    after_commit: writes the state; called once the outputs and the offsets are committed, with
    no other call for the same partition at the same time. It must not fail for reasons other
    than a broken disk.
    """

    batch: RecordBatch | None
    outputs: list[Output]
    after_commit: Callable[[], Any] | None = None


def all_of(writes: Sequence[Callable[[], Any]]) -> Callable[[], None]:
    """One function for several that write state, each of a partition of its own."""

    def write_all() -> None:
        for write in writes:
            write()

    return write_all


def columns_of(messages: Sequence[Any], generation: int) -> list[RecordBatch]:
    """librdkafka's messages as one batch for each partition, in order of first appearance.

    The only per-record Python of the way in: librdkafka's binding hands out one object a
    record, and reading its fields costs about 0.4 µs.
    """
    by_tp: dict[TP, list[Any]] = {}
    for message in messages:
        tp = (message.topic(), message.partition())
        group = by_tp.get(tp)
        if group is None:
            by_tp[tp] = [message]
        else:
            group.append(message)
    return [_batch(*tp, group, generation) for tp, group in by_tp.items()]


def _batch(topic: str, partition: int, messages: Sequence[Any], generation: int) -> RecordBatch:
    values = [m.value() for m in messages]
    return RecordBatch(
        topic,
        partition,
        np.array([m.offset() for m in messages], np.int64),
        np.array([m.timestamp()[1] for m in messages], np.int64),
        [m.key() for m in messages],
        values,
        {i: h for i, h in enumerate(headers_of(messages)) if h is not None},
        generation,
        size=sum(len(value) for value in values if value),
    )
