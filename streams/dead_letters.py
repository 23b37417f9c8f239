"""Records set aside: whole, with their origin and the reason."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from prometheus_client import Counter

from schemas.codec import Codec
from schemas.columns import Column, Columns, constant
from schemas.topics import BY_NAME, OUTPUT_MAX_BYTES
from streams.transport.batch import Headers, Output, RecordBatch

DEAD = Counter("weir_dead_letters", "Records set aside", ["stage", "reason"])

# A dead letter must fit into its topic, or it would stop the partition for ever. An input that
# travelled compressed may be of any size; what it has beyond these limits is left out and told of.
MOST_BYTES = OUTPUT_MAX_BYTES - (1 << 20)  # key, value and headers; the rest has room in 1 MiB
MOST_HEADER_BYTES = 64 * 1024
MOST_WORDS = 4096  # characters of a message: they stand in the record and in its headers


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

    def output(self, batch: RecordBatch, letters: Sequence[DeadLetter], now_ms: int) -> Output:
        """The dead letters of one batch, ordered by offset."""
        letters = sorted(letters, key=lambda letter: letter.position)
        n = len(letters)
        rows = np.array([letter.position for letter in letters], np.int64)
        places = [batch.place(letter.position) for letter in letters]
        parts = [_whole(batch, letter) for letter in letters]
        columns: Columns = {
            "topic": constant(batch.topic, n),
            "partition": Column(np.array([partition for partition, _ in places], np.int64)),
            "offset": Column(batch.offsets[rows]),
            "record_time": Column(batch.timestamps[rows]),
            "failed_at": constant(now_ms, n),
            "stage": constant(self._stage, n),
            "reason": _objects([letter.reason for letter in letters]),
            "message": _objects([message for _, _, message in parts]),
            "request_id": _objects([letter.request_id for letter in letters]),
            "key": _objects([key for key, _, _ in parts]),
            "value": _objects([value for _, value, _ in parts]),
        }
        keys = [f"{batch.topic}/{partition}/{offset}".encode() for partition, offset in places]
        headers = {
            i: _headers(batch, letter, message)
            for i, (letter, (_, _, message)) in enumerate(zip(letters, parts, strict=True))
        }
        for letter in letters:
            DEAD.labels(self._stage, letter.reason).inc()
        return Output(self._topic, keys, self._codec.encode(columns, n), headers)


def words(message: str) -> str:
    """A message of bearable length: what it quotes of a record may be of any."""
    if len(message) <= MOST_WORDS:
        return message
    return f"{message[:MOST_WORDS]}… ({len(message)} characters)"


def _whole(batch: RecordBatch, letter: DeadLetter) -> tuple[bytes | None, bytes | None, str]:
    """Key, value and message; key and value are left out where a dead letter cannot hold them."""
    key, value = batch.keys[letter.position], batch.values[letter.position]
    message = words(letter.message)
    room = MOST_BYTES - MOST_HEADER_BYTES
    kept_key = key if key is None or len(key) <= room // 2 else None
    room -= len(kept_key or b"")
    kept_value = value if value is None or len(value) <= room else None
    for name, whole, kept in (("key", key, kept_key), ("value", value, kept_value)):
        if whole is not None and kept is None:
            digest = hashlib.sha256(whole).hexdigest()
            message += (
                f"; the {name} of {len(whole)} bytes (SHA-256 {digest}) is left at the origin"
            )
    return kept_key, kept_value, message


def _headers(batch: RecordBatch, letter: DeadLetter, message: str) -> Headers:
    """Those that Kafka Streams gives its dead letters, so that its tools read ours, after the
    record's own."""
    partition, offset = batch.place(letter.position)
    facts: Mapping[str, str] = {
        "topic": batch.topic,
        "partition": str(partition),
        "offset": str(offset),
        "exception": letter.reason,
        "message": message,
    }
    ours = [(f"__streams.errors.{k}", v.encode("utf-8", "replace")) for k, v in facts.items()]
    return [*_bearable(batch.headers.get(letter.position, ())), *ours]


def _bearable(headers: Sequence[tuple[str, bytes | None]]) -> Headers:
    """A record's own headers, as many as there is room for."""
    room, kept = MOST_HEADER_BYTES, []
    for name, value in headers:
        room -= len(name.encode("utf-8", "replace")) + len(value or b"")
        if room < 0:
            break
        kept.append((name, value))
    return kept  # type: ignore[return-value]


def _objects(values: Sequence[object]) -> Column:
    array = np.empty(len(values), object)
    array[:] = values
    valid = np.array([value is not None for value in values], bool)
    return Column(array, None if valid.all() else valid)
