"""The demo as a newcomer has it: from nothing, in a new home, for a minute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.services.command_line import weir

MOST_ALERT_RECORDS = 10
LEAST_AUC = 0.66
"""By day, over whatever days it saw; the same trees offline have 0.69 to 0.73."""


@pytest.mark.system
@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_first_minute_in_a_new_home_goes_well(tmp_path: Path) -> None:
    """No process ends and none logs an error: tests/watching.py looks."""
    home = str(tmp_path / "home")
    done = weir("demo", "--for", "60s", "--json", "--home", home, env={}, timeout=850)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (report["lost"], report["duplicates"], report["unjoined"]) == (0, 0, 0)
    assert report["predictions"] == report["requests"] > 0
    assert report["sink_rows"] == report["topic_records"]
    assert report["topic_records"]["alerts"] <= MOST_ALERT_RECORDS
    days = [
        window
        for window in report["windows"]
        if window["window"] == "tumbling_1d" and window.get("roc_auc") is not None
    ]
    scored = sum(day["scored"] for day in days)
    assert sum(day["roc_auc"] * day["scored"] for day in days) / scored >= LEAST_AUC
