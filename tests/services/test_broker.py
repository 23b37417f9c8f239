"""The embedded broker: real Kafka, spoken to by the two clients that Weir uses."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer as ConfluentConsumer
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaConsumer, KafkaProducer

from services import broker as broker_module
from services.broker import Broker, BrokerError, find_java
from services.ports import free_port
from tests.conftest import PATIENCE_S, RunningBroker


def create_topic(bootstrap: str, partitions: int = 1) -> str:
    name = f"t-{uuid.uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.create_topics([NewTopic(name, partitions, 1)]).values():
        done.result(timeout=PATIENCE_S)
    return name


def consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = ConfluentConsumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([topic])
    values: list[bytes] = []
    while len(values) < count:
        messages = consumer.consume(count - len(values), timeout=PATIENCE_S)
        assert messages, f"{len(values)} of {count} records came"
        values += [m.value() for m in messages]
    consumer.close()
    return values


@pytest.mark.system
def test_kafka_python_and_confluent_kafka_read_what_the_other_wrote(broker: RunningBroker) -> None:
    topic = create_topic(broker.bootstrap)
    with KafkaProducer(bootstrap_servers=broker.bootstrap) as ours:
        ours.send(topic, b"from kafka-python").get(timeout=PATIENCE_S)
    theirs = Producer({"bootstrap.servers": broker.bootstrap})
    theirs.produce(topic, b"from confluent-kafka")
    assert theirs.flush(PATIENCE_S) == 0
    expected = [b"from kafka-python", b"from confluent-kafka"]

    assert consume(broker.bootstrap, topic, 2) == expected
    reader = KafkaConsumer(
        topic,
        bootstrap_servers=broker.bootstrap,
        auto_offset_reset="earliest",
        consumer_timeout_ms=1000 * PATIENCE_S,
    )
    assert [next(reader).value for _ in range(2)] == expected
    reader.close()


@pytest.mark.system
def test_records_and_committed_transactions_survive_kill_9(own_broker: RunningBroker) -> None:
    # Many, so that some are committed but still without their marker when the broker is killed.
    # Kafka 4.3.1 may forget that marker: readers then see nothing of the partition, for ever.
    topic = create_topic(own_broker.bootstrap)
    producers = [
        Producer({"bootstrap.servers": own_broker.bootstrap, "transactional.id": f"t-{n}"})
        for n in range(20)
    ]
    for n, producer in enumerate(producers):
        producer.init_transactions(PATIENCE_S)
        producer.begin_transaction()
        producer.produce(topic, f"record {n}".encode())
        producer.flush(PATIENCE_S)
    for producer in producers:
        producer.commit_transaction(PATIENCE_S)

    own_broker.kill()
    own_broker.start()

    assert consume(own_broker.bootstrap, topic, 20) == [f"record {n}".encode() for n in range(20)]


@pytest.mark.system
def test_a_topic_that_nobody_created_is_refused(broker: RunningBroker) -> None:
    errors: list[KafkaError] = []
    # 0: take the broker's first word for it, instead of asking again for 30 s.
    eager = {"bootstrap.servers": broker.bootstrap, "topic.metadata.propagation.max.ms": 0}
    producer = Producer(eager)
    producer.produce("nobody-made-this", b"x", on_delivery=lambda error, _: errors.append(error))
    producer.flush(PATIENCE_S)
    assert [e.code() for e in errors] == [KafkaError.UNKNOWN_TOPIC_OR_PART]
    assert "nobody-made-this" not in AdminClient(eager).list_topics(timeout=PATIENCE_S).topics


def test_the_node_listens_on_loopback_only(tmp_path: Path) -> None:
    home = Broker(tmp_path, port=free_port())
    home.write_properties()
    lines = home.properties.read_text().splitlines()
    listeners = [line for line in lines if line.startswith(("listeners=", "advertised.listeners="))]
    addresses = [address for line in listeners for address in line.split("=")[1].split(",")]
    assert len(addresses) == 3
    assert all("://127.0.0.1:" in address for address in addresses)


def fetch(*names: str) -> Callable[[Path, Path], None]:
    """A stand-in for Maven that copies the named jars."""

    def copy(_pom: Path, into: Path) -> None:
        into.mkdir()
        for name in names:
            (into / name).touch()

    return copy


def names_in(jars: Path) -> list[str]:
    return sorted(path.name for path in jars.glob("*.jar"))


def test_jars_that_are_there_are_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker(tmp_path, port=1, controller_port=2, jars=tmp_path / "lib")
    monkeypatch.setattr(broker_module, "_copy_dependencies", fetch("kafka.jar"))
    broker.ensure_jars()
    monkeypatch.setattr(broker_module, "_copy_dependencies", fetch("another.jar"))
    broker.ensure_jars()
    assert names_in(tmp_path / "lib") == ["kafka.jar"]


def test_jars_of_another_pom_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jars = tmp_path / "lib"
    jars.mkdir()
    (jars / "kafka-of-yesterday.jar").touch()
    (jars / ".stamp").write_text("the hash of another pom")
    monkeypatch.setattr(broker_module, "_copy_dependencies", fetch("kafka.jar"))
    Broker(tmp_path, port=1, controller_port=2, jars=jars).ensure_jars()
    assert names_in(jars) == ["kafka.jar"]


def test_a_failed_fetch_leaves_the_old_jars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_pom: Path, _into: Path) -> None:
        raise BrokerError("no network")

    jars = tmp_path / "lib"
    jars.mkdir()
    (jars / "kafka-of-yesterday.jar").touch()
    monkeypatch.setattr(broker_module, "_copy_dependencies", fail)
    with pytest.raises(BrokerError):
        Broker(tmp_path, port=1, controller_port=2, jars=jars).ensure_jars()
    assert names_in(jars) == ["kafka-of-yesterday.jar"]


def test_a_missing_java_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(BrokerError, match="openjdk-17-jre-headless"):
        find_java()


def test_a_broker_that_died_is_not_waited_for(tmp_path: Path) -> None:
    process = subprocess.Popen(["false"])
    process.wait()
    with pytest.raises(BrokerError, match="died before it was ready"):
        Broker(tmp_path, port=free_port()).wait_until_ready(
            timeout_s=PATIENCE_S, alive=lambda: process.poll() is None
        )
