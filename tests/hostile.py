"""A producer that means harm: what a broker takes and a reader had better survive."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Self

from confluent_kafka import Producer
from kafka import KafkaProducer

CODECS = ("gzip", "snappy", "lz4", "zstd")
BROKEN = "\udcff\udcfe"
"""The name of a header: on the wire the bytes FF FE, which are no UTF-8."""
PATIENCE_S = 60


class _Name(str):
    """A header's name that is encoded as it is meant, byte by byte."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return str.encode(self, "utf-8", "surrogateescape")


class Hostile:
    """Sends to any partition of any topic."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._raw = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, acks=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        partition: int = 0,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp: int | None = None,
    ) -> None:
        """A record as it is; names of headers may hold bytes (surrogates) of any kind."""
        named = [(_Name(name), value) for name, value in headers]
        # A compacted topic takes no record without a key.
        self._raw.send(topic, value, key or b"k", named, partition, timestamp)

    def flush(self) -> None:
        """Wait until the broker has all."""
        self._raw.flush(PATIENCE_S)

    def packed(
        self, topic: str, values: Sequence[bytes], codec: str, partition: int = 0, **more: Any
    ) -> None:
        """Records in one batch by a codec, however far it unpacks; waits for the broker."""
        producer = Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "compression.type": codec,
                "message.max.bytes": 1_000_000_000,
                "queue.buffering.max.kbytes": (1 << 31) - 1 >> 10,
                "batch.size": 1 << 30,
                "linger.ms": 50,
            }
        )
        failed: list[Any] = []
        for value in values:
            producer.produce(
                topic,
                value,
                b"packed",
                partition,
                on_delivery=lambda error, _: error and failed.append(error),
                **more,
            )
        assert not producer.flush(PATIENCE_S)
        assert not failed, failed

    def framed(self, schema_id: int, body: bytes) -> bytes:
        """A value in Confluent's framing."""
        return struct.pack(">bI", 0, schema_id) + body
