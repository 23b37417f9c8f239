"""Weights by inverse propensity: unbiased in the long run, bounded, of mean one."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import propensity
from streams.propensity import CLIP, inverse_propensity_weights

PROPENSITIES = st.lists(st.floats(1e-6, 1.0) | st.just(float("nan")), min_size=1, max_size=50)


def test_the_example_of_the_documentation_runs() -> None:
    assert doctest.testmod(propensity).failed == 0


@given(PROPENSITIES)
def test_weights_have_mean_one_and_are_bounded(given_: list[float]) -> None:
    weights = inverse_propensity_weights(np.array(given_))
    assert weights.mean() == pytest.approx(1)
    assert weights.max() <= CLIP * weights.min() * (1 + 1e-9)


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.1])
def test_a_propensity_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="above 0 to 1"):
        inverse_propensity_weights(np.array([0.5, bad]))


def test_of_nothing_there_are_no_weights() -> None:
    assert len(inverse_propensity_weights(np.zeros(0))) == 0


def test_they_undo_what_choosing_did_to_a_mean() -> None:
    """Rows of a large value are seen more often; their plain mean is far off."""
    rng = np.random.default_rng(0)
    x = rng.random(200_000)
    shown = 0.1 + 0.8 * x
    seen = rng.random(len(x)) < shown
    assert x[seen].mean() > 0.6
    weights = inverse_propensity_weights(shown[seen])
    assert (weights * x[seen]).mean() == pytest.approx(0.5, abs=0.01)
