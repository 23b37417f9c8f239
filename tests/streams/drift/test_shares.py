"""E-detectors of shares: fair within the tolerance, and quick beyond it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.drift.levels import Levels, level
from streams.drift.shares import Shares, log_ratios, sampling_error, total_variation
from streams.drift.tilts import Tilts

BINS = 6
weights = st.lists(st.floats(0.05, 1.0), min_size=BINS, max_size=BINS)


def shares_of(given_weights: list[float]) -> np.ndarray:
    made = np.array(given_weights)
    return made / made.sum()


@given(weights, weights, weights, st.floats(0.01, 0.5))
def test_no_distribution_within_the_tolerance_gains(
    a: list[float], b: list[float], c: list[float], tolerance: float
) -> None:
    p, q, direction = shares_of(a), shares_of(b), shares_of(c)
    ratios = log_ratios(q, p, np.array(tolerance))
    far = total_variation(direction, p)
    # The distribution in this direction that is just within the tolerance.
    other = p + (direction - p) * min(1.0, tolerance / max(float(far), 1e-12))
    assert (np.exp(ratios) * other).sum() <= 1 + 1e-9


@given(weights, weights, st.floats(0.01, 0.5))
def test_what_is_beyond_the_tolerance_gains_where_it_is_true(
    a: list[float], b: list[float], tolerance: float
) -> None:
    p, q = shares_of(a), shares_of(b)
    gain = float((q * log_ratios(q, p, np.array(tolerance))).sum())
    if total_variation(q, p) > tolerance + 1e-9:
        assert gain > 0
    else:
        assert gain == 0


def test_bins_that_are_not_there_do_not_matter() -> None:
    p, q = np.array([0.5, 0.5, 0, 0]), np.array([0.9, 0.1, 0, 0])
    padded = log_ratios(q, p, np.array(0.1))
    assert padded[:2] == pytest.approx(log_ratios(q[:2], p[:2], np.array(0.1)))
    assert (padded[2:] == 0).all()


P = np.full((1, 10), 0.1)


def looks(shares: Shares, p: np.ndarray, count: int, seed: int, n: int = 256) -> list[int]:
    draw = np.random.default_rng(seed)
    found = []
    for at in range(count):
        x = draw.multinomial(n, p)[None].astype(float)
        if shares.look(x, P * n, np.array([at])):
            shares.told(0)
            found.append(at)
    return found


def detector(inflation: float = 1.0, ordered: bool = False, size: float = 1e4) -> Shares:
    tilts = Tilts(P[None], np.array([ordered]), 0.1)
    return Shares(np.array([0.11]), np.array([inflation]), 20.0, tilts, np.array([size]))


SHIFTED = np.array([0.04] * 5 + [0.16] * 5)  # a total variation of 0.3


def test_a_shift_is_told_of_once_and_again_when_it_comes_back() -> None:
    shares = detector()
    assert looks(shares, P[0], 200, 1) == []
    assert len(looks(shares, SHIFTED, 60, 2)) == 1
    assert looks(shares, P[0], 100, 3) == []
    assert len(looks(shares, SHIFTED, 60, 4)) == 1


HIGHER = np.full(10, 0.1) * np.exp(0.35 * np.linspace(-1.6, 1.6, 10))
HIGHER /= HIGHER.sum()  # by a third of a standard deviation: a total variation of 0.14


def test_bins_with_an_order_tell_sooner() -> None:
    [any_change, *_] = looks(detector(), HIGHER, 400, 1)
    [higher] = looks(detector(ordered=True), HIGHER, 400, 1)
    assert 3 * higher < any_change


def test_a_level_is_told_of_once_and_again_when_it_comes_back() -> None:
    shares = detector(ordered=True)
    assert looks(shares, P[0], 200, 1) == []
    assert len(looks(shares, HIGHER, 200, 2)) == 1
    assert looks(shares, P[0], 20, 3) == []  # 5,120 records
    assert len(looks(shares, HIGHER, 60, 4)) == 1


def test_a_level_that_few_records_told_of_is_not_held_to() -> None:
    """A reference of 300 records, which are off by a fifth of a standard deviation."""
    off = P[0] * np.exp(0.2 * np.linspace(-1.6, 1.6, 10))
    assert looks(detector(ordered=True, size=300.0), off / off.sum(), 400, 1) == []
    assert looks(detector(ordered=True), off / off.sum(), 400, 1)


def test_what_does_not_matter_is_never_drift_however_long_it_lasts() -> None:
    small = np.array([0.08] * 5 + [0.12] * 5)  # a total variation of 0.1
    assert looks(detector(), small, 4_000, 1) == []


def test_one_burst_is_no_shift() -> None:
    shares = detector()
    looks(shares, P[0], 50, 1)
    wild = np.zeros((1, 10))
    wild[0, 9] = 256
    assert shares.look(wild, P * 256, np.array([0])) == []
    assert looks(shares, P[0], 50, 2) == []


def test_records_that_are_alike_count_for_less() -> None:
    [alone] = looks(detector(), SHIFTED, 400, 1)
    [alike] = looks(detector(20.0), SHIFTED, 400, 1)
    assert alike > 5 * alone


def test_a_state_goes_on_where_it_was() -> None:
    one, other = detector(), detector()
    looks(one, SHIFTED, 2, 1)
    other.restore(json.loads(json.dumps(one.state())))
    assert looks(one, SHIFTED, 20, 2) == looks(other, SHIFTED, 20, 2)


def test_the_references_own_error_shrinks_with_its_size() -> None:
    few, many = sampling_error(P, np.array([1_000.0])), sampling_error(P, np.array([100_000.0]))
    assert 0 < many[0] < few[0] < 0.1


def test_levels_pass_once_and_again_after_they_were_kept() -> None:
    limit = level(np.array([0.01]), np.array([20_000.0]), 0.02, np.ones(1))
    assert 0.03 < limit[0] < 0.04
    levels, draw = Levels(1e7, limit, np.ones(1)), np.random.default_rng(0)

    def feed(rate: float, count: int) -> int:
        n = np.array([256.0])
        hits = [draw.binomial(256, rate) for _ in range(count)]
        return sum(len(levels.update(n, np.array([float(k)]), 0)) for k in hits)

    assert feed(0.01, 1_000) == 0
    assert feed(0.03, 1_000) == 0  # tolerated
    assert feed(0.3, 20) == 1
    assert feed(0.01, 200) == 0
    assert feed(0.1, 20) == 1
