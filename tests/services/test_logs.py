"""Error records in logs: which lines are some, and when they were written."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from services.logs import LogError, compact, error_records, errors_in, last_error

NINE = datetime(2026, 11, 30, 9, tzinfo=UTC)
TEN = datetime(2026, 11, 30, 10, tzinfo=UTC)


def line(level: str, event: str, at: datetime = TEN, **more: str) -> str:
    return json.dumps({"event": event, "level": level, "timestamp": at.isoformat()} | more)


def found(*lines: str) -> list[LogError]:
    return list(error_records("worker.log", lines))


def test_levels_below_error_are_no_errors() -> None:
    assert found(line("info", "started"), line("warning", "process died"), "", "{", "{}") == []


def test_an_error_has_the_last_line_of_its_exception() -> None:
    trace = "Traceback (most recent call last):\n  File ...\nValueError: year -1 is out of range"
    (error,) = found("\x1b[?25h" + line("critical", "stage triggers failed", exception=trace))
    assert error == LogError(
        "worker.log", "stage triggers failed", "ValueError: year -1 is out of range", TEN
    )
    assert error.text == "stage triggers failed: ValueError: year -1 is out of range"


def test_an_error_has_the_reason_that_it_names() -> None:
    assert [e.text for e in found(line("error", "no task", error="no file"))] == [
        "no task: no file"
    ]
    assert [e.text for e in found(line("error", "failed", why="no port"))] == ["failed: no port"]


def test_a_traceback_outside_of_any_record_is_an_error_of_the_time_before_it() -> None:
    lines = [
        line("info", "process started", NINE),
        "Traceback (most recent call last):",
        '  File "a.py", line 1, in <module>',
        "KeyError: 'a'",
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        "Traceback (most recent call last):",
        '  File "a.py", line 2, in <module>',
        "ImportError: no module",
        "Traceback (most recent call last):",
        "OSError: another one",
    ]
    assert found(*lines) == [
        LogError("worker.log", "ImportError: no module", at=NINE),
        LogError("worker.log", "OSError: another one", at=NINE),
    ]


def test_a_traceback_that_a_kill_cut_short_is_an_error() -> None:
    (error,) = found("Traceback (most recent call last):", '  File "a.py", line 1')
    assert error.event.startswith("Traceback")


def test_the_brokers_errors_count_and_its_warnings_do_not() -> None:
    lines = [
        "2026-11-30T09:00:00.000Z WARN [Broker id=1] slow (kafka)",
        "2026-11-30T09:00:00.000Z ERROR [Broker id=1] no space left (kafka)",
    ]
    assert found(*lines) == [
        LogError("worker.log", "[Broker id=1] no space left (kafka)", "", NINE)
    ]


@given(st.lists(st.text(max_size=40), max_size=10), st.text(max_size=40))
def test_an_error_is_found_whatever_lines_stand_around_it(noise: list[str], event: str) -> None:
    lines = [text.replace("\n", " ") for text in noise if not text.startswith("Traceback")]
    lines.insert(len(lines) // 2, line("error", event))
    assert event in [error.event for error in found(*lines)]


def test_errors_of_a_home_since_a_time(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "worker.log.1").write_text(line("error", "first", NINE) + "\n")
    (logs / "worker.log").write_text(line("error", "second", TEN) + "\n")
    (logs / "broken.log").write_text("Traceback (most recent call last):\nOSError: no time\n")
    events = [error.event for error in errors_in(tmp_path)]
    assert events == ["OSError: no time", "first", "second"]
    os.utime(logs / "broken.log", (NINE.timestamp(), NINE.timestamp()))
    assert [error.event for error in errors_in(tmp_path, since=TEN)] == ["second"]
    os.utime(logs / "broken.log", (TEN.timestamp(), TEN.timestamp()))
    assert [e.event for e in errors_in(tmp_path, since=TEN)] == ["OSError: no time", "second"]


def test_a_home_without_logs_has_no_errors(tmp_path: Path) -> None:
    assert errors_in(tmp_path) == []


def test_the_last_error_of_one_life_of_a_process(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text(line("error", "of the life before") + "\n")
    begin = log.stat().st_size
    assert last_error(log, begin) is None
    with log.open("a") as file:
        file.write("\n".join([line("error", "one"), line("error", "two"), line("info", "three")]))
    assert last_error(log, begin) == LogError("worker.log", "two", at=TEN)
    assert last_error(tmp_path / "none.log") is None


def test_errors_are_counted_by_log_and_event() -> None:
    errors = [LogError("a.log", "x", "one"), LogError("a.log", "x", "two"), LogError("b.log", "x")]
    assert compact(errors) == [
        {"log": "a.log", "event": "x", "count": 2, "detail": "two"},
        {"log": "b.log", "event": "x", "count": 1, "detail": ""},
    ]
