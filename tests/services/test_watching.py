"""System metrics: what two looks tell, and a look at a real process."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Counter

from services.supervisor.state import ProcessState, lock_home, start_ticks, write_state
from services.watching.collector import COLUMNS, Collector, Row, collect, look_at
from services.watching.figures import Look, between, parse, quantile
from streams import observe

WORKED = Counter("weir_test_watching", "For this test only")
PAGE = """
# TYPE weir_predictions counter
weir_predictions_total{{status="answered"}} {answered}
weir_predictions_total{{status="deferred"}} 5.0
# TYPE weir_dead_letters counter
weir_dead_letters_total{{stage="feedback",reason="late"}} {dead}
# TYPE weir_stage_seconds histogram
weir_stage_seconds_bucket{{stage="serving",le="0.01"}} {fast}
weir_stage_seconds_bucket{{stage="serving",le="0.1"}} {all}
weir_stage_seconds_bucket{{stage="serving",le="+Inf"}} {all}
weir_stage_seconds_bucket{{stage="tally",le="0.01"}} 0.0
weir_stage_seconds_bucket{{stage="tally",le="+Inf"}} 900.0
"""


def look(at_s: float, cpu_s: float, pid: int = 7, **page: float) -> Look:
    figures = {"answered": 0.0, "dead": 0.0, "fast": 0.0, "all": 0.0, **page}
    return Look("worker", pid, at_s, cpu_s, 300_000_000, parse(PAGE.format(**figures)))


def test_two_looks_tell_rates_quantiles_and_costs() -> None:
    before = look(100, 50, answered=1000, dead=2, fast=10, all=10)
    after = look(110, 57, answered=3000, dead=5, fast=60, all=110)
    did = between(before, after)
    assert did is not None
    assert (did.records_per_s, did.dead_letters, did.errors) == (200.0, 3, 0)
    assert (did.cpu, did.memory_mb, did.seconds) == (pytest.approx(0.7), 300.0, 10)
    assert did.p50_ms == pytest.approx(10.0)
    assert did.p99_ms == pytest.approx(10 + 90 * 0.98)


def test_another_process_of_the_name_tells_nothing_yet() -> None:
    assert between(look(1, 1), look(2, 2, pid=8)) is None
    assert between(look(2, 1), look(2, 2)) is None


def test_a_process_that_says_nothing_still_costs() -> None:
    did = between(Look("broker", 1, 0, 0, 10**9), Look("broker", 1, 10, 5, 10**9))
    assert did is not None
    assert (did.records_per_s, did.p50_ms, did.cpu, did.memory_mb) == (None, None, 0.5, 1000.0)


@given(
    st.lists(st.floats(0.001, 1.9), min_size=1, max_size=50),
    st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]),
)
def test_a_quantile_is_in_the_bucket_of_the_exact_one(values: list[float], share: float) -> None:
    bounds = [0.01, 0.1, 0.5, 1.0, 2.0, math.inf]
    counts = {bound: float(sum(value <= bound for value in values)) for bound in bounds}
    found = quantile(counts, share)
    exact = float(np.quantile(values, share, method="inverted_cdf"))
    at = next(i for i, bound in enumerate(bounds) if exact <= bound)
    low = bounds[at - 1] if at else 0.0
    assert found is not None
    assert low - 1e-12 <= found <= bounds[at] + 1e-12 or share == 0.0


def test_beyond_the_last_bound_the_quantile_is_that_bound() -> None:
    assert quantile({0.1: 0.0, math.inf: 5.0}, 0.5) == 0.1
    assert quantile({0.1: 0.0, math.inf: 0.0}, 0.5) is None
    assert quantile({}, 0.5) is None


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home in which this very process is kept as the worker."""
    port = observe.serve_observability(0, lambda: observe.Health(True, {}))
    me = {"pid": os.getpid(), "start_ticks": start_ticks(os.getpid())}
    with lock_home(tmp_path):
        address = {"health": f"http://127.0.0.1:{port}/health"}
        state = {"state": "ready", "since": "2026-01-01T00:00:00Z", "addresses": address, **me}
        write_state(tmp_path, ProcessState(name="worker", restarts=3, **state))  # type: ignore[arg-type]
        gone = {**state, "pid": 2**22 + 1, "start_ticks": 1}
        write_state(tmp_path, ProcessState(name="sink", **gone))  # type: ignore[arg-type]
        yield tmp_path


def test_a_running_process_is_looked_at_and_one_that_has_ended_is_not(home: Path) -> None:
    collector = Collector(home, {"worker": 42}.get)
    now = datetime.now(UTC)
    assert collector.step(now) == []
    (row,) = collector.step(now)
    told = dict(zip(COLUMNS, row, strict=True))
    assert (told["process"], told["pid"], told["restarts"]) == ("worker", os.getpid(), 3)
    assert (told["lag"], told["at"]) == (42, now)
    assert told["memory_mb"] > 1
    assert told["cpu"] >= 0


def test_the_metrics_of_a_page_are_read(home: Path) -> None:
    WORKED.inc(5)
    port = observe.serve_observability(0, lambda: observe.Health(True, {}))
    seen = look_at("worker", os.getpid(), f"http://127.0.0.1:{port}/metrics")
    assert seen is not None
    assert [value for _, value in seen.samples["weir_test_watching_total"]] == [5.0]
    silent = look_at("worker", os.getpid(), "http://127.0.0.1:9/metrics")
    assert silent is not None
    assert silent.samples == {}


def test_a_store_that_is_away_costs_rows_and_nothing_else(home: Path) -> None:
    written: list[Row] = []
    waits = iter([False, False, False, False, True])
    broken = threading.Event()
    broken.set()

    def write(rows: list[Row]) -> None:
        if broken.is_set():
            broken.clear()
            raise OSError("no store")
        written.extend(rows)

    collect(Collector(home, lambda _: None), write, lambda _: next(waits))  # type: ignore[arg-type]
    assert len(written) == 2
