"""The transport that a Faust app names: batches in, `Delivery` out."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from faust.transport import base
from faust.transport import producer as base_producer
from faust.types.tuples import RecordMetadata

from streams.transport.consumer import Consumer


class Producer(base_producer.Producer):
    """Refuses to send: what an agent publishes goes out with its batch's offsets."""

    async def send(self, *args: Any, **kwargs: Any) -> Awaitable[RecordMetadata]:
        """Refused."""
        raise RuntimeError("agents yield a Result; delivery publishes it with the batch's offsets")

    async def send_and_wait(self, *args: Any, **kwargs: Any) -> RecordMetadata:
        """Refused."""
        raise RuntimeError("agents yield a Result; delivery publishes it with the batch's offsets")

    async def flush(self) -> None:
        """Nothing waits here."""


class Transport(base.Transport):
    """Faust's transport over librdkafka and record batches."""

    Consumer = Consumer
    Producer = Producer

    default_port = 9092
    driver_version = "weir"
