"""What an answer is worth: each part between 0 and 1, and what makes it larger."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from schemas.columns import Column
from streams.labelling import value
from streams.training.profile import numbers

SHARES = st.floats(0, 1) | st.just(float("nan"))


def shares(n: int) -> st.SearchStrategy[np.ndarray]:
    return arrays.arrays(np.float64, n, elements=SHARES)


@given(shares(7), shares(7), st.sampled_from(["binary", "multiclass", "regression"]))
def test_uncertainty_is_a_share_for_every_kind_and_whatever_is_missing(p, score, kind) -> None:
    found = value.uncertainty(kind, 4, p, score)
    assert ((found >= 0) & (found <= 1)).all()


@given(shares(20))
def test_a_binary_answer_is_the_more_uncertain_the_nearer_it_is_to_a_half(p) -> None:
    p = p[~np.isnan(p)]
    found = value.uncertainty("binary", 0, p, np.full(len(p), np.nan))
    assert found == pytest.approx(1 - np.abs(2 * p - 1))


def test_an_input_that_no_model_looked_at_is_as_uncertain_as_can_be() -> None:
    nothing = np.array([np.nan])
    assert value.uncertainty("binary", 0, nothing, nothing) == 1
    assert value.uncertainty("multiclass", 3, nothing, nothing) == 1
    assert value.uncertainty("regression", 0, nothing, nothing) == 0


def test_the_gate_speaks_where_the_model_was_not_asked() -> None:
    p, scores = np.array([0.99, np.nan, np.nan]), np.array([0.6, 0.3, 0.6])
    found = value.uncertainty("binary", 0, p, scores)
    assert found == pytest.approx([0.02, 0.6, 1.0])
    assert value.uncertainty("multiclass", 3, p, scores) == pytest.approx([0.015, 0.45, 0.9])
    assert value.uncertainty("regression", 0, np.full(3, np.nan), scores).tolist() == [
        0.6,
        0.3,
        0.6,
    ]


@given(arrays.arrays(np.float64, (5, 3), elements=SHARES))
def test_versions_disagree_by_the_largest_difference_of_two(p) -> None:
    found = value.disagreement(np.stack([p, 1 - p], axis=2))
    for row, got in zip(p, found, strict=True):
        known = row[~np.isnan(row)]
        assert got == pytest.approx(np.ptp(known) if len(known) > 1 else 0.0)


@given(arrays.arrays(np.float64, (6, 3), elements=st.floats(-1e6, 1e6) | st.just(float("nan"))))
def test_answers_of_a_regression_are_apart_by_their_range(answers) -> None:
    found = value.spread(answers, 100.0)
    for row, got in zip(answers, found, strict=True):
        known = row[~np.isnan(row)]
        wanted = min(np.ptp(known) / 100, 1) if len(known) > 1 else 0
        assert got == pytest.approx(wanted)


def test_without_a_scale_any_difference_of_a_regression_counts_fully() -> None:
    assert value.spread(np.array([[1.0, 2.0], [3.0, 3.0]]), 0.0).tolist() == [1.0, 0.0]


SEEN = {
    "features": {
        "price": numbers(np.linspace(10, 20, 201)),
        "colour": {"missing": 0.0, "shares": {"red": 0.9, "green": 0.096, "blue": 0.004}},
    }
}


@pytest.mark.parametrize(
    ("price", "colour", "wanted"),
    [
        (15.0, "red", 0.0),
        (10.2, "red", 0.25),  # in the lowest twentieth
        (21.0, "red", 0.5),  # above all that was seen
        (15.0, "blue", 0.5),  # rare
        (15.0, "mauve", 0.5),  # never seen
        (-1.0, "mauve", 1.0),
        (float("nan"), "red", 0.5),  # missing, where training had all
    ],
)
def test_novelty_is_the_mean_over_the_features(price, colour, wanted) -> None:
    columns = {"price": Column(np.array([price])), "colour": Column(np.array([colour], object))}
    assert value.novelty(columns, ["price", "colour"], SEEN).tolist() == [wanted]


def test_without_a_profile_nothing_is_new() -> None:
    columns = {"price": Column(np.array([1.0, 2.0]))}
    assert value.novelty(columns, ["price"], {}).tolist() == [0.0, 0.0]


def test_a_feature_that_is_often_missing_is_not_strange_when_it_is() -> None:
    seen = numbers(np.array([1.0, 2.0, np.nan, np.nan]))
    column = Column(np.array([0.0, 1.5]), np.array([False, True]))
    assert value.strangeness(column, seen).tolist() == [0.0, 0.0]
    assert value.strangeness(column, numbers(np.array([np.nan]))).tolist() == [0.0, 1.0]
