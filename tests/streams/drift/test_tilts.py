"""Levels of numbers: fair up to what is tolerated, quick beyond it, and one way is one way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.drift.tilts import STEPS, Tilts

BINS = 6
weights = st.lists(st.floats(0.05, 1.0), min_size=BINS, max_size=BINS)


def tilts(p: np.ndarray, shift: float = 0.1) -> Tilts:
    return Tilts(p[None, None], np.ones(1, bool), shift)


def gains_of_a_record(one: Tilts, p: np.ndarray) -> np.ndarray:
    """(bins, tilts) log likelihood ratios of one record of each bin."""
    rows = [one.gains(np.eye(len(p))[[at]], p[None])[0] for at in range(len(p))]
    return np.array(rows)


@given(weights, st.floats(0.01, 0.5), st.floats(-1.0, 1.0))
def test_no_level_within_what_is_tolerated_gains(
    given_weights: list[float], shift: float, part: float
) -> None:
    p = np.array(given_weights) / sum(given_weights)
    one = tilts(p, shift)
    tilted = p * np.exp(part * shift * one.scores[0])
    tilted /= tilted.sum()
    assert (tilted @ np.exp(gains_of_a_record(one, p)) <= 1 + 1e-9).all()


@given(weights, st.sampled_from(range(len(STEPS))))
def test_a_level_beyond_it_gains_one_way_only(given_weights: list[float], j: int) -> None:
    p = np.array(given_weights) / sum(given_weights)
    one = tilts(p)
    tilted = p * np.exp((one.shift + STEPS[j]) * one.scores[0])
    gain = tilted / tilted.sum() @ gains_of_a_record(one, p)
    assert gain[j] > 0
    assert (gain[len(STEPS) :] < 0).all()


def test_scores_are_standard_deviations_of_a_normal_number() -> None:
    one = tilts(np.full(10, 0.1))
    assert one.scores[0].mean() == pytest.approx(0, abs=1e-12)
    assert (0.1 * one.scores[0] ** 2).sum() == pytest.approx(1)
    draw = np.random.default_rng(0)
    edges = np.quantile(draw.normal(size=100_000), np.linspace(0.1, 0.9, 9))
    seen = np.bincount(np.searchsorted(edges, draw.normal(0.5, size=100_000)), minlength=10)
    assert one.moved(seen[None] * 1.0, np.full((1, 10), 1e4)) == pytest.approx([0.5], abs=0.03)


def test_bins_without_an_order_have_no_level() -> None:
    p = np.full((1, 2, 4), 0.25)
    one = Tilts(p, np.array([True, False]), 0.1)
    gains = one.gains(np.array([[0.0, 0, 0, 9]] * 2), p[0])
    assert gains[0].max() > 0
    assert (gains[1] == 0).all()


def test_a_season_is_what_is_usual_then() -> None:
    day, night = np.array([0.1, 0.2, 0.7]), np.array([0.7, 0.2, 0.1])
    one = Tilts(np.stack([day, night])[:, None], np.ones(1, bool), 0.1)
    at_night = 1_000 * night[None]
    assert (one.gains(at_night, night[None]) < 0).all()
    assert one.gains(at_night, day[None]).max() > 20


def test_a_bin_that_training_had_nothing_in_cannot_outweigh_all_others() -> None:
    p = np.array([1e-6, 1 - 1e-6])
    gains = tilts(p, 2.0).gains(np.array([[1.0, 0.0]]), p[None])
    assert np.isfinite(gains).all()
    assert gains.max() < 25
