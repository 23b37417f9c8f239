"""Records set aside: whole, with their origin and the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from prometheus_client import Counter

from schemas.codec import Codec
from schemas.columns import Column, Columns, constant
from schemas.topics import BY_NAME
from streams.transport.batch import Headers, Output, RecordBatch

DEAD = Counter("weir_dead_letters", "Records set aside", ["stage", "reason"])


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that a stage refuses.

    position: in its batch. reason: a code (see the schema). message: in words.
    """

    position: int
    reason: str
    message: str
    request_id: str | None = None


class DeadLetters:
    """Makes the records of ``dead-letters`` for one stage."""

    def __init__(self, task: str, codec: Codec, stage: str) -> None:
        self._topic = BY_NAME["dead-letters"].topic(task)
        self._codec = codec
        self._stage = stage

    def output(self, batch: RecordBatch, letters: list[DeadLetter], now_ms: int) -> Output:
        """The dead letters of one batch, ordered by offset."""
        letters = sorted(letters, key=lambda letter: letter.position)
        n = len(letters)
        rows = np.array([letter.position for letter in letters], np.int64)
        columns: Columns = {
            "topic": constant(batch.topic, n),
            "partition": constant(batch.partition, n),
            "offset": Column(batch.offsets[rows]),
            "record_time": Column(batch.timestamps[rows]),
            "failed_at": constant(now_ms, n),
            "stage": constant(self._stage, n),
            "reason": _objects([letter.reason for letter in letters]),
            "message": _objects([letter.message for letter in letters]),
            "request_id": _objects([letter.request_id for letter in letters]),
            "key": _objects([batch.keys[row] for row in rows]),
            "value": _objects([batch.values[row] for row in rows]),
        }
        keys = [f"{batch.topic}/{batch.partition}/{batch.offsets[row]}".encode() for row in rows]
        headers = {i: self._headers(batch, letter) for i, letter in enumerate(letters)}
        for letter in letters:
            DEAD.labels(self._stage, letter.reason).inc()
        return Output(self._topic, keys, self._codec.encode(columns, n), headers)

    @staticmethod
    def _headers(batch: RecordBatch, letter: DeadLetter) -> Headers:
        """The headers that Kafka Streams gives its dead letters, so that its tools read ours."""
        headers: Headers = list(batch.headers.get(letter.position, ()))
        facts: Mapping[str, str] = {
            "topic": batch.topic,
            "partition": str(batch.partition),
            "offset": str(batch.offsets[letter.position]),
            "exception": letter.reason,
            "message": letter.message,
        }
        return headers + [(f"__streams.errors.{k}", v.encode()) for k, v in facts.items()]


def _objects(values: list[object]) -> Column:
    array = np.empty(len(values), object)
    array[:] = values
    valid = np.array([value is not None for value in values], bool)
    return Column(array, None if valid.all() else valid)
