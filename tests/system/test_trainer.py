"""The trainer as a process, on a real broker and a real store."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaProducer

from services.admin import create_topics
from services.contract import Contract
from services.registry import read_roles, request_retrain
from services.supervisor.child import Child
from streams.bundle import load_bundle
from streams.settings import Settings
from streams.task import Task
from tests.conftest import RunningBroker
from tests.small_tasks import tumour_task

pytestmark = pytest.mark.system

KEY = "a-key-for-tests"
TASK_FILE = """
from tests.small_tasks import tumour_task
Tumour = tumour_task(name={name!r})
"""


class RunningTrainer:
    """``python -m services.trainer`` for one task in a home of its own."""

    def __init__(self, home: Path, broker: RunningBroker, clickhouse_port: int) -> None:
        name = f"tumour_{uuid.uuid4().hex[:8]}"
        file = home / "task.py"
        file.write_text(TASK_FILE.format(name=name))
        self.task: Task = tumour_task(name=name)
        self.settings = Settings(
            home=home,
            task=f"{file}:Tumour",
            bootstrap=broker.bootstrap,
            clickhouse_port=clickhouse_port,
            signing_key=KEY,
        )
        self.log = home / "trainer.log"
        self._env = {
            "WEIR_HOME": str(home),
            "WEIR_TASK": self.settings.task,
            "WEIR_BOOTSTRAP": broker.bootstrap,
            "WEIR_CLICKHOUSE_PORT": str(clickhouse_port),
            "WEIR_SIGNING_KEY": KEY,
        }
        create_topics(Contract.of(self.task, self.settings.task), self.settings.librdkafka())

    def start(self) -> None:
        self.process = Child([sys.executable, "-m", "services.trainer"], self._env, self.log)

    def wait(self, until: Callable[[], bool], timeout_s: float = 120) -> None:
        deadline = time.monotonic() + timeout_s
        while not until():
            assert not self.process.has_ended(), self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def lines(self, event: str) -> list[dict[str, object]]:
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]
        return [line for line in found if line["event"] == event]

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait()


@pytest.fixture
def trainer(tmp_path: Path, broker: RunningBroker) -> Iterator[RunningTrainer]:
    running = RunningTrainer(tmp_path, broker, clickhouse_port=1)  # nobody listens there
    yield running
    if not running.process.has_ended():
        running.process.kill()
        running.process.wait()


def test_a_first_version_is_trained_from_the_history(trainer: RunningTrainer) -> None:
    trainer.start()
    trainer.wait(lambda: read_roles(trainer.settings, trainer.task).champion is not None)
    record = read_roles(trainer.settings, trainer.task).champion
    assert record is not None
    assert record.event_id.startswith("first-")
    assert (record.rows, record.replaces) == (569, "")
    version = load_bundle(trainer.settings.artifacts / record.bundle, trainer.task, KEY.encode())
    assert version.id == record.version
    assert trainer.end() == 0
    assert trainer.lines("ended in order")

    before = len(trainer.lines("progress"))
    trainer.start()  # again: the champion is there, nothing is trained
    trainer.wait(lambda: len(trainer.lines("progress")) > before)
    assert trainer.lines("progress")[-1]["phase"] == "idle"
    assert {line["phase"] for line in trainer.lines("progress")[before:]} == {"idle"}
    assert trainer.end() == 0
    assert read_roles(trainer.settings, trainer.task).records == {record.version: record}


def test_a_trainer_killed_while_it_trains_repeats_the_event(trainer: RunningTrainer) -> None:
    trainer.start()
    trainer.wait(lambda: any(p["phase"] == "errors" for p in trainer.lines("progress")))
    trainer.process.kill()
    trainer.process.wait()
    assert read_roles(trainer.settings, trainer.task).champion is None
    trainer.start()
    trainer.wait(lambda: bool(read_roles(trainer.settings, trainer.task).records))
    trainer.wait(lambda: trainer.lines("progress")[-1]["phase"] == "idle")
    (record,) = read_roles(trainer.settings, trainer.task).records.values()
    assert record.role == "champion"


def test_records_that_are_no_retrain_events_are_passed_over(trainer: RunningTrainer) -> None:
    producer = KafkaProducer(bootstrap_servers=trainer.settings.bootstrap)
    producer.send(f"{trainer.task.name}.retrain", b"not avro", key=b"x").get(timeout=30)
    producer.close()
    trainer.start()
    trainer.wait(lambda: read_roles(trainer.settings, trainer.task).champion is not None)
    assert trainer.lines("a record of the topic is not a retrain event")


def test_while_clickhouse_is_down_the_trainer_waits_and_ends_in_order(
    trainer: RunningTrainer,
) -> None:
    request_retrain(trainer.settings, trainer.task, "a test", "pytest")
    trainer.start()
    trainer.wait(lambda: len(trainer.lines("ClickHouse does not answer; trying again")) > 1)
    assert trainer.end() == 0
