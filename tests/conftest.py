"""What tests of every part share: a real broker on free ports, ended with the session."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from services.broker import Broker
from services.ports import free_port
from services.supervisor.child import Child
from tests import quick_brokers

pytest_plugins = ["tests.watching"]

# Before anything loads them. Threads of several test processes wait for each other, busily: of
# HistGradientBoosting they make five times the work.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# What must pass before a change lands passes or fails the same each time; everywhere else
# Hypothesis goes on looking for new cases.
# How long an example takes is the machine's business: timed assertions do not belong in tests.
# Fifty examples a run: in most of these tests an example costs milliseconds, and who looks longer
# asks for more (--hypothesis-profile=thorough).
settings.register_profile(
    "weir", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50
)
settings.register_profile("ci", settings.get_profile("weir"), derandomize=True, database=None)
settings.register_profile("thorough", settings.get_profile("weir"), max_examples=1000)
settings.load_profile("ci" if os.environ.get("CI") else "weir")

PATIENCE_S = 300.0
"""Longest wait for what must come: a limit for what hangs, not for what is slow. A machine that
others use too may take a minute for what takes a second here."""

QUICK_PYTHON = Path(__file__).parent / "quick_python"
"""Its ``sitecustomize`` is run by each Python process that a test starts."""


LONGEST_FIRST = (
    "tests/faults/test_faults_short.py",
    "tests/system/test_sink.py",
    "tests/services/test_command_system.py",
    "tests/services/test_command_demo.py",
    "tests/faults/test_worker_faults.py",
    "tests/system/test_trainer.py",
    "tests/system/test_page.py",
    "tests/faults/test_swaps_short.py",
    "tests/services/test_replay.py",
    "tests/system/test_labelling.py",
    "tests/services/test_command_records.py",
    "tests/system/test_drift.py",
    "tests/system/test_triggers.py",
    "tests/services/test_evaluate_loop.py",
    "tests/system/test_tasks.py",
    "tests/services/test_console.py",
    "tests/services/test_verify.py",
    "tests/streams/training/test_train.py",
    "tests/system/test_bad_input.py",
    "tests/streams/test_metrics.py",
    "tests/services/test_store_full_disk.py",
    "tests/services/test_models_system.py",
    "tests/system/test_windowed.py",
    "tests/services/test_store_access.py",
    "tests/services/test_command.py",
    "tests/streams/training/test_verdict.py",
    "tests/services/test_store_faults.py",
    "tests/services/export/test_export_command.py",
    "tests/streams/training/test_weights.py",
    "tests/services/labelling/test_candidates.py",
    "tests/system/test_volume.py",
    "tests/services/test_broker.py",
    "tests/schemas/test_codec.py",
)
"""Files that take more than some ten seconds, the longest first: no process begins a long
one when the others have nothing left to do."""


def pytest_configure(config: pytest.Config) -> None:
    """Have each JVM and each Python of this session come up quickly."""
    if hasattr(config, "workerinput"):
        return  # a process of xdist has the environment of the one that started it
    paths = (str(QUICK_PYTHON), os.environ.get("PYTHONPATH"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    folder = quick_brokers.prepare()
    if folder is not None:
        own = os.environ.get("JAVA_TOOL_OPTIONS", "")
        os.environ["JAVA_TOOL_OPTIONS"] = f"{own} {quick_brokers.java_options(folder)}".strip()


def pytest_collection_finish() -> None:
    """What the imports made stays: the garbage collector need not look through it."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files of `LONGEST_FIRST`, then the others as they come."""
    root = Path(__file__).parents[1]
    place = {root / name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


class RunningBroker:
    """A broker and its process; `bootstrap` is what clients take."""

    def __init__(self, home: Path) -> None:
        self._broker = Broker(home, port=free_port())
        quick_brokers.copy_formatted(quick_brokers.prepare(), self._broker)
        self._broker.prepare()
        self.start()

    @property
    def bootstrap(self) -> str:
        return self._broker.bootstrap

    @property
    def log(self) -> Path:
        """What the broker printed."""
        return self._broker.home / "broker.log"

    def start(self) -> None:
        """Start it and wait until it answers; on the same port and data as before."""
        self._process = Child(self._broker.command(), {}, self.log)
        self._broker.wait_until_ready(PATIENCE_S, alive=lambda: not self._process.has_ended())

    def kill(self) -> None:
        """Kill it as a power cut would (kill -9)."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stop it in order."""
        self._process.terminate()
        self._process.wait()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """One real broker for the whole session; tests keep apart by their topics' names.

    A test that kills it makes one of its own: `own_broker`.
    """
    running = RunningBroker(tmp_path_factory.mktemp("broker"))
    yield running
    running.stop()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[RunningBroker]:
    """A broker for one test, which may kill and start it."""
    running = RunningBroker(tmp_path / "broker")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def mlflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose MLflow store is made: MLflow takes seconds for that, so once for all processes.

    Each process has a copy. Tests keep apart by the names of their tasks, or copy its folder
    ``mlflow``.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = shared / "mlflow-made"
    with (shared / "mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            from services.projection.places import open_store
            from streams.settings import Settings

            making = tmp_path_factory.mktemp("mlflow-making")
            open_store(Settings(home=making), "nothing").see()
            shutil.copytree(making, made)
    home = tmp_path_factory.mktemp("mlflow")
    shutil.copytree(made, home, dirs_exist_ok=True)
    return home
