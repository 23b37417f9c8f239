"""The embedded broker: real Kafka, spoken to by the two clients that Weir uses."""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Consumer as ConfluentConsumer
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaConsumer, KafkaProducer

from services import broker as broker_module
from services.broker import Broker, BrokerError, find_java, free_port
from tests.conftest import RunningBroker


def create_topic(bootstrap: str, partitions: int = 1) -> str:
    name = f"t-{uuid.uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.create_topics([NewTopic(name, partitions, 1)]).values():
        done.result(timeout=20)
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
        messages = consumer.consume(count - len(values), timeout=20)
        assert messages, f"{len(values)} of {count} records came"
        values += [m.value() for m in messages]
    consumer.close()
    return values


@pytest.mark.system
def test_kafka_python_and_confluent_kafka_read_what_the_other_wrote(broker: RunningBroker) -> None:
    topic = create_topic(broker.bootstrap)
    with KafkaProducer(bootstrap_servers=broker.bootstrap) as ours:
        ours.send(topic, b"from kafka-python").get(timeout=20)
    theirs = Producer({"bootstrap.servers": broker.bootstrap})
    theirs.produce(topic, b"from confluent-kafka")
    assert theirs.flush(20) == 0
    expected = [b"from kafka-python", b"from confluent-kafka"]

    assert consume(broker.bootstrap, topic, 2) == expected
    reader = KafkaConsumer(
        topic,
        bootstrap_servers=broker.bootstrap,
        auto_offset_reset="earliest",
        consumer_timeout_ms=20_000,
    )
    assert [next(reader).value for _ in range(2)] == expected
    reader.close()


@pytest.mark.system
def test_records_and_committed_transactions_survive_kill_9(own_broker: RunningBroker) -> None:
    topic = create_topic(own_broker.bootstrap)
    sent = [f"record {n}".encode() for n in range(1000)]
    producer = Producer(
        {"bootstrap.servers": own_broker.bootstrap, "transactional.id": uuid.uuid4().hex}
    )
    producer.init_transactions(20)
    producer.begin_transaction()
    for value in sent:
        producer.produce(topic, value)
    producer.commit_transaction(20)

    own_broker.kill()
    own_broker.start()

    assert consume(own_broker.bootstrap, topic, len(sent)) == sent


@pytest.mark.system
def test_a_topic_that_nobody_created_is_refused(broker: RunningBroker) -> None:
    errors: list[KafkaError] = []
    # 0: take the broker's first word for it, instead of asking again for 30 s.
    eager = {"bootstrap.servers": broker.bootstrap, "topic.metadata.propagation.max.ms": 0}
    producer = Producer(eager)
    producer.produce("nobody-made-this", b"x", on_delivery=lambda error, _: errors.append(error))
    producer.flush(20)
    assert [e.code() for e in errors] == [KafkaError.UNKNOWN_TOPIC_OR_PART]
    assert "nobody-made-this" not in AdminClient(eager).list_topics(timeout=20).topics


def test_the_node_listens_on_loopback_only(tmp_path: Path) -> None:
    home = Broker(tmp_path, port=free_port())
    home.write_properties()
    lines = home.properties.read_text().splitlines()
    listeners = [line for line in lines if line.startswith(("listeners=", "advertised.listeners="))]
    addresses = [address for line in listeners for address in line.split("=")[1].split(",")]
    assert len(addresses) == 3
    assert all("://127.0.0.1:" in address for address in addresses)


def test_jars_that_are_there_are_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[Path] = []
    monkeypatch.setattr(broker_module, "_copy_dependencies", lambda pom, into: fetched.append(into))
    for _ in range(2):
        Broker(tmp_path, port=1, controller_port=2, jars=tmp_path / "lib").ensure_jars()
    assert fetched == [tmp_path / "lib"]


def test_jars_of_another_pom_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jars = tmp_path / "lib"
    jars.mkdir()
    (jars / "kafka-of-yesterday.jar").touch()
    (jars / ".stamp").write_text("the hash of another pom")
    monkeypatch.setattr(broker_module, "_copy_dependencies", lambda pom, into: None)
    Broker(tmp_path, port=1, controller_port=2, jars=jars).ensure_jars()
    assert list(jars.glob("*.jar")) == []


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
            timeout_s=60, alive=lambda: process.poll() is None
        )
