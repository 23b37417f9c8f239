"""What tests of every part share: a real broker on free ports, ended with the session."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.broker import Broker, free_port


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
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._broker.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
                start_new_session=True,
            )
        self._broker.wait_until_ready(alive=lambda: self._process.poll() is None)

    def kill(self) -> None:
        """Kill it as a power cut would (kill -9)."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stop it in order."""
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()


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


_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    """In the child: no broker outlives a pytest that was killed."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        os._exit(1)
