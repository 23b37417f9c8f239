"""The trainer as a process, on a real broker and a real store."""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from services.admin import create_topics
from services.contract import Contract
from services.registry import read_roles, request_retrain
from services.supervisor.child import Child
from services.trainer.events import Event
from services.trainer.journal import folder_of, read_journal
from services.trainer.rows import collect
from services.trainer.runs import KEPT
from streams.bundle import bundle_info, load_bundle, save_bundle
from streams.codecs import codecs
from streams.settings import Settings
from streams.task import Task, load_task
from streams.training.data import prepare
from streams.training.train import train
from tests.conftest import PATIENCE_S, RunningBroker
from tests.services.command_line import weir
from tests.services.running_store import RunningStore
from tests.small_tasks import tumour_task, tumours, two_eras
from tests.system.sink_world import World
from tests.system.worker import read_all

pytestmark = pytest.mark.system

KEY = "a-key-for-tests"
TASK_FILE = """
import time
from pathlib import Path
from tests.small_tasks import tumour_task, tumours

HOLD = Path(__file__).with_name("hold")

def history():
    while HOLD.exists():  # a training that lasts for as long as the test says
        time.sleep(0.01)
    return tumours().head(400)

Tumour = tumour_task(name={name!r}, partitions=3, history=history)
"""


class RunningTrainer:
    """``python -m services.trainer`` for one task in a home of its own."""

    def __init__(
        self, home: Path, broker: RunningBroker, clickhouse_port: int, text: str = TASK_FILE
    ) -> None:
        name = f"tumour_{uuid.uuid4().hex[:8]}"
        file = home / "task.py"
        file.write_text(text.format(name=name))
        self.task: Task = tumour_task(name=name, partitions=3)
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
            "WEIR_MLFLOW_URI": "none",
        }
        create_topics(Contract.of(self.task, self.settings.task), self.settings.librdkafka())

    def start(self) -> None:
        self.process = Child([sys.executable, "-m", "services.trainer"], self._env, self.log)

    def wait(self, until: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not until():
            assert not self.process.has_ended(), self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def lines(self, event: str) -> list[dict[str, object]]:
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]
        return [line for line in found if line["event"] == event]

    def retrains(self) -> list[dict[str, Any]]:
        """The records of the retrain topic."""
        codec = codecs(self.task)["retrain"]
        stored = read_all(self.settings.bootstrap, f"{self.task.name}.retrain", 1)
        return [codec.read(message.value()) for message in stored]

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
    assert (record.rows, record.replaces) == (400, "")
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


HELD_TASK_FILE = (
    TASK_FILE.rpartition("Tumour =")[0]
    + """
from sklearn.base import BaseEstimator, ClassifierMixin
from tests.small_tasks import TUMOUR

HOLD_FIT, WAITS = (Path(__file__).with_name(name) for name in ("hold-fit", "waits"))

class Waits(ClassifierMixin, BaseEstimator):
    def fit(self, frame, target):
        WAITS.touch()
        while HOLD_FIT.exists():
            time.sleep(0.01)
        raise RuntimeError("no candidate at all")

    def predict_proba(self, frame):
        raise NotImplementedError

Tumour = tumour_task(
    name={name!r}, partitions=3, history=history, candidates=dict(TUMOUR.candidates, waits=Waits()),
    defer_budget=0.0,  # whether a gate pays is measured, and so may differ from run to run
)
"""
)


@pytest.fixture
def held_trainer(tmp_path: Path, broker: RunningBroker) -> Iterator[RunningTrainer]:
    running = RunningTrainer(tmp_path, broker, clickhouse_port=1, text=HELD_TASK_FILE)
    yield running
    if not running.process.has_ended():
        running.process.kill()
        running.process.wait()


def test_a_trainer_killed_in_any_step_goes_on_and_registers_once(
    held_trainer: RunningTrainer,
) -> None:
    trainer, home = held_trainer, held_trainer.settings.home
    hold, hold_fit, waits = (home / name for name in ("hold", "hold-fit", "waits"))
    hold.touch()
    hold_fit.touch()

    def killed_when(reached: Callable[[], bool]) -> None:
        trainer.start()
        trainer.wait(reached)
        trainer.process.kill()
        trainer.process.wait()
        assert not read_roles(trainer.settings, trainer.task).records

    def steps(event_id: str) -> list[str]:
        return [line["step"] for line in read_journal(home, event_id)]

    # While it reads the rows; while it fits, with two candidates done; anywhere after the errors.
    killed_when(lambda: any(p["phase"] == "snapshot" for p in trainer.lines("progress")))
    hold.unlink()
    killed_when(waits.exists)
    event_id = str(trainer.lines("training")[0]["event_id"])
    assert steps(event_id)[-1] == "search"
    hold_fit.unlink()
    trainer.start()
    trainer.wait(lambda: "errors" in steps(event_id))
    trainer.process.kill()
    trainer.process.wait()
    trainer.start()
    kept = folder_of(home, event_id) / KEPT
    trainer.wait(lambda: bool(read_roles(trainer.settings, trainer.task).records))
    trainer.wait(lambda: not kept.exists())  # the event is answered: nobody goes on with it

    stored = read_all(trainer.settings.bootstrap, f"{trainer.task.name}.models", 1)
    codec = codecs(trainer.task)["model"]
    (record,) = [codec.read(message.value()) for message in stored]
    assert (record["role"], record["event_id"]) == ("champion", event_id)
    candidates = [line for line in read_journal(home, event_id) if line["step"] == "candidates"]
    assert all(line["facts"]["kept_by_an_earlier_attempt"] == 2 for line in candidates)

    # The same version as where nothing was killed, file by file.
    task = load_task(trainer.settings.task)
    assert task.history is not None
    undisturbed = train(task, task.history(), event_id).contents
    info = save_bundle(home / "undisturbed", task, undisturbed, KEY.encode())
    assert record["version"] == info.id
    saved = bundle_info(trainer.settings.artifacts / record["bundle"]).manifest["files"]
    assert {name: saved[name] for name in info.manifest["files"]} == info.manifest["files"]


def test_records_that_are_no_retrain_events_are_passed_over(trainer: RunningTrainer) -> None:
    producer = KafkaProducer(bootstrap_servers=trainer.settings.bootstrap)
    producer.send(f"{trainer.task.name}.retrain", b"not avro", key=b"x").get(timeout=PATIENCE_S)
    producer.close()
    trainer.start()
    trainer.wait(lambda: read_roles(trainer.settings, trainer.task).champion is not None)
    told = f"{trainer.task.name}.retrain[0]@0 cannot be read and is left out"
    assert told in trainer.log.read_text()


def test_while_clickhouse_is_down_the_trainer_waits_and_ends_in_order(
    trainer: RunningTrainer,
) -> None:
    request_retrain(trainer.settings, trainer.task, "a test", "pytest")
    trainer.start()
    trainer.wait(lambda: len(trainer.lines("ClickHouse does not answer; trying again")) > 1)
    assert trainer.end() == 0


@pytest.fixture
def trainer_and_store(
    tmp_path: Path, broker: RunningBroker
) -> Iterator[tuple[RunningTrainer, World]]:
    store = RunningStore(tmp_path / "store")
    running = RunningTrainer(tmp_path, broker, store.port)
    world = World(broker.bootstrap, store, tmp_path, running.task.name, running.task.features)
    sink = world.start_sink()
    yield running, world
    for process in (running.process, sink):
        process.kill()
        process.wait()
    store.stop()


def outcome(row: Mapping[str, Any], truth: bool, revision: int = 0) -> dict[str, Any]:
    at = int(row["event_time"].timestamp() * 1000)
    texture, shape = row["texture"], row["shape"]
    return {
        "request_id": row["request_id"],
        "event_time": at,
        "predicted_at": at,
        "known_at": at + 1000,
        "joined_at": at + 2000,
        "revision": revision,
        "truth": truth,
        "previous_truth": None if revision == 0 else not truth,
        "source": "pytest",
        "status": "answered",
        "answer": True,
        "probability": 0.5,
        "probabilities": [],
        "gate_decision": "admit",
        "gate_score": 0.1,
        "version": "tumour-000000000000",
        "role": "champion",
        "dataset_id": "ds-000000000000",
        "entity": None,
        "features": {
            "radius": row["radius"],
            "texture": None if texture != texture else texture,
            "smooth": row["smooth"],
            "shape": shape if isinstance(shape, str) else None,
        },
    }


@pytest.mark.expect_error("no version for this event", why="one event has too few rows")
def test_a_retrain_event_learns_from_history_and_from_each_outcomes_last_truth(
    trainer_and_store: tuple[RunningTrainer, World],
) -> None:
    trainer, world = trainer_and_store
    table = tumours()
    rows = table.to_dict("records")
    outcomes = [outcome(row, row["benign"]) for row in rows[400:]]
    # Two wrong first truths that were corrected, one row that the history has too.
    outcomes = [outcome(rows[450], not rows[450]["benign"]), *outcomes]
    outcomes += [outcome(rows[450], rows[450]["benign"], revision=1)]
    outcomes += [outcome(rows[399], rows[399]["benign"])]
    codec = world.codec("outcomes")
    world.produce("outcomes", codec.write_many(outcomes))

    trainer.start()
    trainer.wait(lambda: read_roles(trainer.settings, trainer.task).champion is not None)
    first = read_roles(trainer.settings, trainer.task).champion
    assert first is not None
    event_id = request_retrain(trainer.settings, trainer.task, "a test", "pytest")
    trainer.wait(lambda: read_roles(trainer.settings, trainer.task).of_event(event_id) is not None)
    second = read_roles(trainer.settings, trainer.task).of_event(event_id)
    assert second is not None
    assert (second.role, second.rows, second.replaces) == ("champion", 569, first.version)
    assert second.dataset_id == prepare(trainer.task, table).id  # exactly the rows of the table

    # The same rows as the first version's: it is the same version, and the champion is kept.
    until = int(rows[400]["event_time"].timestamp() * 1000)
    again = request_retrain(trainer.settings, trainer.task, "again", "pytest", data_to=until)
    trainer.wait(lambda: read_roles(trainer.settings, trainer.task).of_event(again) is not None)
    third = read_roles(trainer.settings, trainer.task).of_event(again)
    assert third is not None
    assert third.version == first.version

    # The event's offsets name its rows: with more outcomes there, it is still trained on the same.
    late = [outcome(rows[0] | {"request_id": f"late-{i}"}, i % 2 == 0) for i in range(20)]
    world.produce("outcomes", codec.write_many(late))
    world.wait_for_count("outcomes", len(outcomes) + len(late))
    event = next(e for e in map(Event.of, trainer.retrains()) if e.event_id == event_id)
    assert event.outcomes_from == [0, 0, 0]
    assert sum(event.outcomes_to) >= len(outcomes)
    task, clickhouse = load_task(trainer.settings.task), trainer.settings.clickhouse()
    read = collect(task, event, clickhouse, event.outcomes_to, threading.Event())
    assert prepare(task, read).id == second.dataset_id

    _is_worse_on_a_segment(trainer, world)

    # Too few rows: an alert, and the trainer goes on.
    few = request_retrain(trainer.settings, trainer.task, "few", "pytest", data_from=until + 10**12)
    trainer.wait(lambda: bool(trainer.lines("no version for this event")))
    world.wait_for_count("alerts", 1)
    (kind, about) = (
        world.store.reader()
        .query(f"SELECT kind, about FROM {trainer.task.name}.alerts")
        .result_rows[0]
    )
    assert (kind, about) == ("refused", few)
    # Triggers learn that it is answered.
    trainer.wait(lambda: trainer.retrains()[-1]["status"] == "failed")
    assert trainer.retrains()[-1]["event_id"] == few
    # So do people, until a later event gives a version.
    home = {"WEIR_HOME": str(trainer.settings.home), "WEIR_BOOTSTRAP": trainer.settings.bootstrap}
    told = weir("models", "--task", trainer.settings.task, env=home)
    assert f"event {few} (few) gave no version: there are no rows" in told.stderr
    assert "what to do: " in told.stderr
    failed = json.loads(weir("status", "--task", trainer.settings.task, "--json", env=home).stdout)
    assert (failed["failed_training"]["event_id"], failed["failed_training"]["failures"]) == (
        few,
        1,
    )
    assert trainer.end() == 0


def _is_worse_on_a_segment(trainer: RunningTrainer, world: World) -> None:
    """A newcomer that is better overall is refused, with the segment named, and recorded."""
    rows = two_eras().to_dict("records")[300:]
    codec = world.codec("outcomes")
    world.produce("outcomes", codec.write_many([outcome(row, row["benign"]) for row in rows]))
    since = int(rows[0]["event_time"].timestamp() * 1000)
    champion = read_roles(trainer.settings, trainer.task).champion
    assert champion is not None
    event = request_retrain(trainer.settings, trainer.task, "worse", "pytest", data_from=since)
    trainer.wait(lambda: read_roles(trainer.settings, trainer.task).of_event(event) is not None)
    record = read_roles(trainer.settings, trainer.task).of_event(event)
    assert record is not None
    assert (record.role, record.rows) == ("rejected", 1200)
    assert record.metrics["log_loss"] < record.metrics["champion_log_loss"]  # better overall
    assert f"is better than {champion.version}: log loss " in record.reason
    assert "; clearly worse where shape is bent: log loss " in record.reason
    verdict = bundle_info(trainer.settings.artifacts / record.bundle).manifest["verdict"]
    assert (verdict["accepted"], verdict["failed"]) == (False, ["segments"])
    assert verdict["reason"] == record.reason
    assert [one["value"] for one in verdict["segments"] if one["worse"]] == ["bent"]
    assert read_roles(trainer.settings, trainer.task).champion == champion
