"""Keys go where Kafka's own partitioners put them."""

from __future__ import annotations

import random
import tracemalloc
import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from hypothesis import example, given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as kafka_murmur2

from streams.partitioner import murmur2, partitions_of
from tests.conftest import RunningBroker

KEYS = st.one_of(st.binary(max_size=40), st.binary(min_size=250, max_size=270))


@given(st.lists(KEYS, min_size=1, max_size=30))
@example([b""])
@example([b"\0", b"\0\0\0\0", b"\xff\xff\xff"])
@example([b"x" * 256, b"x" * 257, b"", b"x" * 1001])
def test_hashes_are_those_of_kafka_python(keys: list[bytes]) -> None:
    assert murmur2(keys).tolist() == [kafka_murmur2(key) for key in keys]


@given(st.lists(KEYS, max_size=30), st.integers(1, 50))
def test_partitions_are_those_of_kafkas_default_partitioner(
    keys: list[bytes], partitions: int
) -> None:
    found = partitions_of(keys, partitions)
    assert found.tolist() == [(kafka_murmur2(key) & 0x7FFFFFFF) % partitions for key in keys]


def test_no_keys_have_no_partitions() -> None:
    assert partitions_of([], 4).tolist() == []


def test_one_huge_key_does_not_cost_its_size_for_every_key() -> None:
    keys = [b"x" * 1_000_000, *(b"short-%d" % i for i in range(2000))]
    tracemalloc.start()
    try:
        murmur2(keys)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.system
def test_librdkafka_puts_keys_in_the_same_partitions(broker: RunningBroker) -> None:
    topic, partitions = f"partitioner-{uuid.uuid4().hex[:8]}", 7
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
    draw = random.Random(5)
    # An empty key is left out: librdkafka's `murmur2_random` takes it for none.
    keys = [draw.randbytes(length) for length in range(1, 300)]
    placed: dict[bytes, int] = {}

    def note(error: object, message: object) -> None:
        assert error is None
        placed[message.key()] = message.partition()  # type: ignore[attr-defined]

    producer = Producer({"bootstrap.servers": broker.bootstrap, "partitioner": "murmur2_random"})
    for key in keys:
        producer.produce(topic, b"", key, on_delivery=note)
    assert producer.flush(30) == 0
    assert [placed[key] for key in keys] == partitions_of(keys, partitions).tolist()
