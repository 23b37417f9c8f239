"""A worker process on a real broker, for tests: a home, topics, a trained version."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from schemas.topics import BY_NAME
from services import contract as contracts
from services.admin import create_topics
from services.contract import Contract
from services.ports import free_port
from streams.bundle import save_bundle
from streams.codecs import codecs
from streams.manifest import Contents
from streams.task import load_task
from streams.training.train import train
from tests.conftest import PATIENCE_S

KEY = b"a test's key"
ROOT = Path(__file__).parents[2]


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Wait until a condition holds; says what was waited for where it never does."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.05)


class Bench:
    """A task on a broker: its topics and codecs, and workers to start and end."""

    def __init__(self, reference: str, bootstrap: str, home: Path) -> None:
        self.reference = reference
        self.task = load_task(reference)
        self.bootstrap = bootstrap
        self.home = home
        self.codecs = codecs(self.task)
        self.contract = Contract.of(self.task, reference)
        contracts.record(self.contract, home)
        create_topics(self.contract, {"bootstrap.servers": bootstrap})
        self.producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                # What a killed broker has kept and not acknowledged is sent again, and must not be
                # there twice: two records of a request have two predictions.
                "enable.idempotence": True,
            }
        )
        self.workers: list[Worker] = []
        self._readers: dict[str, TopicReader] = {}

    def topic(self, name: str) -> str:
        return BY_NAME[name].topic(self.task.name)

    def codec(self, topic: str) -> Any:
        return self.codecs[BY_NAME[topic].record]

    def send(self, topic: str, record: Mapping[str, Any], **more: Any) -> None:
        value = self.codec(topic).write(record)
        self.send_raw(topic, value, key=record["request_id"].encode(), **more)

    def send_raw(
        self, topic: str, value: bytes | None, key: bytes | None = None, **more: Any
    ) -> None:
        while True:
            try:
                self.producer.produce(self.topic(topic), value, key, **more)
                return
            except BufferError:
                self.producer.poll(0.1)

    def flush(self) -> None:
        assert self.producer.flush(PATIENCE_S) == 0

    def train(self, every: int = 1) -> str:
        """Train the first version and put it in service; returns its id.

        every: take one row of so many, where how good it is does not matter.
        """
        assert self.task.history is not None
        return self.serve(train(self.task, self.task.history()[::every], "first").contents)

    def serve(self, contents: Contents) -> str:
        """Put a version that is trained already in service; returns its id."""
        info = save_bundle(self.home / "artifacts", self.task, contents, KEY)
        self.announce(info.id, info.folder.name)
        return info.id

    def announce(
        self,
        version: str,
        bundle: str,
        role: str = "champion",
        event_id: str = "first",
        changed_by: str = "",
    ) -> None:
        now = int(time.time() * 1000)
        record = {
            "version": version,
            "role": role,
            "changed_at": now,
            "reason": "a test",
            "event_id": event_id,
            "bundle": bundle,
            "sha256": "",
            "dataset_id": "",
            "rows": 0,
            "data_from": 0,
            "data_to": 0,
            "metrics": {},
            "changed_by": changed_by,
        }
        value = self.codec("models").write(record)
        self.producer.produce(self.topic("models"), value, version.encode())
        self.flush()

    def worker(self, name: str = "0", **settings: str) -> Worker:
        worker = Worker(self, name, settings)
        self.workers.append(worker)
        return worker

    def read(self, topic: str) -> list[Any]:
        """All messages of a topic that a reader of committed records sees now."""
        return self._reader(topic).read()

    def records(self, topic: str) -> list[dict[str, Any]]:
        """The same, decoded. Those of one partition are in their order."""
        codec, reader = self.codec(topic), self._reader(topic)
        for message in reader.read()[len(reader.decoded) :]:
            reader.decoded.append(codec.read(message.value()))
        return list(reader.decoded)

    def _reader(self, topic: str) -> TopicReader:
        if topic not in self._readers:
            partitions = self.task.partitions if BY_NAME[topic].partitioned else 1
            self._readers[topic] = TopicReader(self.bootstrap, self.topic(topic), partitions)
        return self._readers[topic]

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        for reader in self._readers.values():
            reader.close()


class Worker:
    """One worker process."""

    def __init__(self, bench: Bench, name: str, settings: Mapping[str, str]) -> None:
        self.port = free_port()
        self.log = bench.home / f"worker-{name}.log"
        environment = {
            **os.environ,
            "WEIR_HOME": str(bench.home),
            "WEIR_TASK": bench.reference,
            "WEIR_BOOTSTRAP": bench.bootstrap,
            "WEIR_HEALTH_PORT": str(self.port),
            "WEIR_SIGNING_KEY": KEY.decode(),
            "WEIR_WORKER": name,
            **settings,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams.app"],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
            )

    def health(self) -> dict[str, Any] | None:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/health", timeout=30
            ) as answer:
                state: dict[str, Any] = json.load(answer)
                return state
        except OSError:
            return None

    def wait_until_ready(self, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        def ready() -> dict[str, Any] | None:
            assert self.process.poll() is None, f"the worker ended:\n{self.log.read_text()[-3000:]}"
            return self.health()

        state: dict[str, Any] = wait_for(ready, "the worker is ready", timeout_s)
        return state

    def metric(self, name: str) -> float:
        """Sum of a Prometheus metric over its labels; `name` may hold labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(name))
        return sum(float(value) for _, value in lines)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE_S)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


class TopicReader:
    """Reads a topic's committed records; what was read once is not fetched again."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self.messages: list[Message] = []
        self.decoded: list[dict[str, Any]] = []
        """The records of the first messages, as far as somebody asked for them."""
        self._topic = topic
        self._offsets = dict.fromkeys(range(partitions), 0)
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "test-reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                # A topic's end is told when the broker has waited so long for more.
                "fetch.wait.max.ms": 10,
            }
        )

    def read(self) -> list[Message]:
        """Every committed record of the topic up to its end now."""
        self._consumer.assign(
            [TopicPartition(self._topic, p, offset) for p, offset in self._offsets.items()]
        )
        ended: set[int] = set()
        while len(ended) < len(self._offsets):
            first = self._consumer.poll(1.0)
            # poll() returns with the first message; consume(n) would wait for n of them.
            rest = self._consumer.consume(5000, 0) if first is not None else []
            for message in [first, *rest] if first is not None else []:
                error = message.error()
                if error is None:
                    self.messages.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                else:  # such as a new partition's missing leader: the client gets over it
                    continue
                end = message.offset() + (error is None)
                self._offsets[message.partition()] = end
        self._consumer.unassign()  # it fetches nothing in the background
        return list(self.messages)

    def close(self) -> None:
        self._consumer.close()


def read_all(bootstrap: str, topic: str, partitions: int) -> list[Message]:
    """Every committed record of a topic up to its end now."""
    reader = TopicReader(bootstrap, topic, partitions)
    try:
        return reader.read()
    finally:
        reader.close()
