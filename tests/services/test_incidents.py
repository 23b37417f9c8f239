"""What a run reports of crashes and errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.incidents import MOST_LINES, incidents
from services.supervisor.ends import UnplannedEnd, record_end

SINCE = datetime(2026, 11, 30, 9, tzinfo=UTC)
BEFORE, AFTER = "2026-11-30T08:59:59+00:00", "2026-11-30T09:00:01+00:00"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "logs").mkdir()
    return tmp_path


def ended(home: Path, name: str, pid: int, at: str = AFTER) -> None:
    record_end(home, UnplannedEnd(name, pid, at, "exit code 1", "no rows", f"{name}.log"))


def logged(home: Path, log: str, *events: str, at: str = AFTER) -> None:
    with (home / "logs" / log).open("a") as file:
        for event in events:
            file.write(json.dumps({"event": event, "level": "error", "timestamp": at}) + "\n")


def test_a_run_in_which_nothing_went_wrong_has_none(home: Path) -> None:
    ended(home, "worker", 1, BEFORE)
    logged(home, "worker.log", "of the run before", at=BEFORE)
    found = incidents(home, SINCE)
    assert not found
    assert found.facts() == {"restarts": {}, "errors": []}
    assert found.lines() == []


def test_ends_and_errors_are_counted_and_told(home: Path) -> None:
    ended(home, "worker", 1)
    ended(home, "worker", 2)
    ended(home, "sink", 3)
    logged(home, "worker.log", "stage failed", "stage failed")
    found = incidents(home, SINCE)
    assert found
    assert found.facts()["restarts"] == {"worker": 2, "sink": 1}
    (error,) = found.facts()["errors"]
    assert (error["log"], error["event"], error["count"]) == ("worker.log", "stage failed", 2)
    assert found.lines() == [
        "worker ended unplanned 2 times, last with exit code 1: no rows",
        "sink ended unplanned once, last with exit code 1: no rows",
        f"error in {home}/logs/worker.log: stage failed (2 times)",
    ]


def test_what_was_brought_about_on_purpose_is_left_out(home: Path) -> None:
    ended(home, "worker", 1)
    ended(home, "worker", 2)
    assert incidents(home, SINCE, caused={1}).facts()["restarts"] == {"worker": 1}
    assert not incidents(home, SINCE, caused={1, 2})


def test_of_many_only_some_are_told(home: Path) -> None:
    logged(home, "worker.log", *(f"event {n}" for n in range(30)))
    lines = incidents(home, SINCE).lines()
    assert len(lines) == MOST_LINES + 1
    assert lines[-1].startswith("and 20 more")
