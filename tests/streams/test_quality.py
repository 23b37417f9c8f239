"""Metrics from sums are those that scikit-learn computes from the outcomes themselves."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from schemas.columns import Column, Columns
from streams.contributions import contributions
from streams.quality import (
    BINS,
    CALIBRATION_BINS,
    CLASS_BINS,
    Sums,
    bin_of,
    cells_of,
    check,
    expected_cells_of,
    measure,
    score_of,
)
from tests.streams.tasks import task_of

CLASSES = ["a", "b", "c"]
TASKS = {kind: task_of(kind) for kind in ("binary", "multiclass", "regression")}


def sums_of(kind: str, columns: Columns, truths: Any, rows: Any = None, sign: int = 1) -> Sums:
    """The sums of some rows, as the tallies have them."""
    rows = np.arange(len(truths)) if rows is None else np.asarray(rows, np.int64)
    sums = Sums({"scored": sign * len(rows)})
    sums.add(contributions(TASKS[kind], columns, np.asarray(truths)).sums(rows, sign))
    return sums


def expected_calibration_error(p: Any, hit: Any) -> float:
    """Naeini et al. 2015: the plain loop over bins."""
    total = 0.0
    for low in range(CALIBRATION_BINS):
        within = [
            i
            for i in range(len(p))
            if min(int(p[i] * CALIBRATION_BINS), CALIBRATION_BINS - 1) == low
        ]
        if within:
            gap = abs(np.mean([p[i] for i in within]) - np.mean([hit[i] for i in within]))
            total += gap * len(within) / len(p)
    return total


def precision_recall_f1(truth: Any, answer: Any, average: str) -> dict[str, float]:
    found = sk.precision_recall_fscore_support(truth, answer, average=average, zero_division=0)
    return dict(zip(("precision", "recall", "f1"), found, strict=False))


def binary(truth: Any, p: Any) -> dict[str, float]:
    """scikit-learn on scores that are rounded to the grid as ours are, where that matters."""
    truth, p = np.asarray(truth, bool), np.asarray(p, float)
    answer, rounded = p >= 0.5, score_of(bin_of(p))
    found = {
        "base_rate": truth.mean(),
        "accuracy": sk.accuracy_score(truth, answer),
        **precision_recall_f1(truth, answer, "binary"),
        "log_loss": sk.log_loss(truth, p, labels=[False, True]),
        "brier": sk.brier_score_loss(truth, p, pos_label=True),
        "calibration_error": expected_calibration_error(rounded, truth),
    }
    if len(set(truth.tolist())) == 2:
        found["roc_auc"] = sk.roc_auc_score(truth, rounded)
    return found


def multiclass(truth: Any, probabilities: Any) -> dict[str, float]:
    truth = np.array([CLASSES.index(name) for name in truth])
    answer = probabilities.argmax(axis=1)
    hot = np.eye(3)[truth]
    top = probabilities[np.arange(len(truth)), answer]
    rounded = score_of(bin_of(probabilities, CLASS_BINS), CLASS_BINS)
    found = {
        "accuracy": sk.accuracy_score(truth, answer),
        **precision_recall_f1(truth, answer, "macro"),
        "log_loss": sk.log_loss(truth, probabilities, labels=[0, 1, 2]),
        "brier": ((probabilities - hot) ** 2).sum(axis=1).mean(),
        "calibration_error": expected_calibration_error(
            score_of(bin_of(top, CLASS_BINS), CLASS_BINS), truth == answer
        ),
    }
    if set(truth.tolist()) == {0, 1, 2}:
        areas = [sk.roc_auc_score(truth == c, rounded[:, c]) for c in range(3)]
        found["roc_auc"] = float(np.mean(areas))
    return found


def regression(truth: Any, answer: Any) -> dict[str, float]:
    found = {
        "base_rate": float(np.mean(truth)),
        "mae": sk.mean_absolute_error(truth, answer),
        "rmse": math.sqrt(sk.mean_squared_error(truth, answer)),
    }
    if len(set(np.asarray(truth).tolist())) > 1:
        found["r2"] = sk.r2_score(truth, answer)
    return found


def reference(kind: str, truth: Any, said: Any) -> dict[str, float]:
    # Thousands of calls on a few rows each: scikit-learn takes longer to look at its arguments.
    quick = sklearn.config_context(assume_finite=True, skip_parameter_validation=True)
    with warnings.catch_warnings(), quick:
        warnings.simplefilter("ignore")
        if kind == "binary":
            return binary(truth, said)
        return multiclass(truth, said) if kind == "multiclass" else regression(truth, said)


def columns_of(kind: str, said: Any) -> Columns:
    """The answers as outcomes hold them."""
    n = len(said)
    if kind == "regression":
        return {"answer": Column(np.asarray(said, float))}
    if kind == "binary":
        p = np.asarray(said, float)
        return {"answer": Column(p >= 0.5), "probability": Column(p)}
    lists, answers = np.empty(n, object), np.empty(n, object)
    lists[:] = list(said)
    answers[:] = [CLASSES[k] for k in said.argmax(axis=1)]
    return {"answer": Column(answers), "probabilities": Column(lists)}


PROBABILITIES = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 0.5, 1e-9, 1 - 1e-9])
MODERATE = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))


@st.composite
def groups(draw: st.DrawFn, kind: str) -> tuple[Any, Any]:
    """Truths of a group of outcomes, and what the model had said."""
    n = draw(st.integers(1, 40))
    if kind == "binary":
        truth = draw(st.lists(st.booleans(), min_size=n, max_size=n))
        return np.array(truth), draw(st.lists(PROBABILITIES, min_size=n, max_size=n))
    if kind == "multiclass":
        names = np.array(draw(st.lists(st.sampled_from(CLASSES), min_size=n, max_size=n)), object)
        raw = draw(
            st.lists(st.lists(st.floats(1e-6, 1), min_size=3, max_size=3), min_size=n, max_size=n)
        )
        weights = np.array(raw)
        return names, weights / weights.sum(axis=1, keepdims=True)
    numbers = st.lists(MODERATE, min_size=n, max_size=n)
    return np.array(draw(numbers)), np.array(draw(numbers))


def assert_same(found: dict[str, float], wanted: dict[str, float], taken: float = 0.0) -> None:
    """The same but for rounding. taken: the most by which an answer that was taken back had erred,
    whose square leaves its rounding in the sum of squares."""
    assert set(found) <= set(wanted)
    for name, value in wanted.items():
        if name == "r2" and name not in found:
            continue  # the truths hardly differ: rounding would speak
        if name == "rmse":
            least = 1e-18 + 1e-14 * taken**2
            assert found[name] ** 2 == pytest.approx(value**2, rel=2e-6, abs=least), name
            continue
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("kind", sorted(TASKS))
def test_metrics_from_sums_are_those_of_scikit_learn(kind: str) -> None:
    @settings(deadline=None, max_examples=60)
    @given(groups(kind))
    def check_one(group: tuple[Any, Any]) -> None:
        truth, said = group
        sums = sums_of(kind, columns_of(kind, said), truth)
        check(TASKS[kind].kind, 3, sums)
        assert_same(measure(TASKS[kind].kind, 3, sums), reference(kind, truth, said))

    check_one()


@pytest.mark.parametrize("kind", sorted(TASKS))
def test_neither_order_nor_cuts_nor_what_was_taken_back_matter(kind: str) -> None:
    @settings(deadline=None, max_examples=40)
    @given(groups(kind), st.randoms(use_true_random=False))
    def check_one(group: tuple[Any, Any], random: Any) -> None:
        truth, said = group
        columns, n = columns_of(kind, said), len(truth)
        wrong = np.array([random.choice(truth.tolist()) for _ in range(n)], truth.dtype)
        changes = [(rows, truth, 1) for rows in np.array_split(np.arange(n), random.randint(1, 4))]
        taken = [i for i in range(n) if random.random() < 0.5]
        changes += [(taken, wrong, 1), (taken, wrong, -1)]
        random.shuffle(changes)
        total = Sums()
        for rows, truths, sign in changes:
            total.add(sums_of(kind, columns, truths, rows, sign))
        whole = sums_of(kind, columns, truth)
        assert total.cells == whole.cells
        assert {k: v for k, v in total.counts.items() if v} == {
            k: v for k, v in whole.counts.items() if v
        }
        erred = 0.0
        if kind == "regression":
            erred = max((abs(wrong[i] - said[i]) for i in taken), default=0.0)
        assert_same(measure(TASKS[kind].kind, 3, total), reference(kind, truth, said), erred)

    check_one()


@pytest.mark.parametrize("kind", sorted(TASKS))
def test_nothing_scored_is_nothing_told(kind: str) -> None:
    assert measure(TASKS[kind].kind, 3, Sums()) == {}
    assert measure(TASKS[kind].kind, 3, Sums({"predictions": 5, "outcomes": 2})) == {}


def test_one_class_alone_has_no_curve() -> None:
    found = measure("binary", 0, sums_of("binary", columns_of("binary", [0.9, 0.2]), [True] * 2))
    assert "roc_auc" not in found
    assert found["recall"] == 0.5
    said = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    truth = np.array(["a", "b"], object)
    found = measure("multiclass", 3, sums_of("multiclass", columns_of("multiclass", said), truth))
    assert "roc_auc" not in found
    assert found["accuracy"] == 1.0


def test_one_outcome_has_no_spread() -> None:
    found = measure("regression", 0, sums_of("regression", columns_of("regression", [1.0]), [2.0]))
    assert found == {"base_rate": 2.0, "mae": 1.0, "rmse": 1.0}


def test_a_spread_that_is_only_rounding_is_not_told_of() -> None:
    truth = np.full(1000, 1e9) + np.linspace(0, 1e-3, 1000)
    sums = sums_of("regression", columns_of("regression", truth + 1), truth)
    assert "r2" not in measure("regression", 0, sums)


def test_numbers_beyond_floats_are_left_out_and_do_not_raise() -> None:
    with np.errstate(over="ignore"):
        sums = sums_of("regression", columns_of("regression", [0.0, 1.0]), [1e200, -1e300])
        sums.add(sums_of("regression", columns_of("regression", [0.0]), [1e200], sign=-1))
    assert set(measure("regression", 0, sums)) <= {"base_rate", "mae"}


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(1e-4, 0.5))
def test_the_grids_auc_is_off_by_half_of_the_pairs_that_share_a_cell(
    seed: int, rate: float
) -> None:
    """The bound of the error: pairs in one cell count as ties, whatever they were."""
    draw = np.random.default_rng(seed)
    n = 300
    p = draw.beta(rate * 5, 5, n)
    truth = draw.random(n) < p
    truth[:2] = False, True
    exact = sk.roc_auc_score(truth, p)
    found = measure("binary", 0, sums_of("binary", columns_of("binary", p), truth))["roc_auc"]
    cells = bin_of(p)
    shared = (cells[truth][:, None] == cells[~truth][None, :]).mean()
    assert abs(found - exact) <= shared / 2 + 1e-12
    # And those are few: a cell is 1/128 wide in log-odds.
    if p.min() > 1e-6:
        assert shared < 0.05


@given(st.lists(st.floats(0, 1), min_size=1), st.sampled_from([BINS, CLASS_BINS]))
def test_cells_keep_the_order_and_the_value_of_scores(scores: list[float], bins: int) -> None:
    p = np.sort(np.array(scores))
    cells = bin_of(p, bins)
    assert ((cells >= 0) & (cells < bins)).all()
    assert (np.diff(cells) >= 0).all()
    # A probability moves by less than half a cell: at its steepest a quarter of that in odds.
    assert np.abs(score_of(cells, bins) - p).max() <= 32 / bins / 4 / 2 + 1e-7
    assert bin_of(score_of(cells, bins), bins).tolist() == cells.tolist()


def test_cells_that_are_not_on_the_grid_are_refused() -> None:
    for kind in ("binary", "multiclass", "regression"):
        # The estimates' cells come behind those of the outcomes.
        end = cells_of(kind, 3) + expected_cells_of(kind, 3)  # type: ignore[arg-type]
        for cell in (-1, end):
            with pytest.raises(ValueError, match=f"cell {cell} is not one of the {end}"):
                check(kind, 3, Sums(cells={cell: 1}))  # type: ignore[arg-type]
        if end:
            check(kind, 3, Sums(cells={0: 1, end - 1: 1}))  # type: ignore[arg-type]


def test_sums_that_cancel_leave_no_cell() -> None:
    sums = Sums({"a": 1}, {"x": 0.5}, {3: 2, 4: 1})
    sums.add(Sums({"a": -1}, {"x": -0.5}, {3: -2, 9: 1}))
    assert (sums.counts, sums.sums, sums.cells) == ({"a": 0}, {"x": 0.0}, {4: 1, 9: 1})
    assert sums.count("never") == 0
