"""``weir models`` on a real broker with real bundles, and MLflow, which follows each act."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from services.command import build, explain
from services.keys import with_keys
from services.projection.follower import Projection
from services.registry import Publisher, read_roles
from services.verify.registry import Comparison
from streams.bundle import save_bundle
from streams.roles import ModelRecord, Roles
from streams.settings import Settings
from streams.task import Task, load_task
from streams.training.train import train
from tests.conftest import PATIENCE_S, RunningBroker
from tests.services.command_line import Deployment, deploy
from tests.services.test_projection import record
from tests.system.worker import wait_for

pytestmark = pytest.mark.system


@dataclass
class World:
    """A deployment with three trained versions, the second of them champion, and MLflow."""

    deployment: Deployment
    settings: Settings
    task: Task
    versions: list[str]

    @property
    def roles(self) -> Roles:
        return read_roles(self.settings, self.task)

    def role(self, n: int) -> str:
        return self.roles.role(self.versions[n])

    def call(self, *arguments: str) -> tuple[int, str, str]:
        """``weir`` in this process: exit code, stdout, and what is said of an error."""
        env = {"WEIR_HOME": str(self.settings.home)}
        done = CliRunner().invoke(build(), ["models", *arguments], env=env)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            said = explain(done.exception)  # type: ignore[arg-type]
            assert said is not None, done.exception
            return said[1], done.stdout, said[0]
        return done.exit_code, done.stdout, done.stderr

    def weir(self, *arguments: str) -> list[Any]:
        """``weir models`` as a process of its own; what it printed as JSON."""
        (printed,) = self.deployment.weir_json("models", *arguments)
        assert isinstance(printed, list)
        return printed

    def mlflow_follows(self) -> None:
        """Wait until MLflow says what the topic says."""
        comparison = Comparison(self.settings, self.task.name)

        def same() -> bool:
            return not comparison.compare(self.roles, 0).differences

        wait_for(same, "MLflow says what the topic says")


def rows(n: int) -> pd.DataFrame:
    """Rows of the small task: any will do for a model that always says the same."""
    return pd.DataFrame(
        {
            "event_time": pd.date_range("2026-01-01", periods=n, freq="h", tz="UTC"),
            "price": np.arange(n, dtype=float),
            "visits": np.arange(n) % 5,
            "member": [None if i % 3 else True for i in range(n)],
            "colour": ["red", "green"][n % 2],
            "buys": [i % 4 == 0 for i in range(n)],
        }
    )


@pytest.fixture(scope="module")
def world(
    broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory, mlflow_home: Path
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("models")
    deployment = deploy(folder, broker.bootstrap)
    shutil.copytree(mlflow_home / "mlflow", deployment.home / "mlflow")
    reference = deployment.contract.reference
    settings = with_keys(Settings(home=deployment.home, bootstrap=broker.bootstrap, task=reference))
    task = load_task(reference)
    publisher = Publisher(settings, task)
    versions = [publish(settings, task, publisher, n) for n in (200, 210, 220)]
    publisher.close()
    stop = threading.Event()
    projection = Projection(task, settings, stop)
    projection.start()
    yield World(deployment, settings, task, versions)
    stop.set()
    projection.join(PATIENCE_S)


def publish(settings: Settings, task: Task, publisher: Publisher, n: int) -> str:
    """Train on ``n`` rows, save, record: the first two as champions, the third as rejected."""
    contents = train(task, rows(n), f"e-{n}").contents
    key = settings.signing_key.get_secret_value().encode()
    info = save_bundle(settings.artifacts, task, contents, key)
    told: ModelRecord = record(
        info.id,
        "rejected" if n == 220 else "champion",
        bundle=info.folder.name,
        sha256=info.sha256,
        event_id=f"e-{n}",
        rows=n,
        changed_at=int(time.time() * 1000),
        reason="no better" if n == 220 else "first",
        metrics={k: float(v) for k, v in contents.metrics.items()},
    )
    publisher.publish("models", info.id, told.record())
    return info.id


def test_roles_given_by_hand_are_recorded_obeyed_and_told_to_mlflow(world: World) -> None:
    first, second, third = world.versions
    assert world.role(1) == "champion"

    # What makes no sense, or cannot serve, changes nothing.
    code, _, said = world.call("promote", third, "--why", "a test")
    assert (code, "was rejected: no better" in said) == (2, True)
    manifest = world.settings.artifacts / third / "manifest.json"
    kept = manifest.read_bytes()
    manifest.write_bytes(kept.replace(b'"recipe"', b'"recipy"'))
    code, _, said = world.call("promote", third, "--why", "a test", "--force")
    assert (code, "cannot serve" in said, "Nothing was changed" in said) == (1, True, True)
    manifest.write_bytes(kept)
    assert [r.changed_by for r in world.roles.records.values()] == ["trainer"] * 3

    # A rollback, as typed in a terminal.
    back = world.weir("rollback", "--why", "too many complaints", "--by", "ada@desk")
    assert [(r["version"], r["role"]) for r in back] == [
        (first, "champion"),
        (second, "archived"),
    ]
    champion = world.roles.champion
    assert champion is not None
    assert (champion.version, champion.changed_by, champion.replaces) == (first, "ada@desk", second)
    assert champion.reason == f"rolled back from {second}: too many complaints"
    world.mlflow_follows()

    # A rejected version, forced, by the beginning of its hash; and as an arm.
    short = third.rpartition("-")[2][:8]
    code, printed, said = world.call(
        "promote", short, "--as", "canary", "--share", "0.05", "--why", "to see", "--force"
    )
    assert (code, printed) == (0, f"{third} canary\n"), said
    assert world.roles.records[third].share == 0.05
    (moved,) = world.weir("promote", "canary", "--why", "it is better")
    assert (moved["version"], moved["role"], moved["replaces"]) == (third, "champion", first)
    assert "@" in moved["changed_by"]
    assert world.call("archive", first, "--why", "out of date")[0] == 0
    assert [world.role(n) for n in range(3)] == ["archived", "archived", "champion"]
    code, _, said = world.call("archive", third, "--why", "a test")
    assert (code, "is the only champion" in said) == (2, True)
    world.mlflow_follows()


def test_what_is_known_of_versions_is_listed_shown_and_compared(world: World) -> None:
    first, second, _ = world.versions
    code, printed, _ = world.call("list", "--json")
    listed = {each["version"]: each for each in json.loads(printed)}
    assert (code, listed.keys()) == (0, set(world.versions))
    assert listed[second]["gate"]
    code, printed, _ = world.call("list")
    assert (code, second in printed) == (0, True)

    code, printed, _ = world.call("show", second, "--json")
    shown = json.loads(printed)
    assert (code, shown["rows"], shown["bundle_state"]) == (0, 210, "as recorded")
    assert shown["acts"][0]["reason"] == "first"
    assert shown["manifest"]["candidate"] == "dummy"
    code, printed, _ = world.call("show", second)
    assert code == 0
    for said in ("Verdict", "Gate", "Libraries", "Roles given", "rows: "):
        assert said.lower() in printed.lower()

    code, printed, _ = world.call("diff", first, second, "--json")
    told = {(each["section"], each["what"]): each for each in json.loads(printed)}
    assert (code, told["data", "rows"]["second"]) == (0, 210)
    code, printed, _ = world.call("diff", first, second)
    assert (code, "rows: 200 → 210 (+10, +5.0%)" in printed) == (0, True)
