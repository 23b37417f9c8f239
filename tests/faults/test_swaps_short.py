"""The short form of swaps under load: good versions take turns, damaged ones are refused.

``make swaps`` is the full form; how long requests wait is measured there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from services.faults.swaps import SWAPPED

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.expect_error(
        r"worker\.log: (version \S+ is refused|no drift is looked for).*(artifacts/fault_probe-"
        r"|manifest.json: it is missing)",
        why="the harness damages bundles, and takes away those of versions that were",
    ),
]

SWAPS = 6
"""As many are refused, so each way to spoil a bundle is there; and with the one while the artifacts
are away, more than the versions that take turns."""


def test_swaps_lose_and_double_nothing_and_damaged_bundles_never_answer(tmp_path: Path) -> None:
    how = ["--swaps", str(SWAPS), "--requests", "6000", "--json", "--home", str(tmp_path / "home")]
    run = subprocess.run(
        [sys.executable, "-m", "services.command", "faults", *how],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout, run.stderr
    report = json.loads(run.stdout.splitlines()[-1])
    broken = {name: report[name] for name in SWAPPED if report[name]}
    assert (broken, report["unrecovered"], report["wrong"]) == ({}, [], []), run.stderr
    assert run.returncode == 0
    assert report["swaps"]["good"] == SWAPS
    assert report["versions_served"] > 1
