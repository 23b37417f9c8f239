"""The words for a process that ended unplanned."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from services.supervisor import ProcessState, UnplannedEnd
from services.supervisor.wording import trouble

END = UnplannedEnd("worker", 7, "2026-11-30T09:00:00+00:00", "exit code 1", "it broke", "w.log")


def state(**changes: Any) -> ProcessState:
    return ProcessState("worker", None, None, "backing-off", "2026-11-30T09:00:00Z", **changes)


def test_a_process_that_never_ended_has_no_trouble() -> None:
    assert trouble(state(), 0) is None


def test_an_end_is_told_with_its_error_and_log() -> None:
    found = trouble(state(restarts=1, last_end=asdict(END)), 0)
    assert found is not None
    assert found["text"] == "worker ended unplanned once, last with exit code 1: it broke"
    assert (found["crash_loop"], found["log"]) == (False, "w.log")


def test_a_crash_loop_is_told_as_one() -> None:
    silent = asdict(END) | {"how": "killed by SIGKILL", "error": ""}
    found = trouble(state(restarts=3, last_end=silent, looping_since=1.0), 2)
    assert found is not None
    assert found["crash_loop"]
    assert found["text"] == (
        "crash loop: worker ended unplanned 3 times, last with killed by SIGKILL: "
        "its log names no error"
    )
