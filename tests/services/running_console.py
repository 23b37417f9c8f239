"""A real console in a process of its own, and the records that its page shows."""

from __future__ import annotations

import json
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from confluent_kafka import Producer
from sklearn.linear_model import LogisticRegression

from schemas.features import Category, Number
from schemas.topics import BY_NAME
from services.admin import create_topics
from services.contract import Contract, record
from services.supervisor.child import Child
from streams.task import Binary, Task
from tests.conftest import PATIENCE_S

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
BEGIN_MS = 1_362_096_000_000  # 1 March 2013
T = TypeVar("T")


def small_task(name: str | None = None) -> Task:
    """A task with topics of its own."""
    return Task(
        name=name or f"page_{uuid.uuid4().hex[:8]}",
        doc="Will the parcel be late?",
        features=[Number("distance"), Category("origin", nullable=True)],
        target=Binary("late"),
        candidates={"logistic": LogisticRegression()},
        fallback=False,
        segments=["origin"],
        partitions=2,
    )


class RunningConsole:
    """The console over a broker, in a home of its own; `clickhouse_port` may be nobody's."""

    def __init__(
        self, home: Path, bootstrap: str, task: Task | None = None, clickhouse_port: int = 1
    ) -> None:
        self.home = home
        self.contract = Contract.of(task or small_task(), "tests/nowhere.py:Small")
        home.mkdir(parents=True, exist_ok=True)
        record(self.contract, home)
        self.log = home / "console.log"
        self._env = {
            "WEIR_HOME": str(home),
            "WEIR_TASK": self.contract.reference,
            "WEIR_BOOTSTRAP": bootstrap,
            "WEIR_CONSOLE_PORT": "0",
            "WEIR_CLICKHOUSE_PORT": str(clickhouse_port),
        }
        self._bootstrap = bootstrap
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens; on the same port again after a first time."""
        self.log.unlink(missing_ok=True)
        self.process = Child([sys.executable, "-m", "services.console"], self._env, self.log)
        facts = self.wait_for_log("console listens")
        self.url, self.health_port = facts["url"].rstrip("/"), facts["health_port"]
        self._env["WEIR_CONSOLE_PORT"] = self.url.rsplit(":", 1)[1]

    def wait_for_log(self, event: str) -> dict[str, Any]:
        """The log line of an event, once it is there."""

        def line() -> dict[str, Any] | None:
            assert not self.process.has_ended(), self.log.read_text()
            text = self.log.read_text() if self.log.exists() else ""
            found = re.search(rf'^.*"event": "{event}".*\n', text, re.MULTILINE)
            return json.loads(found[0]) if found else None

        return wait_until(line, f"no {event!r} in the log")

    def create_topics(self) -> None:
        """Make the task's topics, and wait until the console follows them."""
        create_topics(self.contract, {"bootstrap.servers": self._bootstrap})
        self.wait_for_log("following")

    def send(self, topic: str, *records: Mapping[str, Any], commit: bool = True) -> None:
        """Publish records in one transaction, which may be given up instead of committed."""
        kind = BY_NAME[topic]
        codec = self.contract.codec(kind.record)
        transaction = {"transactional.id": uuid.uuid4().hex, "log_level": 0}
        producer = Producer({"bootstrap.servers": self._bootstrap, **transaction})
        producer.init_transactions(PATIENCE_S)
        producer.begin_transaction()
        for one in records:
            key = one.get("version" if topic == "models" else "request_id")
            producer.produce(kind.topic(self.contract.task), codec.write(one), key)
        if commit:
            producer.commit_transaction(PATIENCE_S)
        else:
            producer.flush(PATIENCE_S)
            producer.abort_transaction(PATIENCE_S)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=PATIENCE_S, verify=False, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", timeout=PATIENCE_S, verify=False, **options)

    @contextmanager
    def events(self) -> Iterator[Iterator[tuple[str, Any]]]:
        """The stream's events, as (name, data)."""
        with httpx.stream("GET", f"{self.url}/live", timeout=PATIENCE_S) as response:
            assert response.status_code == 200
            yield _parsed(response.iter_lines())

    def event(self, name: str, of: Callable[[Any], bool] = lambda data: True) -> Any:
        """The first event of this name that is as wanted."""
        began = time.monotonic()
        with self.events() as events:
            for kind, data in events:
                if kind == name and of(data):
                    return data
                assert time.monotonic() - began < PATIENCE_S, (name, kind, data)
        raise AssertionError(f"the stream ended without {name}")

    def stop(self) -> int:
        if self.process.has_ended():
            return 0
        self.process.terminate()
        return self.process.wait()


def _parsed(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def wait_until(look: Callable[[], T | None], message: str) -> T:
    """What `look` gives once it gives something."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, message
        time.sleep(0.1)


def request(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "request_id": f"r{number}",
        "event_time": BEGIN_MS + number * 1000,
        "features": {"distance": 10.0, "origin": "JFK"},
    } | changes


def prediction(number: int, **changes: Any) -> dict[str, Any]:
    status = changes.get("status", "answered")
    return {
        "request_id": f"r{number}",
        "event_time": BEGIN_MS + number * 1000,
        "predicted_at": int(time.time() * 1000),
        "entity": None,
        "status": status,
        "reason": None,
        "answer": None if status == "rejected" else number % 3 == 0,
        "probability": 0.4 if status == "answered" else None,
        "probabilities": [],
        "gate_decision": {"answered": "admit", "deferred": "defer"}.get(status, "none"),
        "gate_score": 0.1,
        "version": "v1",
        "role": "champion",
        "dataset_id": "d1",
        "app_version": "test",
        "timings": {
            "wait_us": 8_000,
            "decode_us": 500,
            "validate_us": 500,
            "gate_us": 500,
            "infer_us": 500,
            "batch_size": 10,
        },
        "features": None if status == "rejected" else {"distance": 10.0, "origin": "JFK"},
    } | changes


def model(version: str, role: str = "champion", **changes: Any) -> dict[str, Any]:
    return {
        "version": version,
        "role": role,
        "changed_at": int(time.time() * 1000),
        "reason": "first version",
        "event_id": "e1",
        "bundle": version,
        "sha256": "0" * 64,
        "dataset_id": "d1",
        "rows": 50_000,
        "data_from": BEGIN_MS - 59 * DAY_MS,
        "data_to": BEGIN_MS - 1,
        "metrics": {"roc_auc": 0.71, "log_loss": 0.42},
        "replaces": "",
    } | changes


def alert(name: str, change: str = "opened", **changes: Any) -> dict[str, Any]:
    return {
        "alert_id": f"{name}-{change}",
        "raised_at": int(time.time() * 1000),
        "kind": "drift",
        "severity": "warning",
        "message": f"{name} is not what it was",
        "about": f"data drift of {name}",
        "evidence": "d1",
        "change": change,
        "episode": f"{name}-opened",
        "opened_at": int(time.time() * 1000),
        "title": f"data drift of {name}",
        "count": 1,
        "version": "v1",
        "event_time": None,
        "origin": "",
        "link": "http://127.0.0.1:8080/#drift-d1",
        "command": "weir drift explain d1",
    } | changes


def dead_letter(offset: int, **changes: Any) -> dict[str, Any]:
    return {
        "topic": "page.requests",
        "partition": 0,
        "offset": offset,
        "record_time": int(time.time() * 1000),
        "failed_at": int(time.time() * 1000),
        "stage": "serving",
        "reason": "undecodable",
        "message": "the value starts with ff, not with Confluent framing",
        "request_id": None,
        "key": None,
        "value": b"\xff\xff",
    } | changes


def drift(id_: str, **changes: Any) -> dict[str, Any]:
    """A record of `drifts`, such as the worker writes."""
    evidence = {"edges": [1.0, 2.5], "reference": [0.5, 0.3, 0.2], "window": [0.1, 0.3, 0.6]}
    return {
        "drift_id": id_,
        "detected_at": BEGIN_MS + 5 * HOUR_MS,
        "kind": "data",
        "feature": "distance",
        "version": "page-0123456789ab",
        "statistic": "total variation",
        "value": 0.4,
        "threshold": 0.1,
        "p_value": None,
        "window_from": BEGIN_MS + 2 * HOUR_MS,
        "window_to": BEGIN_MS + 4 * HOUR_MS,
        "window_size": 1_200,
        "reference": "training data of page-0123456789ab",
        "message": "distance is another than in training",
        "detector": "bins",
        "subject": "distance",
        "role": "champion",
        "since": BEGIN_MS + 2 * HOUR_MS,
        "e_value": 2.5e9,
        "reference_size": 50_000,
        "effect": "the median rose from 1.2 to 2.6 km",
        "hurts": True,
        "alerting": True,
        "evidence": json.dumps(evidence),
        **changes,
    }


def decision(**changes: Any) -> dict[str, Any]:
    """A record of `decisions`, such as the worker writes."""
    return {
        "decision_id": "5f0c21d4a7b3e9c8",
        "decided_at": 1_362_110_400_000,
        "event_time": 1_362_110_400_000,
        "action": "promoted",
        "version": "v2",
        "from_role": "canary",
        "to_role": "champion",
        "moves": {"v2": "canary > champion"},
        "reason": "v2 is better than v1",
        "rule": "loss",
        "experiment": "e1",
        "strategy": "canary",
        "champion": "v1",
        "statistic": "difference of the mean brier",
        "value": -0.02,
        "low": -0.03,
        "high": -0.01,
        "bound": 0.0,
        "alpha": 0.05,
        "outcomes": 1200,
        "evidence": '{"estimates": [{"version": "v2", "what": "loss", "segment": "", "n": 1200,'
        ' "value": -0.02, "low": -0.03, "high": -0.01, "limit": 0.0}]}',
        **changes,
    }
