"""A worker that really crashes again and again: the command, its exit code and an alert say so."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from services.supervisor import ProcessSpec, Supervisor
from tests.conftest import PATIENCE_S, RunningBroker
from tests.services.command_line import weir
from tests.system.test_alerting import Alerting

pytestmark = pytest.mark.system

WORKER = """
import os, sys
if os.path.exists(sys.argv[1]):
    raise ValueError("year -146136543 is out of range")
import signal
signal.pause()
"""


@pytest.mark.expect_end("worker|year -146136543", why="that is what is tested")
@pytest.mark.expect_error("year -146136543|crash loop", why="likewise")
def test_a_crash_loop_is_told_where_people_look(tmp_path: Path, broker: RunningBroker) -> None:
    home, broken = tmp_path / "home", tmp_path / "broken"
    alerting = Alerting(home, broker, "")
    env = {"WEIR_HOME": str(home), "WEIR_BOOTSTRAP": broker.bootstrap}
    worker = ProcessSpec("worker", (sys.executable, "-c", WORKER, str(broken)))
    sink = ProcessSpec("sink", (sys.executable, "-c", "import signal; signal.pause()"))
    with Supervisor(home) as supervisor:
        supervisor.start([worker, sink])
        well = weir("status", "--json", env=env)
        assert well.returncode == 0, well.stderr
        assert [p["trouble"] for p in json.loads(well.stdout)["processes"]] == [None, None]

        broken.touch()
        kill(supervisor, "worker")
        deadline = time.monotonic() + PATIENCE_S
        while not supervisor.status()[0].looping(time.time()):
            assert time.monotonic() < deadline
            time.sleep(0.01)

        told = weir("status", "--json", env=env)
        assert told.returncode == 1
        found = {process["name"]: process for process in json.loads(told.stdout)["processes"]}
        assert (found["worker"]["state"], found["worker"]["well"]) == ("crash-loop", False)
        assert (found["sink"]["state"], found["sink"]["well"]) == ("ready", True)
        assert found["worker"]["trouble"]["error"] == "ValueError: year -146136543 is out of range"
        assert found["worker"]["trouble"]["log"] == str(home / "logs" / "worker.log")
        shown = weir("status", env=env)
        assert shown.returncode == 1
        assert "ValueError: year -146136543 is out of range" in shown.stdout
        assert str(home / "logs" / "worker.log") in shown.stdout

        alerting.start()
        alerting.wait(lambda: alerting.alerts() != [])
        (alert,) = alerting.alerts()
        assert (alert["kind"], alert["about"], alert["change"], alert["severity"]) == (
            *("crash-loop", "worker", "opened", "critical"),
        )
        assert "ValueError: year -146136543 is out of range" in alert["message"]
        alerting.process.terminate()
        assert alerting.process.wait() == 0


def kill(supervisor: Supervisor, name: str) -> None:
    pid = next(process.pid for process in supervisor.status() if process.name == name)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
