"""The ratios are e-values, and the sums over time are what adding one by one gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, nbinom

from streams.volume.evidence import added, log_ratio, log_share_ratio, passed

MEANS = st.floats(0.001, 200)
SHAPES = st.floats(0.05, 100)


@given(MEANS, SHAPES, st.floats(0, 2))
def test_where_nothing_jumps_the_ratio_is_one_at_most_on_average(
    mean: float, shape: float, times: float
) -> None:
    """Up to twice the usual, and at exactly twice it is one."""
    counts = np.arange(20_000.0)
    p = shape / (shape + max(times * mean, 1e-12))
    ratio = log_ratio(counts, *(np.array([m * mean]) for m in (2, 10)), np.array([shape]))
    expected = np.exp(ratio + nbinom.logpmf(counts, shape, p)).sum()
    assert expected <= 1 + 1e-6
    if times == 2:
        assert expected == pytest.approx(1, abs=1e-3)


@given(st.integers(0, 300), st.floats(0.001, 0.9), st.floats(0, 1))
def test_so_is_the_ratio_of_shares(n: int, share: float, less: float) -> None:
    held = np.arange(n + 1.0)
    ratio = log_share_ratio(held, np.full(n + 1, float(n)), np.full(n + 1, share), 2, 10)
    odds = 2 * less * share / (1 - share)
    assert np.exp(ratio + binom.logpmf(held, n, odds / (1 + odds))).sum() <= 1 + 1e-9


@given(
    st.floats(-30, 30) | st.just(-np.inf),
    st.floats(-5, -0.001),
    st.integers(0, 200),
)
def test_many_empty_buckets_are_what_each_of_them_adds(
    log_r: float, log_l: float, buckets: int
) -> None:
    one_by_one = np.array([log_r])
    for _ in range(buckets):
        one_by_one = added(one_by_one, np.array([log_l]))
    at_once = passed(np.array([log_r]), np.array([log_l]), np.array([float(buckets)]))
    np.testing.assert_allclose(at_once, one_by_one, atol=1e-9)
