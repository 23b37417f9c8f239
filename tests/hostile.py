"""A producer that means harm: what a broker takes and a reader had better survive."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from random import Random
from typing import Any, Self

from confluent_kafka import Producer
from kafka import KafkaProducer

from schemas.codec import Codec

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


ABSURD_TIMES = (2**62, 2**63 - 1, -(2**62), -1, 0)


class Forger:
    """Makes values of one topic: junk, foreign records, and its own with absurd contents."""

    def __init__(self, codec: Codec, foreign: Codec, random: Random) -> None:
        self._codec, self._foreign, self._random = codec, foreign, random

    def value(self) -> bytes | None:
        """One of them, whichever."""
        return self.forged() if self._random.random() < 0.1 else self.unreadable()

    def unreadable(self) -> bytes | None:
        """A value that is not a record of the topic."""
        random = self._random
        return random.choice(
            (
                lambda: None,
                lambda: b"",
                lambda: random.randbytes(random.randrange(200)),
                lambda: self._codec.header + random.randbytes(random.randrange(200)),
                lambda: self._codec.header,
                lambda: struct.pack(">bI", 0, random.getrandbits(31)) + b"\x02a",
                lambda: self._cut(self.forged()),
                lambda: self._foreign.write(self._record(self._foreign.schema)),
            )
        )()

    def forged(self) -> bytes:
        """A record that its schema reads, of nothing that Weir ever wrote."""
        return self._codec.write(self._record(self._codec.schema))

    def _cut(self, value: bytes) -> bytes:
        return value[: self._random.randrange(len(value))]

    def _record(self, schema: Any) -> dict[str, Any]:
        return {field["name"]: self._of(field["type"]) for field in schema["fields"]}

    def _of(self, kind: Any) -> Any:
        random = self._random
        if isinstance(kind, list):
            return self._of(random.choice(kind))
        if isinstance(kind, dict):
            match kind["type"]:
                case "array":
                    return [self._of(kind["items"]) for _ in range(random.randrange(4))]
                case "map":
                    return {self._of("string"): self._of(kind["values"]) for _ in range(2)}
                case "record":
                    return self._record(kind)
                case "enum":
                    return random.choice(kind["symbols"])
                case other:
                    return self._of(other)
        match kind:
            case "null":
                return None
            case "boolean":
                return random.random() < 0.5
            case "int":
                return random.choice((0, 1, -1, 2**31 - 1, -(2**31)))
            case "long":
                return random.choice((1, 10, *ABSURD_TIMES))
            case "float" | "double":
                return random.choice((0.0, -1.0, 1e308, math.nan, math.inf, -math.inf))
            case "bytes":
                return random.randbytes(random.randrange(50))
            case "string":
                return random.choice(TEXTS)
        raise AssertionError(f"no value of {kind}")


TEXTS = (
    *("", "x", "../..", "/etc", "a/../../keys", "champion", "shadow", "asked", "failed", "none"),
    *("answered", "rejected", "true", "weak", "opened", "{}", "[]", "null", '{"a": 1}', "NaN"),
    *("\0", "ü" * 500, "<script>", "'; --", "[bold]", "\x1b[31m", "\u202e", "0", "-1", "1" * 40),
)
