"""Confidence sequences keep their word, looked at after every batch; seeds are fixed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.rollout.sequences import Moments, asymptotic, bounded

STREAMS, BATCHES, SIZE = 150, 30, 30


def looks(values: np.ndarray) -> list[list[Moments]]:
    """Of each stream the moments after each batch."""
    n = np.arange(1, BATCHES + 1) * SIZE
    batches = values.reshape(len(values), BATCHES, SIZE)
    totals = batches.sum(axis=2).cumsum(axis=1)
    squares = (batches**2).sum(axis=2).cumsum(axis=1)
    return [
        [Moments(*of) for of in zip(n.tolist(), total, square, strict=True)]
        for total, square in zip(totals.tolist(), squares.tolist(), strict=True)
    ]


def draws(shape: str, seed: int) -> tuple[np.ndarray, float]:
    """Streams of values in [-1, 1], and their mean."""
    draw = np.random.default_rng(seed)
    size = (STREAMS, BATCHES * SIZE)
    if shape == "rare":  # 1 in 50, one-sided: far from a normal law
        return (draw.random(size) < 0.02).astype(float), 0.02
    if shape == "coin":
        return np.where(draw.random(size) < 0.5, 1.0, -1.0), 0.0
    return draw.normal(0.1, 0.2, size).clip(-1, 1), 0.1


@pytest.mark.parametrize("shape", ["rare", "coin", "normal"])
@pytest.mark.parametrize("side", [-1, 1])
def test_the_mean_is_left_out_at_any_time_in_alpha_of_the_streams_at_most(
    shape: str, side: int
) -> None:
    values, mean = draws(shape, 7)
    alpha = 0.1
    left = sum(
        any(side * (m.mean - mean) > bounded(m, alpha, 1.0) for m in stream)
        for stream in looks(values)
    )
    assert left <= alpha * STREAMS


def test_the_asymptotic_one_keeps_its_word_from_enough_observations_on() -> None:
    draw = np.random.default_rng(3)
    values = draw.exponential(1.0, (STREAMS, BATCHES * SIZE))
    left = sum(
        any(abs(m.mean - 1) > asymptotic(m, 0.05, 200) for m in stream if m.n >= 200)
        for stream in looks(values)
    )
    assert left <= 0.1 * STREAMS  # both sides of 0.05 each


@given(st.floats(0.001, 0.4), st.integers(1, 10**9), st.floats(0.0, 1.0), st.floats(0.1, 10.0))
def test_the_mixture_stands_at_its_limit_at_the_bound(
    alpha: float, n: int, square: float, c: float
) -> None:
    grid = 0.8 * 2.0 ** -np.arange(15)
    psi = -np.log1p(-grid) - grid
    x = bounded(Moments(n, 0.0, n * square * c * c), alpha, c) * n / c
    logs = grid * x - psi * n * square
    mixture = float(logs.max()) + math.log(float(np.exp(logs - logs.max()).mean()))
    assert mixture == pytest.approx(-math.log(alpha), abs=1e-5)


def test_more_outcomes_narrow_it_and_nothing_is_known_of_none() -> None:
    widths = [bounded(Moments(n, 0.0, 0.05 * n), 0.05, 1.0) for n in (10, 100, 1000, 10**6)]
    assert widths == sorted(widths, reverse=True)
    assert bounded(Moments(), 0.05, 1.0) == math.inf
    assert asymptotic(Moments(), 0.05, 100) == math.inf


def test_moments_add_up_whatever_the_cut() -> None:
    values = np.random.default_rng(0).normal(size=100)
    whole = Moments(100, float(values.sum()), float(values @ values))
    parts = [Moments(len(v), float(v.sum()), float(v @ v)) for v in np.split(values, [3, 60])]
    added = Moments().plus(parts[2]).plus(parts[0]).plus(parts[1])
    assert added == pytest.approx(whole)
    assert Moments().plus(whole, -1.0).mean == pytest.approx(-whole.mean)
