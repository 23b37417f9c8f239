"""The demo through the command: it counts itself, stops at Ctrl-C, and goes on where it was."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from services.command.demo import seconds
from services.command.output import CommandError
from services.supervisor import read_run_state
from tests.services.command_line import command, inherited_environment, weir

START_S = 500
"""Six processes and a first training, on a machine that others use too."""

QUICK = {"WEIR_MLFLOW_URI": "none"}
"""Making MLflow's store takes seconds; test_command_system.py has it."""

UNDER_WAY = re.compile(r"([1-9][\d,]*) requests at ")


def check(report: dict[str, Any]) -> None:
    """What must hold of every report, at whatever moment the replay ended."""
    assert (report["lost"], report["duplicates"], report["unjoined"]) == (0, 0, 0)
    assert report["predictions"] == report["requests"] > 0
    assert report["outcomes"] == report["truths"] > 0
    assert report["sink_rows"] == report["topic_records"]
    assert report["latency_ms"]["p50"] <= report["latency_ms"]["p99"]
    assert (report["restarts"], report["errors"]) == ({}, [])
    assert "champion" in {version["role"] for version in report["versions"]}
    assert report["event_time"]["from"].startswith("2013-03-01")
    assert {window["window"] for window in report["windows"]} == {"tumbling_1d", "sliding_7d_1d"}


@pytest.mark.system
@pytest.mark.timeout(3 * START_S)
def test_the_demo_loses_nothing_through_ctrl_c_and_a_new_start(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with subprocess.Popen(
        command("demo", "--no-page", "--home", str(home)),
        env=inherited_environment() | QUICK,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said, published = [], 0
        for line in process.stderr:
            said.append(line)
            found = UNDER_WAY.search(line)
            if found and not published:
                published = int(found[1].replace(",", ""))
                process.send_signal(signal.SIGINT)
        assert process.wait() == 0, "".join(said)
    assert any("first model" in line for line in said)
    assert said[-1] == "stopped; `weir demo` goes on from here\n"
    assert not read_run_state(home).running

    arguments = ("demo", "--json", "--no-page", "--for", "5s")
    done = weir(*arguments, env={"WEIR_HOME": str(home)} | QUICK, timeout=START_S)
    assert done.returncode == 0, done.stderr
    assert "first model" not in done.stderr  # it was there
    assert not read_run_state(home).running
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    check(report)
    assert report["requests"] > published


@pytest.mark.parametrize(
    ("text", "expected"), [("60s", 60), ("1.5min", 90), ("1h", 3600), ("7", 7), (" 2 MIN ", 120)]
)
def test_durations_are_read_with_their_unit(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "0s", "s", "-1s", "1 day", "60x"])
def test_what_is_no_duration_is_told(text: str) -> None:
    with pytest.raises(CommandError, match="60s, 5min or 1h"):
        seconds(text)
