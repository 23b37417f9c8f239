"""What swaps are planned, and how their latency is told apart from the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.faults.pool import DAMAGES
from services.faults.swaps import AWAY, GOOD, latencies, make_plan


@given(swaps=st.integers(1, 200), more=st.integers(0, 50_000))
def test_swaps_lie_outside_the_calm_stretches_and_every_kind_is_tried(
    swaps: int, more: int
) -> None:
    requests = 100 * (swaps + 6) + more
    plan = make_plan(swaps, requests)
    hows = [swap.how for swap in plan.swaps]
    assert hows.count(GOOD) == swaps
    assert swaps < 5 or set(hows) == {GOOD, AWAY, *DAMAGES}
    ats = [swap.at for swap in plan.swaps]
    assert ats == sorted(ats)
    assert all(0 < at < requests for at in ats)
    assert not any(first <= at < last for first, last in plan.calm for at in ats)


def test_too_few_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="1000 requests for so many"):
        make_plan(4, 999)
    with pytest.raises(ValueError, match="at least one swap"):
        make_plan(0, 999)


def test_requests_between_the_swaps_of_a_stretch_count_as_swapped() -> None:
    waited = np.full(100, 0.001)
    waited[40:60] = 0.004
    waited[[10, 45]] = 0  # not seen
    found = latencies(waited, [(0, 30), (70, 100)], [(40, 45), (58, 59)])
    assert found["without_swaps_ms"] == {"p50": 1.0, "p99": 1.0, "max": 1.0}
    assert found["with_swaps_ms"] == {"p50": 4.0, "p99": 4.0, "max": 4.0}
    assert found["p99_ratio"] == 4.0
    # One that goes on into a calm stretch takes its requests out of it.
    found = latencies(waited, [(0, 30), (50, 100)], [(40, 55), (58, 59)])
    assert found["without_swaps_ms"]["max"] == 4.0
    assert latencies(waited, [(0, 100)], [])["p99_ratio"] is None
