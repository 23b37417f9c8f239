"""A task's topics on the real broker, records for all of them, and a sink as a process."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import Producer

from schemas.codec import Codec
from schemas.features import Boolean, Category, Feature, Integer, Number
from schemas.records import Schema, record_schemas
from schemas.topics import BY_NAME, TOPICS
from services.admin import create_topics
from services.contract import Contract, record
from services.ports import free_port
from services.supervisor.child import Child
from tests.conftest import PATIENCE_S
from tests.services.running_store import PASSWORD, RunningStore

FEATURES: tuple[Feature, ...] = (
    Number("distance", unit="mi"),
    Integer("hour"),
    Category("carrier"),
    Category("gate", nullable=True),
    Boolean("weekend"),
    Number("wind", nullable=True),
)
NOON_MS = 1_362_139_200_000  # 2013-03-01 12:00 UTC
# Kafka timestamps are of today: the broker deletes what is past its retention.
SENT_MS = int(time.time() * 1000)
LOOK_S = 0.2
"""Between two looks: the sink inserts twice a second, and each look costs it the processor."""


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
    """The condition's first true value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(LOOK_S)


class World:
    """One task: topics, records, a sink that can be killed."""

    def __init__(
        self,
        bootstrap: str,
        store: RunningStore,
        home: Path,
        task: str,
        features: Sequence[Feature] = FEATURES,
        **sink: object,
    ) -> None:
        self.bootstrap, self.store, self.home, self.task = bootstrap, store, home, task
        self.set_features(features)
        create_topics(self.contract, {"bootstrap.servers": bootstrap})
        self._env = {f"WEIR_SINK_{name.upper()}": str(value) for name, value in sink.items()}
        self._sinks = 0

    def set_features(self, features: Sequence[Feature]) -> None:
        self.contract = Contract(
            task=self.task,
            reference=f"{self.task}.py:Task",
            kind="binary",
            target="late",
            partitions=3,
            horizon_ms=3_600_000,
            classes=[],
            signals=["click"],
            windows=["tumbling_1d"],
            schemas=record_schemas(self.task, "binary", features),
        )
        record(self.contract, self.home)

    def codec(self, topic: str) -> Codec:
        return self.contract.codec(BY_NAME[topic].record, self.home)

    def produce(self, topic: str, values: Sequence[bytes | None], **options: Any) -> None:
        """Values to a topic, spread over its partitions by their position."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 5})
        partitions = self.contract.partitions_of(BY_NAME[topic])
        for number, value in enumerate(values):
            producer.produce(
                f"{self.task}.{topic}",
                value=value,
                key=f"key-{number}",
                partition=number % partitions,
                timestamp=SENT_MS + number,
                **options,
            )
            producer.poll(0)
        assert producer.flush(PATIENCE_S) == 0

    def records(self, topic: str, count: int, first: int = 0) -> list[bytes]:
        codec = self.codec(topic)
        return codec.write_many(
            make_record(codec.schema, number) for number in range(first, first + count)
        )

    def fill(self, count: int, topics: Sequence[str] | None = None, first: int = 0) -> None:
        for topic in topics or [topic.name for topic in TOPICS]:
            self.produce(topic, self.records(topic, count, first))

    def start_sink(self) -> Child:
        self._sinks += 1
        self.health_port = free_port()
        self.log = self.home / f"sink-{self._sinks}.log"
        env = {
            "WEIR_HOME": str(self.home),
            "WEIR_TASK": self.contract.reference,
            "WEIR_BOOTSTRAP": self.bootstrap,
            "WEIR_CLICKHOUSE_PORT": str(self.store.port),
            "WEIR_CLICKHOUSE_PASSWORD": PASSWORD,
            "WEIR_HEALTH_PORT": str(self.health_port),
            **self._env,
        }
        self.sink = Child([sys.executable, "-m", "services.sink"], env, self.log)
        return self.sink

    def health(self) -> tuple[int, Mapping[str, Any]]:
        answer = httpx.get(f"http://127.0.0.1:{self.health_port}/health", timeout=30)
        return answer.status_code, answer.json()

    def counts(self) -> dict[str, int]:
        """Plain SELECT count() of every table."""
        query = " UNION ALL ".join(
            f"SELECT '{t.name}' AS name, count() AS n FROM {self.task}.{t.table}" for t in TOPICS
        )
        return dict(self.store.reader().query(query).result_rows)

    def count(self, topic: str) -> int:
        """The same of one table; 0 while there is none, or no store."""
        found = self.store.values(f"SELECT count() FROM {self.task}.{BY_NAME[topic].table}")
        return int(found[0]) if found else 0

    def identities(self, topic: str) -> int:
        """How many different (partition, offset) the table holds."""
        query = f"SELECT uniqExact(_partition, _offset) FROM {self.task}.{BY_NAME[topic].table}"
        return int(self.store.reader().command(query))

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What ClickHouse answers, a row a dict."""
        client = self.store.reader(database=self.task, tz_mode="aware")
        return list(client.query(query).named_results())

    def wait_for_rows(self, query: str, count: int) -> list[dict[str, Any]]:
        """The same once there are so many rows; while there is no table there are none."""

        def arrived() -> bool:
            found = self.store.values(f"SELECT count() FROM ({query})", database=self.task)
            assert not self.sink.has_ended(), self.log.read_text()[-3000:]
            return bool(found) and int(found[0]) >= count

        wait_for(arrived, f"{count} rows of {query}")
        return self.rows(query)

    def wait_for_count(self, topic: str, count: int) -> None:
        def arrived() -> bool:
            if self.count(topic) >= count:
                return True
            assert not self.sink.has_ended(), self.log.read_text()[-3000:]
            return False

        wait_for(arrived, f"{count} rows of {topic}")


def make_record(schema: Schema, number: int) -> dict[str, Any]:
    """A record with values that follow from ``number``; every third leaves its nulls null."""
    return {f["name"]: _value(f["type"], f["name"], number, {}) for f in schema["fields"]}


def _value(avro: Any, name: str, number: int, named: dict[str, Any]) -> Any:
    if isinstance(avro, list):
        return None if number % 3 == 0 else _value(avro[1], name, number, named)
    if isinstance(avro, str) and avro in named:
        avro = named[avro]
    kind = avro["type"] if isinstance(avro, dict) else avro
    if kind == "record":
        return {f["name"]: _value(f["type"], f["name"], number, named) for f in avro["fields"]}
    if kind == "enum":
        return avro["symbols"][number % len(avro["symbols"])]
    if kind == "array":
        return [_value(avro["items"], name, number + k, named) for k in range(number % 4)]
    if kind == "map":
        return {f"k{k}": _value(avro["values"], name, number + k, named) for k in range(number % 3)}
    if kind == "string":
        return f"{name}-{number}"
    if kind == "bytes":
        return bytes([0, 255, number % 256])
    if kind == "boolean":
        return number % 2 == 0
    if kind == "double":
        return number / 8
    if isinstance(avro, dict):
        return NOON_MS + number  # a time
    return number
