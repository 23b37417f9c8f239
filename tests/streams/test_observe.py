"""What a process shows of itself, seen from outside: its stderr, its HTTP port, its exit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from streams.observe import Health, serve_observability
from tests.conftest import PATIENCE_S


def run(code: str) -> list[dict[str, Any]]:
    """Run `code` in a process of its own; its stderr, each line of which must be JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_structlog_and_stdlib_lines_take_one_form() -> None:
    ours, theirs = run(
        """
import logging, structlog
from streams.observe import configure_logging
configure_logging("sink")
structlog.get_logger("weir").info("batch written", rows=3, topic="t.predictions")
logging.getLogger("library").warning("%d retries", 2)
"""
    )
    assert {k: ours[k] for k in ("event", "rows", "topic", "level", "process", "logger")} == {
        "event": "batch written",
        "rows": 3,
        "topic": "t.predictions",
        "level": "info",
        "process": "sink",
        "logger": "weir",
    }
    assert theirs["event"] == "2 retries"
    assert theirs["process"] == "sink"
    assert ours["timestamp"].endswith("Z")
    assert theirs["timestamp"] >= ours["timestamp"]


@pytest.mark.expect_error("ours", why="another logger's is one")
def test_a_connection_that_kafka_python_makes_again_is_no_error() -> None:
    theirs, ours = run(
        """
import logging
from streams.observe import configure_logging
configure_logging("trainer")
logging.getLogger("kafka.net.connection").error("Connection lost: %s", "EOF")
logging.getLogger("kafkaesque").error("ours")
"""
    )
    assert (theirs["level"], theirs["event"]) == ("warning", "Connection lost: EOF")
    assert ours["level"] == "error"


def test_lines_below_the_level_are_dropped() -> None:
    lines = run(
        """
import logging, structlog
from streams.observe import configure_logging
configure_logging("sink", "warning")
structlog.get_logger().info("no")
logging.getLogger("library").info("no")
structlog.get_logger().warning("yes")
"""
    )
    assert [line["event"] for line in lines] == ["yes"]


@pytest.mark.expect_error("ZeroDivisionError", why="it is logged as one")
def test_a_handled_exception_is_rendered_into_its_line() -> None:
    (line,) = run(
        """
import structlog
from streams.observe import configure_logging
configure_logging("sink")
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger().exception("cannot divide")
"""
    )
    assert "ZeroDivisionError: division by zero" in line["exception"]


@pytest.mark.expect_error("uncaught exception", why="that is what is tested")
def test_uncaught_exceptions_of_any_thread_are_log_lines() -> None:
    lines = run(
        """
import threading
from streams.observe import configure_logging
configure_logging("sink")
def fail():
    raise ValueError("in a thread")
thread = threading.Thread(target=fail, name="poller")
thread.start()
thread.join()
raise RuntimeError("in main")
"""
    )
    assert [line["level"] for line in lines] == ["critical", "critical"]
    assert "ValueError: in a thread" in lines[0]["exception"]
    assert "poller" in lines[0]["event"]
    assert "RuntimeError: in main" in lines[1]["exception"]


def test_metrics_are_served_for_prometheus() -> None:
    registry = CollectorRegistry()
    Counter("records", "Records seen.", registry=registry).inc(5)
    port = serve_observability(0, lambda: Health(ok=True), registry)
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200
    assert "records_total 5.0" in answer.text


def test_health_tells_ok_from_not_ok_by_its_status() -> None:
    states = iter([Health(ok=True, detail={"lag": 3}), Health(ok=False, detail={"lag": 3000})])
    port = serve_observability(0, lambda: next(states))
    answers = [httpx.get(f"http://127.0.0.1:{port}/health") for _ in range(2)]
    assert [a.status_code for a in answers] == [200, 503]
    assert [a.json() for a in answers] == [{"ok": True, "lag": 3}, {"ok": False, "lag": 3000}]


def test_a_health_check_that_raises_is_not_ok_and_names_the_error() -> None:
    def health() -> Health:
        raise ConnectionError("no broker")

    port = serve_observability(0, health)
    answer = httpx.get(f"http://127.0.0.1:{port}/health")
    assert answer.status_code == 503
    assert answer.json()["error"] == "ConnectionError: no broker"


def test_a_slow_health_check_does_not_hold_up_metrics() -> None:
    asked, release = threading.Event(), threading.Event()

    def health() -> Health:
        asked.set()
        release.wait()
        return Health(ok=True)

    port = serve_observability(0, health)
    waiting = threading.Thread(target=httpx.get, args=[f"http://127.0.0.1:{port}/health"])
    waiting.start()
    asked.wait()
    assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 200
    release.set()
    waiting.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_in_order(number: signal.Signals) -> None:
    code = """
import threading
from streams.observe import stop_on_signals
stop = threading.Event()
stop_on_signals(stop)
print("waiting", flush=True)
stop.wait()
print("stopped in order", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    assert process.stdout.read() == "stopped in order\n"
    assert process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_main_thread_begins_to_wait_ends_the_process(
    number: signal.Signals,
) -> None:
    code = f"""
import signal, threading
from streams.observe import stop_on_signals
stop = threading.Event()
stop_on_signals(stop)
with stop._cond:  # as for a moment in stop.wait
    signal.raise_signal({int(number)})
stop.wait()
print("stopped in order")
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "stopped in order\n")
