"""Weights of labels: what they undo, what they leave alone, and that training keeps to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from streams.bundle import save_bundle
from streams.task import TaskError, Training
from streams.training.data import STANDS_FOR, WEAK, WORTH, prepare
from streams.training.errors import DataError, FitError
from streams.training.fitting import fit, weight_name
from streams.training.gate import risk, threshold
from streams.training.train import train
from streams.training.weights import Told, effective, stands_for
from tests.small_tasks import DIABETES, TUMOUR, WINE, diabetes_task, tumour_task, tumours, wine_task

NAN = float("nan")
ANSWERED = Training(truths_of="answered")


def told(**columns: list[Any]) -> Told:
    n = len(next(iter(columns.values())))
    nothing: dict[str, tuple[Any, Any]] = {
        "weak": (False, bool),
        "source": ("system", object),
        "propensity": (NAN, float),
        "held_back": (False, bool),
        "explored": (False, bool),
        "model_propensity": (NAN, float),
        "selection": (NAN, float),
    }
    return Told(
        **{
            name: np.array(columns.get(name, [default] * n), dtype)
            for name, (default, dtype) in nothing.items()
        }
    )


def test_where_every_request_gets_a_truth_the_gate_and_the_queue_hide_nothing() -> None:
    some = told(held_back=[True, True], explored=[True, False], selection=[NAN, 0.1])
    assert stands_for(Training(), some).tolist() == [1.0, 1.0]


def test_what_a_user_saw_stands_for_what_was_shown_less() -> None:
    seen = told(
        weak=[True, True, False, False],
        source=["signals", "signals", "user", "system"],
        propensity=[0.5, NAN, 0.25, 0.25],
    )
    assert stands_for(Training(), seen).tolist() == [2.0, 1.0, 4.0, 1.0]
    assert stands_for(Training(propensity=False), seen).tolist() == [1.0] * 4
    assert stands_for(Training(clip=3), seen).tolist() == [2.0, 1.0, 3.0, 1.0]


def test_explored_inputs_stand_for_what_the_gate_holds_back() -> None:
    some = told(
        held_back=[False, False, True],
        explored=[False, True, True],
        model_propensity=[1.0, 1.0, 0.05],
    )
    assert stands_for(ANSWERED, some).tolist() == [1.0, 1.0, 20.0]


def test_labelled_inputs_stand_for_what_the_gate_holds_back_or_for_everything() -> None:
    some = told(held_back=[True, True, False], selection=[1.0, 0.1, 0.1])
    assert stands_for(ANSWERED, some).tolist() == [1.0, 10.0, 1.0]
    assert stands_for(Training(truths_of="labelled"), some).tolist() == [1.0, 10.0, 10.0]


@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([0.05, 0.25]), st.floats(0.05, 1.0))
def test_two_samples_of_what_is_held_back_together_stand_for_it_once(
    explored: int, labelled: int, share: float, rate: float
) -> None:
    n = explored + labelled
    some = told(
        held_back=[True] * n,
        explored=[True] * explored + [False] * labelled,
        model_propensity=[share] * explored + [0.0] * labelled,
        selection=[NAN] * explored + [rate] * labelled,
    )
    weights = stands_for(ANSWERED, some)
    # Each sample alone would say how many were held back; together they say something in between.
    sizes = sorted([explored / share, labelled / rate])
    assert sizes[0] * (1 - 1e-9) <= weights.sum() <= sizes[1] * (1 + 1e-9)
    assert (weights > 0).all()


def test_a_total_by_weights_is_that_of_all_requests_in_the_mean() -> None:
    """People label all that seems valuable and a tenth of the rest; a twentieth is explored."""
    chance = np.random.default_rng(0)
    sums, n = [], 2_000
    x = chance.random(n)
    valuable = x > 0.8
    for _ in range(200):
        explored = chance.random(n) < 0.05
        chosen = valuable | (chance.random(n) < 0.1)
        known = explored | chosen
        some = told(
            held_back=[True] * int(known.sum()),
            explored=explored[known].tolist(),
            model_propensity=[0.05] * int(known.sum()),
            selection=np.where(chosen, np.where(valuable, 1.0, 0.1), NAN)[known].tolist(),
        )
        sums.append(float((stands_for(ANSWERED, some) * x[known]).sum()))
    error = np.std(sums) / len(sums) ** 0.5
    assert abs(np.mean(sums) - x.sum()) < 4 * error


def test_a_logged_probability_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0 to 1"):
        stands_for(Training(), told(weak=[True], propensity=[0.0]))


def test_rows_of_one_weight_say_as_much_as_they_are() -> None:
    assert effective(np.full(7, 0.3)) == pytest.approx(7)
    assert effective(np.array([1.0, 0.0])) == 1
    assert effective(np.zeros(0)) == 0


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ({"weak_labels": "where_missing"}, "there are no weak labels to learn from"),
        ({"weak_labels": "always"}, "weak_labels 'always' is 'never' or 'where_missing'"),
        ({"truths_of": "some"}, "truths_of 'some' is 'all' or 'answered' or 'labelled'"),
        ({"clip": 0.5}, "clip 0.5 is a number, 1 or more"),
        ({"gate_forms": ["trees"]}, "gate_forms .* is a list of 'errors' or 'imitation'"),
        ({"gate_forms": ["imitation"]}, "gate_forms has the form errors"),
        ({"truths_of": "answered", "clip": 10}, r"clip 10 is less than 1 / exploration \(50\)"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(policy: dict[str, Any], says: str) -> None:
    with pytest.raises(TaskError, match=says):
        tumour_task(training=Training(**policy), exploration=0.02)


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (LogisticRegression(), "sample_weight"),
        (
            make_pipeline(StandardScaler(), LogisticRegression()),
            "logisticregression__sample_weight",
        ),
        (Pipeline([("a", Pipeline([("b", LogisticRegression())]))]), "a__b__sample_weight"),
        (GridSearchCV(LogisticRegression(), {"C": [1, 2]}), "sample_weight"),
        (CalibratedClassifierCV(LogisticRegression()), "sample_weight"),
        (CalibratedClassifierCV(make_pipeline(StandardScaler(), LogisticRegression())), None),
        (KNeighborsClassifier(), None),
        (make_pipeline(StandardScaler(), KNeighborsClassifier()), None),
    ],
)
def test_the_weights_find_their_way_into_an_estimator(estimator: Any, name: str | None) -> None:
    assert weight_name(estimator) == name
    data = prepare(TUMOUR, tumours())
    frame = data.frame[["radius", "smooth"]]
    weight = np.where(np.arange(len(frame)) % 2, 1e-9, 1.0)
    if name is None:
        with pytest.raises(FitError, match=r"the rows have weights, and .* takes none"):
            fit(TUMOUR, estimator, frame, data.target, weight)
        return
    weighted = fit(TUMOUR, estimator, frame, data.target, weight).predict_proba(frame)
    plain = fit(TUMOUR, estimator, frame, data.target).predict_proba(frame)
    assert np.abs(weighted - plain).max() > 1e-4


def test_equal_weights_are_no_weights() -> None:
    table = tumours()
    same = prepare(TUMOUR, table.assign(**{STANDS_FOR: 3.0, WORTH: 1.0, WEAK: False}))
    assert same.id == prepare(TUMOUR, table).id
    assert (same.weight, same.worth, same.weak) == (None, None, None)


def weighted(table: pd.DataFrame) -> pd.DataFrame:
    """Large tumours are known of one in ten only; every seventh label is a weak one."""
    large = table["radius"] > 15
    weak = pd.Series(np.arange(len(table)) % 7 == 3)
    return table.assign(
        **{
            STANDS_FOR: np.where(large, 10.0, 1.0),
            WORTH: np.where(weak, 0.3, 1.0),
            WEAK: weak,
        }
    )


@pytest.mark.parametrize("column", [STANDS_FOR, WORTH, WEAK])
def test_another_weight_gives_another_data_set(column: str) -> None:
    table = weighted(tumours())
    other = table.copy()
    other.loc[10, column] = (not other.loc[10, column]) if column == WEAK else 0.7
    assert prepare(TUMOUR, other).id != prepare(TUMOUR, table).id


def test_the_parts_are_shares_of_the_true_labels_and_weak_ones_judge_nothing() -> None:
    data = prepare(TUMOUR, weighted(tumours()))
    assert data.weak is not None
    true = np.flatnonzero(~data.weak)
    assert data.train.stop == true[int(0.7 * len(true))]
    assert data.validation.stop == true[int(0.85 * len(true))]
    judged = [data.judged(part) for part in (data.train, data.validation, data.test)]
    assert (np.sum(judged, axis=0) == ~data.weak).all()


def test_too_few_true_labels_are_told_apart_from_weak_ones() -> None:
    table = tumours().head(100).assign(**{WEAK: np.arange(100) >= 50})
    with pytest.raises(DataError, match=r"50 rows with a true label \(and 50 weak ones\)"):
        prepare(TUMOUR, table)


@pytest.mark.parametrize("bad", [0.0, -1.0, NAN])
def test_a_weight_that_is_none_is_refused(bad: float) -> None:
    table = weighted(tumours())
    table.loc[5, STANDS_FOR] = bad
    with pytest.raises(DataError, match="not a number above 0"):
        prepare(TUMOUR, table)


def test_rows_are_drawn_as_often_as_they_stand_for_requests() -> None:
    data = prepare(TUMOUR, weighted(tumours()))
    assert data.weight is not None
    assert data.weak is not None
    drawn, rows = data.all_requests()
    assert isinstance(rows, np.ndarray)
    counts = np.bincount(rows, minlength=len(data))
    assert counts[data.weak].sum() == 0
    parts = (data.train, data.validation, data.test), (drawn.train, drawn.validation, drawn.test)
    for part, own in zip(*parts, strict=True):
        assert rows[own].tolist() == np.repeat(np.arange(len(data)), counts)[own].tolist()
        assert set(rows[own].tolist()) <= set(range(len(data))[part])
        true = data.judged(part)
        expected = data.weight[true] * true.sum() / data.weight[true].sum()
        assert np.abs(np.cumsum(counts[true]) - np.cumsum(expected)).max() <= 0.5 + 1e-6
    assert (np.diff(drawn.times_ms) >= 0).all()
    assert (drawn.weight, drawn.weak) == (None, None)


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.4]), st.floats(0.1, 9)), min_size=1),
    st.floats(0, 0.99),
)
def test_a_threshold_never_defers_more_weight_than_the_budget(
    rows: list[tuple[float, float]], budget: float
) -> None:
    scores, weight = (np.array(column) for column in zip(*rows, strict=True))
    at = threshold(scores, budget, weight)
    share = weight[scores >= at].sum() / weight.sum()
    assert share <= budget + 1e-6
    below = scores[scores < at]
    if len(below):  # one step lower would be too much
        assert weight[scores >= below.max()].sum() / weight.sum() > budget - 1e-6


def test_risk_by_weight_is_that_of_the_rows_repeated() -> None:
    chance = np.random.default_rng(0)
    errors, scores = chance.random(60) < 0.4, chance.random(60)
    times = chance.integers(1, 5, 60)
    by_weight = risk(errors, scores, 0.7, times.astype(float))
    repeated = risk(np.repeat(errors, times), np.repeat(scores, times), 0.7)
    for name in ("auc", "share_deferred", "risk", "risk_admitted", "risk_deferred"):
        assert by_weight[name] == pytest.approx(repeated[name])
    assert by_weight["risk_by_coverage"][0]["risk"] == pytest.approx(repeated["risk"])


QUICK = [
    tumour_task(candidates={"linear": TUMOUR.candidates["linear"]}),
    WINE,
    diabetes_task(candidates={"linear": DIABETES.candidates["linear"]}),
]


@pytest.mark.parametrize("task", QUICK, ids=lambda task: task.kind)
def test_the_same_weighted_rows_give_the_same_version(task: Any, tmp_path: Path) -> None:
    table = task.history()
    table = table.assign(
        **{STANDS_FOR: 1.0 + np.arange(len(table)) % 4, WEAK: np.arange(len(table)) % 6 == 0}
    )
    shuffled = table.sample(frac=1, random_state=1)
    one = save_bundle(tmp_path / "one", task, train(task, table, "a").contents, b"key")
    other = save_bundle(tmp_path / "other", task, train(task, shuffled, "b").contents, b"key")
    assert one.id == other.id
    assert one.manifest["files"] == other.manifest["files"]
    assert one.manifest["dataset"]["weak"] == int(table[WEAK].sum())
    assert one.manifest["dataset"]["effective_rows"] < len(table)
    plain = train(task, task.history(), "a").contents
    assert plain.id != one.id
    assert set(plain.dataset) == {"id", "rows", "from", "to"}


def test_each_candidate_is_tried_with_the_weights_and_without() -> None:
    contents = train(TUMOUR, weighted(tumours()), "a").contents
    selection = contents.extra["selection"]
    names = {"linear", "trees", "linear unweighted", "trees unweighted"}
    assert set(selection["validation"]) == names
    best = min(selection["validation"], key=selection["validation"].get)
    assert (contents.candidate, selection["weighted"]) == (best.split()[0], " " not in best)


def test_an_estimator_without_weights_is_tried_without_them_and_the_reason_is_told() -> None:
    neighbours = make_pipeline(StandardScaler(), KNeighborsClassifier(15))
    table = wine_task().history()  # type: ignore[misc]
    table = table.assign(**{STANDS_FOR: 1.0 + np.arange(len(table)) % 4})
    contents = train(wine_task(candidates={"near": neighbours}), table, "a").contents
    selection = contents.extra["selection"]
    assert set(selection["validation"]) == {"near unweighted"}
    assert (
        "takes none: use an estimator whose fit() has sample_weight" in selection["refused"]["near"]
    )
