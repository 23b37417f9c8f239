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
from services.alerting.watching import READ
from services.contract import Contract
from services.supervisor.child import Child
from tests.conftest import PATIENCE_S, RunningBroker
from tests.services.alerting.receiver import Receiver
from tests.services.command_line import weir
from tests.small_tasks import tumour_task
from tests.streams.alerts.test_signs import role
from tests.system.worker import read_all

pytestmark = pytest.mark.system

TOKEN = "a-secret-token"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


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

    def find(self, subject: str, day: int = 0, **changes: Any) -> None:
        """Publish a finding of drift of a version of its own, unless ``version`` says whose."""
        began, found = day * DAY_MS, day * DAY_MS + HOUR_MS
        record = {
            "drift_id": uuid.uuid4().hex,
            "detected_at": int(time.time() * 1000),
            "kind": "concept",
            "feature": None,
            "version": f"v-{subject}",
            "statistic": "psi",
            "value": 1.0,
            "threshold": 0.2,
            "p_value": None,
            "window_from": began,
            "window_to": found,
            "window_size": 100,
            "reference": "training",
            "message": f"{subject} is not what it was",
            "detector": "psi",
            "subject": subject,
            "role": "champion",
            "since": began,
            "e_value": None,
            "reference_size": 100,
            "effect": "",
            "hurts": True,
            "alerting": True,
            "evidence": "",
        } | changes
        self.publish("drifts", subject.encode(), record)

    def publish(self, name: str, key: bytes, record: dict[str, Any] | bytes | None) -> None:
        """Write a record, or any bytes, to one of the task's topics."""
        topic = BY_NAME[name]
        value = (
            self.contract.codec(topic.record).write(record) if isinstance(record, dict) else record
        )
        producer = Producer({"bootstrap.servers": self.bootstrap})
        producer.produce(topic.topic(self.contract.task), value, key)
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
    alerting.find("texture")
    alerting.wait(lambda: len(receiver.messages) == 2)
    assert receiver.titles == [
        f"[critical] {task}: concept drift of radius",
        f"[critical] {task}: concept drift of texture",
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
        f"[critical] {task}: concept drift of smooth",
        f"[critical] {task}: concept drift of shape",
    ]

    # Nothing is sent again by a service that starts again.
    alerting.wait(lambda: '"waiting": 0' in alerting.page("/health"))
    alerting.process.terminate()
    assert alerting.process.wait() == 0
    alerting.start()
    alerting.find("last")
    alerting.wait(lambda: len(receiver.messages) == 5)
    assert receiver.titles[4] == f"[critical] {task}: concept drift of last"

    recorded = alerting.alerts()
    assert [record["change"] for record in recorded] == ["opened"] * 5
    assert len({record["alert_id"] for record in recorded}) == 5
    assert recorded[0]["evidence"] == "first"
    assert TOKEN not in alerting.log.read_text()

    environment = {"WEIR_HOME": str(alerting.home), "WEIR_BOOTSTRAP": alerting.bootstrap}
    listed = json.loads(weir("alerts", "--json", "--task", task, env=environment).stdout)
    assert [record["about"] for record in listed] == [record["about"] for record in recorded]
    shown = weir("alerts", "--open", "--task", task, env=environment).stdout
    assert "concept drift of texture" in shown
    assert "weir drift explain first" in shown


def test_one_cause_is_one_message_and_a_version_that_leaves_ends_it_quietly(
    alerting: Alerting, receiver: Receiver
) -> None:
    task = alerting.contract.task
    alerting.publish("models", b"v1", role("v1", "champion").record())
    alerting.start()
    of_v1 = {"version": "v1"}
    alerting.find("radius", kind="data", feature="radius", hurts=False, alerting=False, **of_v1)
    alerting.find("", **of_v1)
    alerting.find("site=a", **of_v1)
    # What no schema reads, and a tombstone, cost themselves in every topic that it reads.
    for name in READ:
        for value in (b"\x00nonsense", b"", None):
            alerting.publish(name, b"strange", value)
    alerting.wait(lambda: len(receiver.messages) == 1)
    assert receiver.titles == [f"[critical] {task}: data drift of radius, and performance suffers"]

    # What belongs to it is known again after a kill.
    alerting.process.kill()
    alerting.process.wait()
    alerting.start()
    alerting.find("radius", kind="prediction", hurts=True, **of_v1)
    alerting.find("later", day=30, **of_v1)
    alerting.wait(lambda: len(receiver.messages) >= 2)
    alerting.publish("models", b"v2", role("v2", "champion").record())
    alerting.find("another")
    alerting.wait(lambda: f"[critical] {task}: concept drift of another" in receiver.titles)
    told = [(record["change"], record["version"], record["notify"]) for record in alerting.alerts()]
    assert told.count(("opened", "v1", True)) == 2
    assert ("resolved", "v1", False) in told
    assert not any("answers no more" in message["message"] for message in receiver.messages)
    alerting.process.terminate()
    assert alerting.process.wait() == 0

    environment = {"WEIR_HOME": str(alerting.home), "WEIR_BOOTSTRAP": alerting.bootstrap}
    listed = json.loads(weir("alerts", "--json", "--task", task, env=environment).stdout)
    assert [m["kind"] for m in listed[0]["findings"]][:1] == ["data"]
    still = json.loads(weir("alerts", "--open", "--json", "--task", task, env=environment).stdout)
    assert [record["version"] for record in still] == ["v-another"]


@pytest.mark.expect_error("the channels are wrong", why="that is what is tested")
@pytest.mark.expect_end(r"services\.alerting", why="likewise")
def test_a_wrong_url_is_told_at_start_and_not_shown(alerting: Alerting) -> None:
    alerting.env["WEIR_ALERT_URLS"] = f"nonsense://{TOKEN}"
    process = Child([sys.executable, "-m", "services.alerting"], alerting.env, alerting.log)
    assert process.wait() == 2
    assert "URL 1 of WEIR_ALERT_URLS" in alerting.log.read_text()
    assert TOKEN not in alerting.log.read_text()
