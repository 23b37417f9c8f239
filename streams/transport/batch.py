"""What flows through an agent: a batch of records of one topic in, batches of records out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.codec import Batch, Codec

Headers = list[tuple[str, bytes]]
TP = tuple[str, int]
_number = count(1)


@dataclass(slots=True, eq=False)
class RecordBatch:
    """Records of one partition, in the order of their offsets; or of several partitions of one
    topic, one after the other, where the agents that read it do not mind.

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
    _decoded: dict[Codec, Batch] = field(default_factory=dict, repr=False)

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

    def decoded(self, codec: Codec) -> Batch:
        """The records as columns, decoded once for all agents that read them.

        So nobody may change them.
        """
        found = self._decoded.get(codec)
        if found is None:
            found = self._decoded[codec] = codec.decode(self.values)
        return found

    def place(self, position: int) -> tuple[int, int]:
        """Partition and offset of one record."""
        many = self.partitions
        partition = self.partition if many is None else int(many[position])
        return partition, int(self.offsets[position])


def joined(batches: Sequence[RecordBatch]) -> RecordBatch:
    """Batches of one topic as one, in order."""
    if len(batches) == 1:
        return batches[0]
    headers: dict[int, Headers] = {}
    at = 0
    for batch in batches:
        headers.update({at + i: found for i, found in batch.headers.items()})
        at += len(batch)
    first = batches[0]
    one = all(b.partitions is None and b.partition == first.partition for b in batches)
    return RecordBatch(
        first.topic,
        first.partition,
        np.concatenate([batch.offsets for batch in batches]),
        np.concatenate([batch.timestamps for batch in batches]),
        [key for batch in batches for key in batch.keys],
        [value for batch in batches for value in batch.values],
        headers,
        first.generation,
        partitions=None if one else np.concatenate([_partitions(batch) for batch in batches]),
        size=sum(batch.size for batch in batches),
    )


def _partitions(batch: RecordBatch) -> npt.NDArray[np.int32]:
    if batch.partitions is not None:
        return batch.partitions
    return np.full(len(batch), batch.partition, np.int32)


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


def columns_of(
    messages: Sequence[Any], generation: int, whole: Collection[str] = ()
) -> list[RecordBatch]:
    """librdkafka's messages as one batch for each partition, in order of first appearance.

    whole: topics whose partitions come together in one batch.

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
    together: dict[str, list[tuple[int, list[Any]]]] = {}
    batches = []
    for (topic, partition), group in by_tp.items():
        if topic in whole:
            together.setdefault(topic, []).append((partition, group))
        else:
            batches.append(_batch(topic, partition, group, generation))
    for topic, groups in together.items():
        batch = _batch(topic, groups[0][0], [m for _, group in groups for m in group], generation)
        if len(groups) > 1:
            sizes = [len(group) for _, group in groups]
            batch.partitions = np.repeat(np.array([p for p, _ in groups], np.int32), sizes)
        batches.append(batch)
    return batches


def _batch(topic: str, partition: int, messages: Sequence[Any], generation: int) -> RecordBatch:
    values = [m.value() for m in messages]
    return RecordBatch(
        topic,
        partition,
        np.array([m.offset() for m in messages], np.int64),
        np.array([m.timestamp()[1] for m in messages], np.int64),
        [m.key() for m in messages],
        values,
        {i: h for i, m in enumerate(messages) if (h := m.headers()) is not None},
        generation,
        size=sum(len(value) for value in values if value),
    )
