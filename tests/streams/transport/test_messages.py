"""Both clients pass whatever a batch holds, on a real broker."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import TopicPartition as Place

from streams.transport.batches import reader
from streams.transport.messages import BoundedConsumer, headers_of
from tests.conftest import RunningBroker
from tests.hostile import BROKEN, CODECS, PATIENCE_S, Hostile

Read = Callable[[str, bytes], list[tuple[bytes | None, Any]]]
"""What a client reads of a topic up to a value: values with headers."""


@pytest.fixture
def topic(broker: RunningBroker) -> str:
    name = f"hostile-{uuid.uuid4()}"
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(PATIENCE_S)
    return name


@pytest.fixture
def hostile(broker: RunningBroker) -> Iterator[Hostile]:
    with Hostile(broker.bootstrap) as hostile:
        yield hostile


def by_librdkafka(broker: RunningBroker, topic: str, last: bytes) -> list[tuple[Any, Any]]:
    config = {"bootstrap.servers": broker.bootstrap, "group.id": "x"}
    consumer, found = BoundedConsumer(config), []
    consumer.assign([TopicPartition(topic, 0, 0)])
    while not found or found[-1][0] != last:
        message = consumer.poll(PATIENCE_S)
        assert message is not None
        assert message.error() is None
        found.append((message.value(), headers_of([message])[0]))
    consumer.close()
    return found


def by_kafka_python(broker: RunningBroker, topic: str, last: bytes) -> list[tuple[Any, Any]]:
    consumer = reader(bootstrap_servers=broker.bootstrap, group_id=None)
    consumer.assign([Place(topic, 0)])
    consumer.seek(Place(topic, 0), 0)
    found: list[tuple[Any, Any]] = []
    while not found or found[-1][0] != last:
        polled = consumer.poll(timeout_ms=1000 * PATIENCE_S)
        assert polled
        found += [(record.value, record.headers) for some in polled.values() for record in some]
    consumer.close()
    return found


@pytest.fixture(params=[by_librdkafka, by_kafka_python])
def read(request: pytest.FixtureRequest, broker: RunningBroker) -> Read:
    return lambda topic, last: request.param(broker, topic, last)


def test_every_codec_is_read(read: Read, topic: str, hostile: Hostile) -> None:
    sent = [f"{codec} {number}".encode() for codec in CODECS for number in range(3)]
    for codec in CODECS:
        hostile.packed(topic, [value for value in sent if value.startswith(codec.encode())], codec)

    assert [value for value, _ in read(topic, sent[-1])] == sent


def test_a_header_whose_name_is_no_text_costs_its_record_the_headers_alone(
    read: Read, topic: str, hostile: Hostile
) -> None:
    hostile.send(topic, b"1")
    hostile.send(topic, b"2", headers=[("traceparent", b"x"), (BROKEN, b"y")])
    hostile.send(topic, b"3", headers=[("", b""), ("zero\0", b"\0")])
    hostile.send(topic, b"4")
    hostile.flush()

    found = read(topic, b"4")
    assert [value for value, _ in found] == [b"1", b"2", b"3", b"4"]
    assert not found[1][1]


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_that_unpacks_to_a_flood_holds_nobody_up(
    codec: str, read: Read, topic: str, hostile: Hostile
) -> None:
    # Snappy packs to a twentieth at best, and the broker takes a mebibyte.
    flood = (15 if codec == "snappy" else 150) << 20
    hostile.send(topic, b"before")
    hostile.flush()
    hostile.packed(topic, [bytes(flood)], codec)
    hostile.packed(topic, [bytes(1 << 20) for _ in range(flood >> 20)], codec)
    hostile.packed(topic, [b"after, 1", b"after, 2"], codec)

    values = [value for value, _ in read(topic, b"after, 2")]
    assert values[0] == b"before"
    assert values[-2:] == [b"after, 1", b"after, 2"]
    assert not any(any(value) for value in values[1:-2])
