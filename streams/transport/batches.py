"""kafka-python's consumer, made to pass whatever a batch of records holds.

As it is, it turns round for ever within ``poll`` at a header whose name is not UTF-8 and at a codec
that is not installed, and unpacks a batch however large that gets. Here headers are passed over
(nobody who reads with it asks for them), every codec of Kafka is read, by Arrow, and a batch that
unpacks to more than `MOST_UNPACKED_BYTES` is left out and counted.
"""

from __future__ import annotations

import logging
from typing import Any

from kafka import KafkaConsumer
from kafka.errors import CorruptRecordError
from kafka.record import memory_records
from kafka.record.default_records import ControlRecord, DefaultRecord, DefaultRecordBatch
from kafka.record.util import decode_varint
from prometheus_client import Counter

log = logging.getLogger(__name__)

MOST_UNPACKED_BYTES = 16 << 20
"""What those who read with kafka-python read is written by Weir, in batches of at most 4 MiB."""
LEFT_OUT = Counter("weir_unpacked_too_far", "Batches of records that kafka-python left out")

_STREAMS = {1: "gzip", 3: "lz4", 4: "zstd"}
_SNAPPY = 2
_SNAPPY_JAVA = b"\x82SNAPPY\0"  # snappy-java's frames: this, two versions, then sized blocks
_SNAPPY_JAVA_BYTES = 16
_AT_ONCE = 1 << 20


def reader(*topics: str, **config: Any) -> KafkaConsumer:
    """A consumer of kafka-python that survives every record. Its records have no headers."""
    memory_records.DefaultRecordBatch = Batch
    return KafkaConsumer(*topics, **config)


def unpacked(codec: int, data: bytes, most: int = MOST_UNPACKED_BYTES) -> bytes:
    """The records of a batch, by the number of its codec; ValueError where there are too many.

    Raises ValueError and OSError where they are not what the codec wrote.
    """
    if codec in _STREAMS:
        return _stream(_STREAMS[codec], data, most)
    if codec != _SNAPPY:
        raise ValueError(f"no codec of Kafka has the number {codec}")
    if not data.startswith(_SNAPPY_JAVA):
        return _snappy(data, most)
    parts, at = [], _SNAPPY_JAVA_BYTES
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        parts.append(_snappy(data[at + 4 : at + 4 + size], most))
        most -= len(parts[-1])
        at += 4 + size
    return b"".join(parts)


def _stream(codec: str, data: bytes, most: int) -> bytes:
    import pyarrow as pa  # only who meets a packed batch needs it

    parts, size = [], 0
    with pa.CompressedInputStream(pa.BufferReader(data), codec) as stream:
        while part := stream.read(_AT_ONCE):
            parts.append(part)
            size += len(part)
            if size > most:
                raise ValueError(f"it unpacks to more than {most} bytes")
    return b"".join(parts)


def _snappy(data: bytes, most: int) -> bytes:
    import pyarrow as pa

    size = shift = 0
    for byte in data[:5]:  # a block begins with its size: seven bits a byte, the lowest first
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > most:
        raise ValueError(f"it unpacks to {size} bytes")
    found: bytes = pa.decompress(data, size, codec="snappy", asbytes=True)
    return found


class Batch(DefaultRecordBatch):
    """A batch of records that costs itself alone."""

    __slots__ = ()

    def _maybe_uncompress(self) -> None:
        if not self._decompressed and self.compression_type:
            try:
                self._buffer = bytearray(
                    unpacked(self.compression_type, bytes(memoryview(self._buffer)[self._pos :]))
                )
                self._pos = 0
            except (ValueError, OSError) as error:
                self._leave_out(error)
        self._decompressed = True

    def __next__(self) -> DefaultRecord:
        try:
            return super().__next__()
        except CorruptRecordError as error:
            self._leave_out(error)
            raise StopIteration from error

    next = __next__

    def _leave_out(self, error: Exception) -> None:
        """What has not been handed out of this batch never is."""
        LEFT_OUT.inc()
        log.warning(
            "records from offset %d to %d are left out: %s",
            *(self.base_offset + self._next_record_index, self.last_offset, error),
        )
        self._buffer, self._pos = bytearray(), 0
        self._num_records = self._next_record_index

    def _read_msg(self, decode_varint: Any = decode_varint) -> DefaultRecord:
        """As kafka-python has it, but for the headers."""
        buffer = self._buffer
        length, begin = decode_varint(buffer, self._pos)
        end = begin + length
        if not begin < end <= len(buffer):
            raise ValueError(f"a record of {length} bytes")
        _, at = decode_varint(buffer, begin)  # attributes: none are in use
        time_delta, at = decode_varint(buffer, at)
        offset_delta, at = decode_varint(buffer, at)
        key, at = _bytes(buffer, at, end)
        value, at = _bytes(buffer, at, end)
        appended = self.timestamp_type == self.LOG_APPEND_TIME
        time_ms = self.max_timestamp if appended else self.first_timestamp + time_delta
        self._pos = end
        kind = ControlRecord if self.is_control_batch else DefaultRecord
        return kind(
            length, self.base_offset + offset_delta, time_ms, self.timestamp_type, key, value, []
        )


def _bytes(buffer: bytearray, at: int, end: int) -> tuple[bytes | None, int]:
    size, at = decode_varint(buffer, at)
    if size < 0:
        return None, at
    if at + size > end:
        raise ValueError(f"{size} bytes in a record with {end - at}")
    return bytes(buffer[at : at + size]), at + size
