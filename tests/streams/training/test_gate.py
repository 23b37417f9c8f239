from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.frame import columns_of, frame
from streams.task import Regression
from streams.training.fitting import fit
from streams.training.gate import out_of_fold, risk, score, threshold, train_gate, wrong_beyond
from streams.training.metrics import wrong
from streams.version import Answers
from tests.small_tasks import DIABETES, TUMOUR, diabetes_task, tumour_task, tumours

WORDS = {"shape": ["bent", "ragged", "round"]}
FRAME = frame(TUMOUR, columns_of(TUMOUR.features, tumours()), WORDS)
BENIGN = tumours()["benign"].to_numpy(bool)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=50) | st.lists(st.sampled_from([0.1, 0.2, 0.3])),
    st.floats(0, 0.99),
)
def test_a_threshold_never_defers_more_than_the_budget(scores: list[float], budget: float) -> None:
    if not scores:
        return
    values = np.array(scores)
    at = threshold(values, budget)
    assert (values >= at).mean() <= budget + 1e-9
    below = values[values < at]
    if len(below):  # one step lower would be too much
        assert (values >= below.max()).mean() > budget


def test_different_scores_use_the_whole_budget() -> None:
    scores = np.arange(100) / 100
    assert threshold(scores, 0.1) == 0.9
    assert (scores >= threshold(scores, 0.25)).sum() == 25


def test_each_row_is_answered_by_a_model_that_did_not_see_it() -> None:
    held_out = out_of_fold(TUMOUR, TUMOUR.candidates["trees"], FRAME, BENIGN)
    assert len(held_out) == len(FRAME)
    first = -(-len(FRAME) // 5)  # the first fifth, rounded up
    rest = FRAME[first:].reset_index(drop=True)
    model = fit(TUMOUR, TUMOUR.candidates["trees"], rest, BENIGN[first:])
    expected = model.predict_proba(FRAME[:first])[:, 1] >= 0.5
    assert held_out.answer[:first].tolist() == expected.tolist()


def test_classes_that_come_one_after_the_other_are_mixed_over_the_folds() -> None:
    order = np.argsort(BENIGN, kind="stable")
    sorted_frame = FRAME.iloc[order].reset_index(drop=True)
    held_out = out_of_fold(TUMOUR, TUMOUR.candidates["trees"], sorted_frame, BENIGN[order])
    assert (held_out.answer == BENIGN[order]).mean() > 0.8


def test_the_gate_finds_where_the_model_errs() -> None:
    chance = np.random.default_rng(0)
    errors = (FRAME["radius"].to_numpy() > 15) & (chance.random(len(FRAME)) < 0.7)
    gate = train_gate(TUMOUR, FRAME[:400], errors[:400], FRAME[:400])
    assert gate.threshold is not None
    scores = score(TUMOUR, gate.estimator, FRAME[400:].reset_index(drop=True))
    found = risk(errors[400:], scores, gate.threshold)
    assert found["auc"] > 0.8
    assert found["risk_admitted"] < found["risk"] < found["risk_deferred"]
    by_coverage = [point["risk"] for point in found["risk_by_coverage"]]
    assert by_coverage[0] == found["risk"]
    assert by_coverage[-1] < by_coverage[0]


@pytest.mark.parametrize(
    ("budget", "errors", "why"),
    [
        (0.0, BENIGN, "defer_budget is 0"),
        (0.1, np.zeros(len(BENIGN), bool), "0 of 569 answers were wrong"),
        (0.1, np.ones(len(BENIGN), bool), "569 of 569 answers were wrong"),
    ],
)
def test_where_there_is_nothing_to_learn_there_is_no_gate_and_a_reason(
    budget: float, errors: np.ndarray, why: str
) -> None:
    gate = train_gate(tumour_task(defer_budget=budget), FRAME, errors, FRAME)
    assert gate.estimator is None
    assert gate.threshold is None
    assert why in gate.why_none


def test_the_largest_tenth_of_a_regressions_errors_counts_as_wrong() -> None:
    truth, given_ = np.zeros(100), Answers(np.arange(100.0))
    beyond = wrong_beyond(DIABETES, truth, given_)
    assert wrong(DIABETES, truth, given_, beyond).sum() == 10
    # By weight: rows that stand for nobody to speak of do not decide what the largest tenth is.
    light = np.where(np.abs(given_.answer - truth) > beyond, 1e-6, 1.0)
    assert wrong_beyond(DIABETES, truth, given_, light) < beyond


def test_a_task_may_say_which_errors_of_a_regression_are_wrong() -> None:
    task = diabetes_task(target=Regression("progression", wrong_beyond=50.0))
    assert wrong_beyond(task, np.zeros(100), Answers(np.arange(100.0))) == 50.0
