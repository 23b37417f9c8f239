"""What can be saved is told before anything is trained, and never told wrongly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from river import compose, linear_model, preprocessing
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from services.demo.flight_delay import FlightDelay
from streams import skops_files
from streams.continual.policy import Continual
from streams.skops_files import UnsafeFile
from streams.task import Category, Integer, Number, Task
from streams.training.data import prepare
from streams.training.fitting import fit
from streams.training.savable import example_rows, unsavable
from tests.small_tasks import DIABETES, SCALED, TUMOUR, WINE, tumour_task, tumours

NUMBERS = ["radius", "texture", "smooth"]


class Own(BaseEstimator, TransformerMixin):  # type: ignore[misc]
    """A transformer of one's own: no bundle may hold its type."""

    def fit(self, rows: Any, target: Any = None) -> Own:
        self.fitted_ = True
        return self

    def transform(self, rows: Any) -> Any:
        return np.asarray(rows)


class KeepsOwn(BaseEstimator, TransformerMixin):  # type: ignore[misc]
    """What it holds of its own shows only when it is fitted."""

    def fit(self, rows: Any, target: Any = None) -> KeepsOwn:
        self.fitted_ = Own()
        return self

    def transform(self, rows: Any) -> Any:
        return np.asarray(rows)


class Needs(BaseEstimator, TransformerMixin):  # type: ignore[misc]
    """Cannot be fitted on few rows, and cannot be saved."""

    def fit(self, rows: Any, target: Any = None) -> Needs:
        if len(rows) < 200:
            raise ValueError("too few")
        return self

    def transform(self, rows: Any) -> Any:
        return np.asarray(rows)


def on_numbers(*steps: Any, model: Any = None) -> Any:
    columns = make_column_transformer((make_pipeline(SCALED, *steps), NUMBERS))
    return make_pipeline(columns, LogisticRegression() if model is None else model)


ESTIMATORS = {
    "plain": on_numbers(),
    "one hot": make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["shape"])),
        LogisticRegression(),
    ),
    "forest": on_numbers(model=RandomForestClassifier(20, n_jobs=2)),
    "neighbours": on_numbers(model=KNeighborsClassifier(100)),  # more than there are made-up rows
    "search": on_numbers(model=GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=3)),
    "calibrated": CalibratedClassifierCV(on_numbers(), cv=3),
    "voting": VotingClassifier([("a", on_numbers()), ("b", on_numbers())], voting="soft"),
    "best": on_numbers(SelectKBest(k=2)),
    "logarithm": on_numbers(FunctionTransformer(np.abs)),
    "own": on_numbers(Own()),
    "own when fitted": on_numbers(KeepsOwn()),
    "own, not to be fitted on few rows": on_numbers(Needs()),
    "own in a search": GridSearchCV(on_numbers(Own()), {"logisticregression__C": [1]}, cv=3),
    "lambda": on_numbers(FunctionTransformer(lambda rows: rows)),
}

SAVED = {"plain", "one hot", "forest", "neighbours", "calibrated", "voting", "logarithm"}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_it_is_told_of_exactly_what_a_training_could_not_save(name: str) -> None:
    task = tumour_task(candidates={"one": ESTIMATORS[name]})
    data = prepare(TUMOUR, tumours())
    try:
        model = fit(task, ESTIMATORS[name], data.frame, data.target)
        skops_files.load(skops_files.dump(model))
        saved = True
    except UnsafeFile:
        saved = False
    assert (unsavable(task) == []) == saved
    assert saved == (name in SAVED)


def test_every_candidate_that_cannot_be_saved_is_named_with_its_types() -> None:
    task = tumour_task(
        candidates={"a": on_numbers(Own()), "b": on_numbers(), "c": on_numbers(KeepsOwn())}
    )
    first, second = unsavable(task)
    assert first.startswith("candidate 'a': no version of it could be saved: Pipeline holds types")
    assert f"{Own.__module__}.Own" in first
    assert second.startswith("candidate 'c'")


def test_a_baseline_is_saved_nowhere_and_may_be_anything() -> None:
    assert unsavable(tumour_task(baseline=on_numbers(Own()))) == []


def test_a_learner_is_written_as_it_is_when_it_has_learned() -> None:
    learner = compose.Pipeline(
        (compose.SelectType(str) | preprocessing.OneHotEncoder())
        + (compose.SelectType(float) | preprocessing.StandardScaler()),
        linear_model.LogisticRegression(),
    )
    assert unsavable(tumour_task(continual=Continual(learner=learner))) == []


@pytest.mark.parametrize("task", [FlightDelay, TUMOUR, WINE, DIABETES], ids=lambda task: task.name)
def test_what_the_known_tasks_train_can_be_saved(task: Task) -> None:
    assert unsavable(task) == []


def test_example_rows_are_within_the_declared_ranges() -> None:
    features = [
        Number("below", high=-5),
        Number("above", low=1000, nullable=True),
        Number("wide", low=-1.7e308, high=1.7e308),
        Integer("whole", low=1, high=7),
        Category("named", values=["x", "y"]),
        Category("any", nullable=True),
    ]
    frame, _ = example_rows(
        tumour_task(features=features, candidates={"a": on_numbers()}, segments=[])
    )
    assert (frame["below"] <= -5).all()
    assert np.isfinite(frame["wide"]).all()
    assert set(frame["whole"]) <= set(range(1, 8))
    assert frame["above"].isna().any()
    assert (frame["above"].dropna() >= 1000).all()
    assert set(frame["named"].cat.categories) == {"x", "y"}
    assert frame["any"].isna().any()
    assert len(frame["any"].cat.categories) > 1
