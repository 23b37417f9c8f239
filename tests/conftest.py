"""What tests of every part share: a real broker on free ports, ended with the session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from services.broker import Broker, free_port
from services.supervisor.child import Child

# What must pass before a change lands passes or fails the same each time; everywhere else
# Hypothesis goes on looking for new cases.
# How long an example takes is the machine's business: timed assertions do not belong in tests.
settings.register_profile("weir", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("weir"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "weir")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The fault tests first: they take minutes, and another process runs the rest meanwhile."""
    items.sort(key=lambda item: "tests/faults" not in item.path.as_posix())


class RunningBroker:
    """A broker and its process; `bootstrap` is what clients take."""

    def __init__(self, home: Path) -> None:
        self._broker = Broker(home, port=free_port())
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
        self._broker.wait_until_ready(alive=lambda: not self._process.has_ended())

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
