"""What flows through an agent: a batch of one partition's records in, batches of records out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

Headers = list[tuple[str, bytes]]
TP = tuple[str, int]
_number = count(1)


@dataclass(slots=True, eq=False)
class RecordBatch:
    """Records of one partition, in the order of their offsets.

    offsets, timestamps: int64 (n,), timestamps in milliseconds.
    keys, values: as the broker has them, n each.
    headers: by position in the batch, only where a record has any.
    generation: of the assignment that it was fetched under.
    number: which batch it is of this process.
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

    def __len__(self) -> int:
        return len(self.values)

    @property
    def tp(self) -> TP:
        """Topic and partition."""
        return self.topic, self.partition

    @property
    def next_offset(self) -> int:
        """The offset to commit once the batch is done."""
        return int(self.offsets[-1]) + 1


def joined(batches: Sequence[RecordBatch]) -> RecordBatch:
    """Batches of one partition, in order, as one."""
    if len(batches) == 1:
        return batches[0]
    headers: dict[int, Headers] = {}
    at = 0
    for batch in batches:
        headers.update({at + i: found for i, found in batch.headers.items()})
        at += len(batch)
    return RecordBatch(
        batches[0].topic,
        batches[0].partition,
        np.concatenate([batch.offsets for batch in batches]),
        np.concatenate([batch.timestamps for batch in batches]),
        [key for batch in batches for key in batch.keys],
        [value for batch in batches for value in batch.values],
        headers,
        batches[0].generation,
    )


@dataclass(slots=True)
class Output:
    """Records to publish to one topic; the key decides the partition unless one is given.

    headers: by position, only where a record has any.
    """

    topic: str
    keys: Sequence[bytes | None]
    values: Sequence[bytes]
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
    batches = []
    for (topic, partition), group in by_tp.items():
        headers = {i: h for i, m in enumerate(group) if (h := m.headers()) is not None}
        batches.append(
            RecordBatch(
                topic,
                partition,
                np.array([m.offset() for m in group], np.int64),
                np.array([m.timestamp()[1] for m in group], np.int64),
                [m.key() for m in group],
                [m.value() for m in group],
                headers,
                generation,
            )
        )
    return batches
