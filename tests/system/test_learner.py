"""The learner as a process, on a real broker: killed, it learns each outcome once in effect."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.registry import read_roles
from services.supervisor.child import Child
from streams.bundle import load_bundle
from streams.continual.model import Learned
from streams.roles import ModelRecord
from streams.settings import Settings
from tests.conftest import RunningBroker
from tests.small_tasks import tumours
from tests.system.test_trainer import outcome
from tests.system.worker import KEY, Bench, wait_for

pytestmark = pytest.mark.system

EVERY, HISTORY = 20, 300
TASK_FILE = f"""
from river.compose import SelectType
from river.linear_model import LogisticRegression
from river.optim import SGD
from river.preprocessing import OneHotEncoder, StandardScaler

from streams.task import Continual
from tests.small_tasks import tumour_task, tumours

Tumour = tumour_task(
    name="learned",
    partitions=2,
    history=lambda: tumours().head({HISTORY}),
    continual=Continual(
        learner=(SelectType(str) | OneHotEncoder()) + (SelectType(float) | StandardScaler())
        | LogisticRegression(SGD(0.05)),
        share=0.5,
        every={EVERY},
        seconds=0.0,
        judged=40,
    ),
)
"""


class RunningLearner:
    """``python -m services.learner`` beside a bench."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.log = bench.home / "learner.log"
        self.settings = Settings(
            home=bench.home,
            task=bench.reference,
            bootstrap=bench.bootstrap,
            signing_key=KEY.decode(),
        )
        self._env = {
            **os.environ,
            "WEIR_HOME": str(bench.home),
            "WEIR_TASK": bench.reference,
            "WEIR_BOOTSTRAP": bench.bootstrap,
            "WEIR_SIGNING_KEY": KEY.decode(),
        }

    def start(self) -> None:
        self.process = Child([sys.executable, "-m", "services.learner"], self._env, self.log)

    def wait(self, until: Callable[[], Any], what: str) -> Any:
        def well() -> Any:
            assert not self.process.has_ended(), self.log.read_text()
            return until()

        return wait_for(well, what)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def versions(self) -> list[ModelRecord]:
        """Its own, by what they have learned."""
        roles = read_roles(self.settings, self.bench.task)
        return sorted((r for r in roles.records.values() if r.continual), key=lambda r: r.rows)

    def lines(self, event: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]
        return [line for line in found if line["event"] == event]


@pytest.fixture
def learner(broker: RunningBroker, tmp_path: Path) -> Iterator[RunningLearner]:
    (tmp_path / "learned.py").write_text(TASK_FILE)
    bench = Bench(f"{tmp_path}/learned.py:Tumour", broker.bootstrap, tmp_path)
    running = RunningLearner(bench)
    yield running
    if not running.process.has_ended():
        running.kill()
    bench.close()


def test_a_killed_learner_goes_on_from_its_last_version(learner: RunningLearner) -> None:
    bench = learner.bench
    base = bench.train()
    rows = tumours().iloc[HISTORY:].to_dict("records")

    def send(some: list[Any]) -> None:
        for row in some:
            bench.send("outcomes", outcome(row, row["benign"]))
            # What is no lesson: a shadow's outcome of the same request, and a correction.
            bench.send("outcomes", outcome(row, row["benign"]) | {"role": "shadow"})
            bench.send("outcomes", outcome(row, not row["benign"], revision=1))
        bench.flush()

    send(rows[:100])
    learner.start()
    first = learner.wait(learner.versions, "a first version")[-1]
    learner.kill()
    send(rows[100:])
    learner.start()
    total = HISTORY + len(rows)
    last = learner.wait(
        lambda: [r for r in learner.versions() if r.rows > total - EVERY], "it has learned all"
    )[-1]
    (again,) = learner.lines("goes on")
    assert again["learned"] >= first.rows

    # Each outcome up to the offsets that a version names was learned from once, and no other.
    for record in learner.versions()[-2:]:
        version = load_bundle(bench.home / "artifacts" / record.bundle, bench.task, KEY)
        kept = version.manifest["continual"]
        seen = [m for m in bench.read("outcomes") if m.offset() < kept["offsets"][m.partition()]]
        taught = [bench.codec("outcomes").read(message.value()) for message in seen]
        lessons = [o for o in taught if o["role"] != "shadow" and o["revision"] == 0]
        assert kept["learned"] == record.rows == HISTORY + len(lessons)
        assert kept["scores"]["outcomes"] == len(lessons)
        assert kept["base"] == base
    assert isinstance(version.model, Learned)
    assert version.model.base is not None

    # It is better than either model by itself on these rows or it is not: the role says which.
    def settled() -> bool:
        roles = read_roles(learner.settings, bench.task)
        return [
            r.version for r in roles.records.values() if r.continual and r.role != "archived"
        ] == [last.version]

    learner.wait(settled, "the versions before the last are archived")
    accepted = version.manifest["verdict"]["accepted"]
    roles = read_roles(learner.settings, bench.task)
    assert roles.role(last.version) == ("champion" if accepted else "shadow")
    assert roles.batch_champion is not None
    assert roles.batch_champion.version == base
    assert roles.champion is not None
    assert roles.champion.version == (last.version if accepted else base)
    learner.process.terminate()
    assert learner.process.wait() == 0
