"""Looks at the processes of a home every few seconds and writes what they did."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import structlog

from services.groups import GroupOffsets
from services.supervisor import read_run_state
from services.watching.figures import Figures, Look, between, parse

log = structlog.get_logger("watching")

TABLE = "system_metrics"
EVERY_S = 10.0
PAGE_S = 2.0
"""Longest wait for a process's page of metrics: one that is stuck says nothing."""
BROKER_S = 5.0

COLUMNS = (
    *("at", "seconds", "process", "pid", "restarts", "cpu", "memory_mb", "records_per_s"),
    *("p50_ms", "p99_ms", "errors", "dead_letters", "lag"),
)
Row = tuple[Any, ...]


class Collector:
    """Keeps the last look at each process; `step` takes the next one.

    lag: of a process's consumer group, asked once a window; None where nobody knows.
    """

    def __init__(self, home: Path, lag: Callable[[str], int | None]) -> None:
        self._home, self._lag = home, lag
        self._before: dict[str, Look] = {}

    def step(self, now: datetime) -> list[Row]:
        """A row for each process that was looked at before."""
        state = read_run_state(self._home)
        processes = dict(state.processes)
        if state.supervisor is not None:
            processes["supervisor"] = state.supervisor
        rows, looks = [], {}
        for name, process in processes.items():
            if process.pid is None or not process.alive:
                continue
            look = look_at(name, process.pid, _page(process.addresses))
            if look is None:
                continue
            looks[name] = look
            did = between(self._before[name], look) if name in self._before else None
            if did is not None:
                rows.append(_row(now, process.pid, process.restarts, did, self._lag(name)))
        self._before = looks
        return rows


def look_at(name: str, pid: int, page: str | None) -> Look | None:
    """A process now; None where it has ended. page: the address of its metrics."""
    try:
        process = psutil.Process(pid)
        times, memory = process.cpu_times(), process.memory_info()
    except psutil.Error:
        return None
    samples = parse(_read(page)) if page else {}
    cpu_s = times.user + times.system
    return Look(name, pid, time.monotonic(), cpu_s, memory.rss, samples)


def _page(addresses: Mapping[str, str]) -> str | None:
    if "health" in addresses:
        return addresses["health"].removesuffix("/health") + "/metrics"
    return addresses["clickhouse"] + "/metrics" if "clickhouse" in addresses else None


def _read(page: str) -> str:
    # No proxy: the environment may name one, and it cannot reach this machine's 127.0.0.1.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(page, timeout=PAGE_S) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""


def _row(now: datetime, pid: int, restarts: int, did: Figures, lag: int | None) -> Row:
    of = {
        "at": now,
        "pid": pid,
        "restarts": restarts,
        "lag": lag,
        **{name: getattr(did, name) for name in COLUMNS if hasattr(did, name)},
    }
    return tuple(of[name] for name in COLUMNS)


class Lags:
    """How many records a task's consumer groups have yet to read, markers of transactions
    included, which are few."""

    def __init__(self, kafka: Mapping[str, Any], task: str, groups: Mapping[str, str]) -> None:
        self._task = task
        self._groups = {process: GroupOffsets(kafka, group) for process, group in groups.items()}

    def __call__(self, process: str) -> int | None:
        """The lag of a process; None where it has no group or the broker does not answer."""
        group = self._groups.get(process)
        if group is None:
            return None
        try:
            return group.behind(self._task, BROKER_S)
        except Exception as error:  # of many kinds, and no reason to end: a figure is missing
            log.debug("lag not known", process=process, error=str(error)[:200])
            return None


def collect(
    collector: Collector, write: Callable[[Iterable[Row]], None], wait: Callable[[float], bool]
) -> None:
    """Take looks until told to stop. wait: sleeps for so many seconds, True when to stop."""
    failing = False
    while not wait(EVERY_S - time.time() % EVERY_S):
        try:
            rows = collector.step(datetime.now(UTC))
            if rows:
                write(rows)
            failing = False
        except Exception as error:  # ClickHouse is away: the records' promises are not concerned
            if not failing:
                log.warning("system metrics not written", error=str(error)[:300])
            failing = True
