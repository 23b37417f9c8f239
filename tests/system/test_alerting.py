"""The alerting service as a process, on a real broker and with a real receiver."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from schemas.topics import BY_NAME
from services import contract as contracts
from services.admin import create_topics
from services.contract import Contract
from services.supervisor.child import Child
from tests.conftest import PATIENCE_S, RunningBroker
from tests.services.alerting.receiver import Receiver
from tests.services.command_line import weir
from tests.small_tasks import tumour_task
from tests.system.worker import read_all

pytestmark = pytest.mark.system

TOKEN = "a-secret-token"


class Alerting:
    """``python -m services.alerting`` for one task in a home of its own."""

    def __init__(self, home: Path, broker: RunningBroker, urls: str) -> None:
        self.home, self.log = home, home / "alerting.log"
        self.bootstrap = broker.bootstrap
        self.contract = Contract.of(tumour_task(name=f"tumour_{uuid.uuid4().hex[:8]}"), "none:None")
        contracts.record(self.contract, home)
        create_topics(self.contract, {"bootstrap.servers": broker.bootstrap})
        self.env = {
            "WEIR_HOME": str(home),
            "WEIR_TASK": "none:None",
            "WEIR_BOOTSTRAP": broker.bootstrap,
            "WEIR_ALERT_URLS": urls,
            "NO_PROXY": "127.0.0.1",
        }

    def start(self) -> None:
        before = len(self.lines("restored"))
        self.process = Child([sys.executable, "-m", "services.alerting"], self.env, self.log)
        self.wait(lambda: len(self.lines("restored")) > before)
        self.port = self.lines("started")[-1]["health_port"]

    def wait(self, until: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not until():
            assert not self.process.has_ended(), self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def lines(self, event: str) -> list[dict[str, Any]]:
        text = self.log.read_text() if self.log.exists() else ""
        found = [json.loads(line) for line in text.splitlines() if line[:1] == "{"]
        return [line for line in found if line["event"] == event]

    def find(self, subject: str, **changes: Any) -> None:
        """Publish a finding of drift."""
        record = {
            "drift_id": uuid.uuid4().hex,
            "detected_at": int(time.time() * 1000),
            "kind": "data",
            "feature": subject,
            "version": "v1",
            "statistic": "psi",
            "value": 1.0,
            "threshold": 0.2,
            "p_value": None,
            "window_from": 0,
            "window_to": 1,
            "window_size": 100,
            "reference": "training",
            "message": f"{subject} is not what it was",
            "detector": "psi",
            "subject": subject,
            "role": "champion",
            "since": None,
            "e_value": None,
            "reference_size": 100,
            "effect": "",
            "hurts": None,
            "alerting": True,
            "evidence": "",
        } | changes
        topic = BY_NAME["drifts"]
        producer = Producer({"bootstrap.servers": self.bootstrap})
        value = self.contract.codec(topic.record).write(record)
        producer.produce(topic.topic(self.contract.task), value, subject.encode())
        assert producer.flush(PATIENCE_S) == 0

    def alerts(self) -> list[dict[str, Any]]:
        topic = BY_NAME["alerts"]
        codec = self.contract.codec(topic.record)
        stored = read_all(self.bootstrap, topic.topic(self.contract.task), 1)
        return [codec.read(message.value()) for message in stored]

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            text: str = answer.read().decode()
            return text


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


@pytest.fixture
def alerting(tmp_path: Path, broker: RunningBroker, receiver: Receiver) -> Iterator[Alerting]:
    running = Alerting(tmp_path, broker, receiver.url(TOKEN))
    yield running
    if hasattr(running, "process") and not running.process.has_ended():
        running.process.kill()
        running.process.wait()


def test_each_finding_is_one_message_whatever_becomes_of_service_and_receiver(
    alerting: Alerting, receiver: Receiver
) -> None:
    task = alerting.contract.task
    alerting.start()
    for drift_id in ("first", "second", "third"):
        alerting.find("radius", drift_id=drift_id)
    alerting.find("quiet", alerting=False)
    alerting.find("texture", hurts=True)
    alerting.wait(lambda: len(receiver.messages) == 2)
    assert receiver.titles == [
        f"[warning] {task}: data drift of radius",
        f"[critical] {task}: data drift of texture",
    ]
    assert "#drift-first" in receiver.messages[0]["message"]
    assert "weir drift explain first" in receiver.messages[0]["message"]
    assert json.loads(alerting.page("/health"))["open"] == 2

    # The receiver is away for a while, and the service is killed meanwhile.
    receiver.away = True
    alerting.find("smooth")
    alerting.wait(lambda: receiver.refused > 1)
    alerting.process.kill()
    alerting.process.wait()
    alerting.find("shape")
    alerting.find("radius")  # an episode that is open still
    alerting.start()
    alerting.wait(lambda: len(alerting.lines("alert")) == 4)
    receiver.away = False
    alerting.wait(lambda: len(receiver.messages) == 4)
    assert receiver.titles[2:] == [
        f"[warning] {task}: data drift of smooth",
        f"[warning] {task}: data drift of shape",
    ]

    # Nothing is sent again by a service that starts again.
    alerting.wait(lambda: '"waiting": 0' in alerting.page("/health"))
    alerting.process.terminate()
    assert alerting.process.wait() == 0
    alerting.start()
    alerting.find("last")
    alerting.wait(lambda: len(receiver.messages) == 5)
    assert receiver.titles[4] == f"[warning] {task}: data drift of last"

    recorded = alerting.alerts()
    assert [record["change"] for record in recorded] == ["opened"] * 5
    assert len({record["alert_id"] for record in recorded}) == 5
    assert recorded[0]["evidence"] == "first"
    assert TOKEN not in alerting.log.read_text()

    environment = {"WEIR_HOME": str(alerting.home), "WEIR_BOOTSTRAP": alerting.bootstrap}
    listed = json.loads(weir("alerts", "--json", "--task", task, env=environment).stdout)
    assert [record["about"] for record in listed] == [record["about"] for record in recorded]
    shown = weir("alerts", "--open", "--task", task, env=environment).stdout
    assert "data drift of texture" in shown
    assert "weir drift explain first" in shown


def test_a_wrong_url_is_told_at_start_and_not_shown(alerting: Alerting) -> None:
    alerting.env["WEIR_ALERT_URLS"] = f"nonsense://{TOKEN}"
    process = Child([sys.executable, "-m", "services.alerting"], alerting.env, alerting.log)
    assert process.wait() == 2
    assert "URL 1 of WEIR_ALERT_URLS" in alerting.log.read_text()
    assert TOKEN not in alerting.log.read_text()
