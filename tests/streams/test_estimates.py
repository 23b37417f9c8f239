from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from streams.estimates.design import fit_design
from streams.estimates.estimator import fit_estimator
from streams.estimates.measures import Bar, bars, distrust, grids, of_rows, parts
from streams.estimates.realised import certain
from streams.estimates.spread import fit_spread
from streams.quality import EPSILON
from streams.version import Answers

CLASSES = ("a", "b", "c")


@st.composite
def binary(draw: Any) -> tuple[Answers, Any, Any]:
    n = draw(st.integers(2, 60))
    rows = st.lists(st.floats(0.001, 0.999), min_size=n, max_size=n)
    p, q = np.array(draw(rows)), np.array(draw(rows))
    truth = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    return Answers(p >= 0.5, p), q[:, None], truth


def clicks(n: int, seed: int, middle: float = 0.0) -> tuple[pd.DataFrame, Answers, Any]:
    """Scores that are wrong by a feature which the model does not use, and too sure."""
    random = np.random.default_rng(seed)
    x, hidden = random.normal(size=n), random.normal(middle, 1.0, size=n)
    p = 1 / (1 + np.exp(-2 * x))
    truth = random.random(n) < 1 / (1 + np.exp(-(x + hidden)))
    kind = pd.Categorical(np.where(hidden > 0, "high", "low"), categories=["low", "high"])
    return pd.DataFrame({"x": x, "hidden": hidden, "kind": kind}), Answers(p >= 0.5, p), truth


@settings(deadline=None)
@given(binary())
def test_the_estimate_of_a_known_truth_is_the_realised_metric(rows: Any) -> None:
    answers, _, truth = rows
    found = of_rows("binary", (), answers, certain("binary", (), answers, truth), {})
    assert answers.probability is not None
    assert found["accuracy"].value == pytest.approx(accuracy_score(truth, answers.answer))
    clipped = np.clip(answers.probability, EPSILON, 1 - EPSILON)
    assert found["log_loss"].value == pytest.approx(log_loss(truth, clipped, labels=[False, True]))
    if 0 < truth.sum() < len(truth):
        # Scores in one cell of the grid count as equal: n pairs may turn into ties.
        cells = np.round(np.log(clipped / (1 - clipped)) * 128)
        near = len(np.unique(cells)) < len(np.unique(clipped))
        exact = roc_auc_score(truth, answers.probability)
        assert near or found["roc_auc"].value == pytest.approx(exact, abs=0.05)
    else:
        assert "roc_auc" not in found


@settings(deadline=None)
@given(binary(), st.integers(0, 60))
def test_chunks_add_up_whatever_the_cut(rows: Any, cut: int) -> None:
    answers, expected, _ = rows
    whole = of_rows("binary", (), answers, expected, {"accuracy": 0.01})
    sums: dict[str, float] = {}
    areas = [np.zeros(2)]
    for some in (slice(0, cut), slice(cut, None)):
        given_, made = answers.take(some), expected[some]
        for name, values in parts("binary", (), given_, made).items():
            sums[name] = sums.get(name, 0.0) + float(values.sum())
        areas = areas + [np.stack(pair) for pair in grids("binary", given_, made)]
    positives, negatives = sum(areas[2:], areas[1])
    again = bars(len(expected), sums, [(positives, negatives)], {"accuracy": 0.01})
    assert again.keys() == whole.keys()
    for name, bar in whole.items():
        assert again[name].value == pytest.approx(bar.value)
        assert again[name].high == pytest.approx(bar.high)


@settings(deadline=None)
@given(binary())
def test_bars_hold_their_value_and_stay_in_range(rows: Any) -> None:
    answers, expected, _ = rows
    for name, bar in of_rows("binary", (), answers, expected, {}).items():
        assert 0 <= bar.low <= bar.value <= bar.high
        assert name == "log_loss" or bar.high <= 1


@settings(deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=40), st.floats(-10, 10))
def test_a_regression_s_known_errors_are_its_mae_and_rmse(truth: Any, answer: float) -> None:
    answers = Answers(np.full(len(truth), answer))
    known = certain("regression", (), answers, np.array(truth))
    found = of_rows("regression", (), answers, known, {})
    error = np.array(truth) - answer
    assert found["mae"].value == pytest.approx(np.abs(error).mean(), abs=1e-9)
    assert found["rmse"].value == pytest.approx(np.sqrt((error**2).mean()), abs=1e-9)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**16))
def test_probabilities_by_class_add_up_to_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    own = random.dirichlet((1.0, 1.0, 1.0), size=300)
    names = np.array(CLASSES, object)
    answers = Answers(names[own.argmax(axis=1)], own.max(axis=1), own)
    frame = pd.DataFrame({"x": random.normal(size=300)})
    truth = names[random.integers(0, 3, 300)]
    expected = fit_estimator("multiclass", CLASSES, frame, answers, truth).expect(frame, answers)
    assert np.allclose(expected.sum(axis=1), 1)
    assert (expected >= 0).all()
    assert set(of_rows("multiclass", CLASSES, answers, expected, {})) == {
        *("accuracy", "roc_auc", "log_loss")
    }


def test_an_estimate_follows_inputs_that_shift_where_the_score_cannot() -> None:
    estimator = fit_estimator("binary", (), *clicks(20_000, seed=1))
    frame, answers, truth = clicks(20_000, seed=2, middle=1.5)
    expected = estimator.expect(frame, answers)
    realised = of_rows("binary", (), answers, certain("binary", (), answers, truth), {})
    estimated = of_rows("binary", (), answers, expected, {})
    blind = frame.assign(hidden=0.0, kind=frame["kind"].cat.categories.take([0] * len(frame)))
    blind["kind"] = pd.Categorical(blind["kind"], categories=["low", "high"])
    for metric in ("accuracy", "log_loss"):
        off = abs(estimated[metric].value - realised[metric].value)
        by_score = of_rows("binary", (), answers, estimator.expect(blind, answers), {})
        assert off < 0.2 * abs(by_score[metric].value - realised[metric].value)


def test_the_same_reference_gives_the_same_estimator() -> None:
    reference = clicks(1_000, seed=3)
    frame, answers, _ = clicks(500, seed=4)
    once, again = (fit_estimator("binary", (), *reference) for _ in range(2))
    assert (once.expect(frame, answers) == again.expect(frame, answers)).all()


def test_bars_are_wider_where_the_reference_drifted() -> None:
    frame, answers, truth = clicks(4_000, seed=5)
    calm = fit_spread("binary", (), frame, answers, truth)
    random = np.random.default_rng(6)
    drifted = truth.copy()
    later = np.arange(len(truth)) >= len(truth) // 2
    drifted[later] = random.random(later.sum()) < 0.2
    assert fit_spread("binary", (), frame, answers, drifted)["accuracy"] > calm["accuracy"] + 0.05


def test_inputs_beyond_the_reference_are_outside() -> None:
    frame, _, _ = clicks(1_000, seed=7)
    design = fit_design(frame)
    some = frame.head(3).copy()
    some["x"] = [0.0, 100.0, np.nan]
    some["kind"] = pd.Categorical(["low", "high", None], categories=["low", "high"])
    assert design.outside(some).tolist() == [False, True, True]
    assert np.abs(design.matrix(some)).max() < 20  # clipped: nothing is extrapolated


def test_too_small_a_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="199 rows are too few"):
        fit_estimator("binary", (), *clicks(199, seed=8))


@pytest.mark.parametrize(
    ("n", "outside", "realised", "why"),
    [
        (99, 0, [], "too few: 99 predictions"),
        (1000, 201, [], "outside the training region: 20% of the inputs"),
        (1000, 0, [0.9, 0.5, 0.5], "concept drift suspected: 2 of the last 3"),
        (1000, 0, [0.5, 0.5, 0.8, 0.9, 0.9], ""),
        (1000, 200, [0.5], ""),
    ],
)
def test_an_estimate_says_why_it_cannot_be_trusted(
    n: int, outside: int, realised: list[float], why: str
) -> None:
    said = distrust(n, outside, [(Bar(0.85, 0.8, 0.9), value) for value in realised])
    assert said.startswith(why)
    assert bool(said) == bool(why)
