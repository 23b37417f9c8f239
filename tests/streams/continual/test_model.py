"""A model that learned in the stream: what river gets, and how two models' answers are pooled."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from river.naive_bayes import BernoulliNB
from sklearn.dummy import DummyClassifier

from streams.continual.model import Learned, pool, probabilities
from streams.continual.rows import rows_of

SHARES = st.floats(0.01, 1)
CHANCES = arrays(np.float64, (5, 3), elements=st.floats(0.01, 1)).map(
    lambda p: p / p.sum(1, keepdims=True)
)


def test_rows_hold_numbers_and_words_and_nothing_that_is_missing() -> None:
    shape = pd.Categorical.from_codes([0, -1, 1], categories=pd.Index(["a", "b"], dtype=object))
    frame = pd.DataFrame({"x": [1.0, np.nan, 3.0], "shape": shape, "y": [0.0, 1.0, np.nan]})
    assert rows_of(frame) == [
        {"x": 1.0, "y": 0.0, "shape": "a"},
        {"y": 1.0},
        {"x": 3.0, "shape": "b"},
    ]


@given(CHANCES, CHANCES, SHARES)
def test_a_pool_is_the_mean_of_log_odds_between_any_two_answers(
    one: np.ndarray, other: np.ndarray, share: float
) -> None:
    made = pool(one, other, share)
    np.testing.assert_allclose(made.sum(1), 1)

    def odds(p: np.ndarray) -> np.ndarray:
        return np.log(p[:, 0] / p[:, 1])

    np.testing.assert_allclose(
        odds(made), (1 - share) * odds(one) + share * odds(other), rtol=1e-6, atol=1e-6
    )


@given(CHANCES, SHARES)
def test_two_models_that_agree_are_pooled_to_what_they_say(same: np.ndarray, share: float) -> None:
    np.testing.assert_allclose(pool(same, same, share), same, rtol=1e-9)


def test_a_learner_that_has_learned_nothing_says_each_class_is_as_likely() -> None:
    rows = [{"x": 1.0}, {"x": 2.0}]
    np.testing.assert_allclose(probabilities(BernoulliNB(), rows, [False, True]), 0.5)


def test_alone_it_needs_no_base() -> None:
    model = Learned(object(), BernoulliNB(), 1.0, [False, True])
    assert model.base is None
    assert model.predict_proba(pd.DataFrame({"x": [1.0]})).shape == (1, 2)


def test_the_probabilities_of_the_base_are_set_right_before_they_are_pooled() -> None:
    base = DummyClassifier(strategy="prior").fit([[0.0]] * 4, [False, False, False, True])
    twice = {"method": "temperature", "slope": [2.0]}
    model = Learned(base, BernoulliNB(), 0.5, [False, True], twice)
    ((no, yes),) = model.predict_proba(pd.DataFrame({"x": [1.0]}))
    # The learner has learned nothing: its log odds are 0.
    np.testing.assert_allclose(np.log(yes / no), 0.5 * 2 * np.log(0.25 / 0.75))
