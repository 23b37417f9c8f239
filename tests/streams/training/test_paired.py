"""The paired test keeps its level where losses of neighbouring rows are alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.signal import lfilter

from streams.training.paired import Difference, difference, holm

Floats = npt.NDArray[np.float64]
RUNS = 1000
# Of 1000 tests at 5 % more than this reject in one of ten thousand cases. The draws are of fixed
# seeds: a test that passes once passes always.
MOST = 0.077


def dependent(draw: np.random.Generator, n: int, alike: float, spread: Floats | float = 1.0) -> Any:
    """(RUNS, n) with the mean 0, each row alike to the one before it (AR(1))."""
    noise = draw.standard_normal((RUNS, n + 200))
    return spread * lfilter([1.0], [1.0, -alike], noise)[:, 200:]


def rejected(differences: Floats, weight: Floats | None = None, blocks: int = 10) -> float:
    """The share of runs in which "not worse by 0" is found at 5 %."""
    nothing = np.zeros(differences.shape[1])
    found = [difference(one, nothing, weight, blocks).p_below(0.0) < 0.05 for one in differences]
    return float(np.mean(found))


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.9])
def test_it_keeps_its_level_where_neighbours_are_alike(alike: float) -> None:
    assert rejected(dependent(np.random.default_rng(1), 1000, alike)) <= MOST


def test_a_test_of_single_rows_would_not() -> None:
    drawn = dependent(np.random.default_rng(1), 1000, 0.9)
    assert np.mean(stats.ttest_1samp(drawn, 0.0, axis=1, alternative="less").pvalue < 0.05) > 0.3


def test_it_keeps_its_level_on_few_rows_and_with_weights() -> None:
    draw = np.random.default_rng(2)
    assert rejected(dependent(draw, 60, 0.3)) <= MOST
    weight = draw.choice([1.0, 20.0], 1000, p=[0.9, 0.1])
    assert rejected(dependent(draw, 1000, 0.5), weight) <= MOST


def test_it_keeps_its_level_where_the_spread_grows() -> None:
    grows = np.linspace(0.5, 3.0, 1000)
    assert rejected(dependent(np.random.default_rng(3), 1000, 0.5, grows)) <= MOST


def test_it_finds_what_is_there() -> None:
    drawn = dependent(np.random.default_rng(4), 1000, 0.5) - 0.3
    assert rejected(drawn) > 0.9  # the mean's standard error is 0.063


@given(
    st.lists(st.integers(-40, 40), min_size=2, max_size=40),
    st.integers(2, 12),
    st.sampled_from([0.25, 3.0]),
)
def test_of_single_rows_it_is_students_paired_test(
    eighths: list[int], blocks: int, scale: float
) -> None:
    first = np.array(eighths) / 8  # all differences are exact: alike, or clearly not
    second = np.arange(len(first)) % 3 / 4
    ours = difference(first, second, None, len(first))
    assert ours.value == pytest.approx(float(np.mean(first - second)), abs=1e-9)
    if ours.error > 0:
        theirs = stats.ttest_rel(first, second)
        assert ours.p_below(0.0) * 2 == pytest.approx(
            theirs.pvalue if ours.value < 0 else 2 - theirs.pvalue, abs=1e-6
        )
        interval = theirs.confidence_interval(0.9)
        assert ours.interval(0.05) == pytest.approx((interval.low, interval.high), abs=1e-6)
    # Weights that are all the same are none, and the other way round the difference is the other.
    assert difference(first, second, np.full(len(first), scale), blocks).value == pytest.approx(
        ours.value, abs=1e-9
    )
    back = difference(second, first, None, blocks)
    assert back.value == pytest.approx(-ours.value, abs=1e-9)
    assert back.p_above(0.1) == pytest.approx(
        difference(first, second, None, blocks).p_below(-0.1), abs=1e-6
    )


@given(st.floats(-1, 1), st.floats(0.001, 1), st.integers(2, 30), st.floats(0.01, 0.49))
def test_interval_and_p_say_the_same(value: float, error: float, blocks: int, risk: float) -> None:
    found = Difference(value, error, blocks)
    low, high = found.interval(risk)
    assert low < value < high
    assert found.p_below(high) == pytest.approx(risk, abs=1e-6)
    assert found.p_above(low) == pytest.approx(risk, abs=1e-6)


def test_models_that_answer_alike_do_not_differ_at_all() -> None:
    loss = np.random.default_rng(0).random(50)
    same = difference(loss, loss)
    assert (same.value, same.error) == (0.0, 0.0)
    assert same.p_below(0.01) == 0.0
    assert same.p_below(0.0) == same.p_above(0.0) == 1.0


def test_one_row_says_nothing() -> None:
    with pytest.raises(ValueError, match="two of each are needed"):
        difference(np.ones(1), np.zeros(1))


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_is_what_it_says(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    assert [adjusted[at] for at in order] == sorted(adjusted)
    # Step down: the first hypothesis that is not rejected ends it.
    rejects = set()
    for rank, at in enumerate(order):
        if not p_values[at] * (len(p_values) - rank) < 0.05:
            break
        rejects.add(at)
    assert {at for at, a in enumerate(adjusted) if a < 0.05} == rejects
