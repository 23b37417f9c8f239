"""Probabilities are set right where that clearly helps, and served as they were judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from streams.bundle import load_bundle, save_bundle
from streams.calibration import METHODS, Calibrator
from streams.declaration import json_text
from streams.task import Binary, Calibration, MultiClass, Number, Task, TaskError, Training
from streams.training.calibrating import Calibrated, calibrate
from streams.training.candidates import candidates, choose
from streams.training.data import STANDS_FOR, prepare
from streams.training.held_out import held_out, rehearsed
from streams.training.metrics import loss
from streams.training.run import UNWATCHED
from streams.training.train import train
from tests.small_tasks import diabetes_task, patients, timed, tumour_task

NAMES = ["a", "b", "c", "d"]
CLASSES = ["z", "x", "y"]


def rows(kind: str, n: int = 3000) -> pd.DataFrame:
    """One number that tells something, four times over: naive Bayes counts it as four."""
    chance = np.random.default_rng(1)
    said = chance.normal(size=n)
    table = pd.DataFrame({name: said + chance.normal(0, 0.01, n) for name in NAMES})
    odds = said + chance.logistic(size=n)
    table["label"] = (
        odds > 0 if kind == "binary" else np.select([odds > 1, odds > -1], ["x", "y"], "z")
    )
    return timed(table)


def task_of(kind: str, estimator: Any, **training: Any) -> Task:
    return Task(
        name="calm",
        features=[Number(name) for name in NAMES],
        target=Binary("label") if kind == "binary" else MultiClass("label", classes=CLASSES),
        candidates={"only": estimator},
        fallback=False if kind == "binary" else "x",
        defer_budget=0.0,
        training=Training(**training),
    )


BASE = {"of": "test"}


def calibrated(task: Task, table: pd.DataFrame) -> tuple[Calibrated, float, float]:
    """What calibration gives, and the loss on test without it and with it."""
    data = prepare(task, table)
    choice = choose(task, data, candidates(task, {}, None), BASE, UNWATCHED, (0, 1))
    tested = rehearsed(task, data, choice, BASE, UNWATCHED)
    held = held_out(task, data, choice, tested, BASE, UNWATCHED, (0, 1))
    found = calibrate(task, data, choice, held)
    truth = data.target[data.test]
    before, after = (loss(task, truth, h.answers.take(data.test)) for h in (held, found.held))
    return found, before, after


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
@pytest.mark.parametrize("method", METHODS)
def test_an_estimator_that_is_too_sure_is_set_right(kind: str, method: str) -> None:
    policy = Calibration(methods=[method], rows=300, isotonic_rows=300)
    found, before, after = calibrated(task_of(kind, GaussianNB(), calibration=policy), rows(kind))
    assert found.facts["kept"] == method
    assert after < before - 0.05
    assert Calibrator.of(found.choice.calibration) == found.choice.calibrator
    json_text(found.facts)


def test_the_method_that_helps_most_is_kept() -> None:
    found, *_ = calibrated(task_of("binary", GaussianNB()), rows("binary", 4000))
    tried = found.facts["differences"]
    assert set(tried) == {"temperature", "sigmoid"}  # too few rows for steps
    assert found.facts["kept"] == min(tried, key=tried.get)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_an_estimator_that_is_right_stays_as_it_is(kind: str) -> None:
    policy = Calibration(rows=300, isotonic_rows=300)
    task = task_of(kind, LogisticRegression(), calibration=policy)
    found, before, after = calibrated(task, rows(kind))
    assert found.facts["kept"] is None
    assert found.choice.calibration is None
    assert before == after


def test_few_rows_calibrate_nothing() -> None:
    found, *_ = calibrated(task_of("binary", GaussianNB()), rows("binary", 900))
    assert found.facts == {"kept": None, "why": "126 rows are too few"}


def test_rows_count_by_their_weights() -> None:
    table, many = rows("binary"), np.arange(3000) % 2 == 0
    # Those that stand for ten are told by chance: of all requests less is known.
    table["label"] = np.where(many, np.random.default_rng(2).random(3000) < 0.5, table["label"])
    policy = Calibration(methods=["temperature"], rows=300)
    task = task_of("binary", GaussianNB(), calibration=policy)
    weighted = table.assign(**{STANDS_FOR: np.where(many, 10.0, 1.0)})
    slopes = [calibrated(task, one)[0].facts["how"]["slope"][0] for one in (weighted, table)]
    assert slopes[0] < slopes[1]


def test_a_regression_has_no_probabilities_to_set_right() -> None:
    found, before, after = calibrated(
        diabetes_task(candidates={"linear": diabetes_task().candidates["linear"]}), patients()
    )
    assert (found.facts, before) == ({}, after)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_a_bundle_answers_with_the_probabilities_that_were_judged(
    kind: str, tmp_path: Path
) -> None:
    policy = Calibration(methods=["sigmoid"], rows=300)
    task = task_of(kind, GaussianNB(), calibration=policy)
    trained = train(task, rows(kind), "a")
    info = save_bundle(tmp_path, task, trained.contents, b"key")
    version = load_bundle(info.folder, task, b"key")
    assert version.calibrator is not None
    assert info.manifest["calibration"] == version.calibrator.plain()
    assert info.manifest["calibrated"]["kept"] == "sigmoid"
    data = prepare(task, rows(kind))
    given = version.predict(data.frame)
    raw = trained.contents.model.predict_proba(data.frame)
    if kind == "binary":
        assert given.probability is not None
        assert np.allclose(given.probability, version.calibrator(raw[:, 1]), atol=1e-9)
        assert (given.answer == (given.probability >= 0.5)).all()
    else:
        assert given.probabilities is not None
        order = [sorted(CLASSES).index(name) for name in CLASSES]
        assert np.allclose(given.probabilities, version.calibrator(raw[:, order]), atol=1e-9)
        assert given.answer.tolist() == [CLASSES[k] for k in given.probabilities.argmax(axis=1)]


PROBABILITY = st.floats(0, 1)
CALIBRATORS = st.one_of(
    st.builds(lambda s: Calibrator("temperature", [s]), st.floats(0.05, 20)),
    st.builds(
        lambda s, i: Calibrator("sigmoid", [s] * 3, [i] * 3), st.floats(0.05, 20), st.floats(-5, 5)
    ),
    st.builds(
        lambda x, y: Calibrator("isotonic", x=[sorted(x)] * 3, y=[sorted(y)] * 3),
        st.lists(PROBABILITY, min_size=4, max_size=4, unique=True),
        st.lists(st.floats(0.001, 0.999), min_size=4, max_size=4),
    ),
)


@given(CALIBRATORS, arrays(np.float64, st.integers(1, 20), elements=PROBABILITY))
def test_probabilities_stay_such_and_keep_their_order(
    calibrator: Calibrator, given_: npt.NDArray[np.float64]
) -> None:
    right = calibrator(given_)
    assert ((right >= 0) & (right <= 1)).all()
    assert (np.diff(right[np.argsort(given_, kind="stable")]) >= 0).all()
    assert Calibrator.of(calibrator.plain()) == calibrator


@settings(max_examples=50)
@given(CALIBRATORS, arrays(np.float64, (5, 3), elements=st.floats(0.001, 1)))
def test_probabilities_of_classes_sum_to_one(
    calibrator: Calibrator, given_: npt.NDArray[np.float64]
) -> None:
    right = calibrator(given_ / given_.sum(axis=1, keepdims=True))
    assert ((right >= 0) & (right <= 1)).all()
    assert np.allclose(right.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"methods": ["magic"]}, "'magic' is not one of"),
        ({"rows": 0}, "rows 0"),
        ({"error": 1}, "error"),
    ],
)
def test_a_calibration_that_cannot_be_is_told_at_the_start(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(TaskError, match=says):
        tumour_task(training=Training(calibration=Calibration(**changes)))
