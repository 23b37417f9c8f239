"""The short form of the fault harness: every kind of fault once, and every promise kept.

``make faults`` is the full form. A run that fails prints its seed; the same seed repeats the plan
and the load, though not how the operating system takes turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.faults.harness import ZERO
from services.faults.plan import Kind
from tests.watching import BROKER_AWAY

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.expect_error(BROKER_AWAY, why="the broker is killed"),
    pytest.mark.expect_error(
        r"worker\.log: (a commit failed|the consumer failed|FATAL .* consumer fenced"
        r"|\[\^-App\]: Crashed|\[\^Worker\]: We experienced a crash)",
        why="a worker whose partitions are another's, or whose broker is gone, ends",
    ),
    pytest.mark.expect_end("killed by SIGKILL", why="that is what the harness does"),
    pytest.mark.expect_end(
        r"worker ended, exit code \d+: (a commit failed|the consumer failed|\[\^Worker\])",
        why="it is fenced when it wakes up, or another takes its place",
    ),
]

SEED = int(os.environ.get("WEIR_FAULTS_SEED", "1"))


def test_nothing_is_lost_doubled_or_wrong_whatever_dies(tmp_path: Path) -> None:
    kinds = len(Kind)
    size = ["--kills", str(kinds), "--requests", str(1_000 * kinds), "--seed", str(SEED)]
    how = ["--seconds", "2", "--json", "--home", str(tmp_path / "home")]
    run = subprocess.run(
        [sys.executable, "-m", "services.command", "faults", *size, *how],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "WEIR_MLFLOW_URI": "none"},  # making MLflow's store takes seconds
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout, run.stderr
    report = json.loads(run.stdout.splitlines()[-1])
    broken = {name: report[name] for name in ZERO if report[name]}
    assert (broken, report["unrecovered"], report["wrong"]) == ({}, [], []), run.stderr
    assert run.returncode == 0
    assert min(report["windows"], report["features"]["values"]) > 0
    assert report["faults"].keys() | report["skipped"].keys() == {str(kind) for kind in Kind}
