"""Counts by second and the figures from them: told the time, they need no broker."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from schemas.columns import Column, Columns
from schemas.moments import LATEST_MS
from services.console.figures import figures
from services.console.live import KEPT_S, LATENCIES_KEPT, Live, points


def columns(n: int, **changes: Any) -> Columns:
    values: dict[str, Any] = {
        "status": ["answered"] * n,
        "version": ["v1"] * n,
        "event_time": list(range(n)),
        "timings.wait_us": [6_000] * n,
        **{f"timings.{stage}_us": [1_000] * n for stage in ("decode", "validate", "gate", "infer")},
    } | changes
    return {
        name: Column(np.array(v, object if name in ("status", "version") else np.int64))
        for name, v in values.items()
    }


def test_counts_go_to_the_second_in_which_they_came() -> None:
    live = Live(100)
    live.count(100.9, requests=3)
    live.count(102.0, requests=4, outcomes=1)
    assert [(s.at, s.requests) for s in live.seconds(102.99)] == [(100, 3), (101, 0)]
    live.count(102.5, requests=1)
    closed = points(live.seconds(103.0))
    assert closed["t"] == [100, 101, 102]
    assert closed["requests"] == [3, 0, 5]
    assert closed["outcomes"] == [0, 0, 1]
    assert closed["p99"] == [None, None, None]
    assert live.totals.requests == 8


def test_a_clock_that_is_set_back_loses_nothing() -> None:
    live = Live(100)
    live.count(105, requests=1)
    live.count(101, requests=1)
    assert live.seconds(106)[-1].requests == 2


def test_only_the_last_minutes_are_kept_however_long_it_slept() -> None:
    live = Live(0)
    live.count(0, requests=1)
    kept = live.seconds(10_000_000)
    assert len(kept) == KEPT_S
    assert kept[-1].at == 9_999_999
    assert live.totals.requests == 1


def test_predictions_count_exactly_and_their_latencies_are_sampled() -> None:
    live = Live(0)
    n = 5 * LATENCIES_KEPT
    live.predictions(0.5, columns(n, **{"timings.wait_us": list(range(n))}), unread=2)
    (second,) = live.seconds(1)
    assert second.predictions == n + 2
    assert len(second.sampled) == LATENCIES_KEPT
    shown = figures(live, [second])
    assert shown.p50_ms == pytest.approx(n / 2 / 1000 + 4, abs=0.01)
    assert shown.p99_ms == pytest.approx(n * 0.99 / 1000 + 4, abs=0.01)


def test_a_clock_difference_never_makes_a_latency_negative() -> None:
    live = Live(0)
    live.predictions(0, columns(2, **{"timings.wait_us": [-10_000_000, 6_000]}))
    assert sorted(live.seconds(1)[0].sampled) == [0.0, 10.0]


def test_shares_rates_and_versions_are_of_their_last_seconds() -> None:
    live = Live(0)
    live.predictions(0, columns(1_000, status=["rejected"] * 1_000))
    live.predictions(70, columns(4, status=["deferred", "answered", "rejected", "answered"]))
    live.predictions(71, columns(4, version=["v2"] * 4))
    now = figures(live, live.seconds(72))
    assert now.predictions_per_s == 8 / 5
    assert now.share_deferred == 1 / 8
    assert now.share_rejected == 1 / 8
    assert now.by_version == {"v1": 0.5, "v2": 0.5}


def test_event_time_is_of_what_was_not_rejected_and_tells_its_speed() -> None:
    live = Live(0)
    day = 86_400_000
    live.predictions(0, columns(2, event_time=[day, 0]))
    live.predictions(1, columns(1, status=["rejected"], event_time=[99 * day]))
    live.predictions(2, columns(1, event_time=[3 * day]))
    now = figures(live, live.seconds(3))
    assert now.event_time == 3 * day
    assert now.event_speed == day


def test_before_anything_came_nothing_is_claimed() -> None:
    live = Live(0)
    for seconds in (live.seconds(0), live.seconds(5)):
        now = figures(live, seconds)
        assert (now.requests_per_s, now.p50_ms, now.share_deferred) == (0, None, None)
        assert (now.event_time, now.event_speed, now.by_version) == (None, None, {})


def test_predictions_that_cannot_be_read_count_and_stop_no_figure() -> None:
    live = Live(100)
    live.predictions(100.5, columns(0), unread=3)
    seconds = live.seconds(102)
    assert points(seconds)["predictions"] == [3, 0]
    assert points(seconds)["p99"] == [None, None]
    assert figures(live, seconds).p99_ms is None


def test_a_time_that_no_calendar_has_is_told_as_the_nearest() -> None:
    live = Live(100)
    live.predictions(100.5, columns(1, event_time=[2**62]))
    assert live.event_time == LATEST_MS
