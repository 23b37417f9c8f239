"""Model versions of the small tasks, trained on a hundred rows: real estimators, no bundle."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from streams.frame import columns_of, frame
from streams.task import Task
from streams.version import Version

VOCABULARIES = {"colour": ["red", "green", "blue"], "shop": ["x", "y"]}


@lru_cache
def _data(n: int = 120) -> pd.DataFrame:
    draw = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "size": draw.uniform(0, 100, n),
            "age": draw.integers(0, 90, n).astype(float),
            "fresh": draw.integers(0, 2, n).astype(bool),
            "colour": draw.choice(VOCABULARIES["colour"], n),
            "shop": draw.choice(VOCABULARIES["shop"], n),
        }
    )


def truth_of(kind: str, size: float) -> Any:
    """What the models learn: all hangs on the size."""
    if kind == "binary":
        return size > 50
    if kind == "multiclass":
        return "abc"[min(int(size // 34), 2)]
    return size * 2


def model_of(task: Task) -> Any:
    table = _data()
    x = frame(task, columns_of(task.features, table), VOCABULARIES)
    y = [truth_of(task.kind, size) for size in table["size"]]
    make = (
        HistGradientBoostingRegressor
        if task.kind == "regression"
        else HistGradientBoostingClassifier
    )
    return make(
        max_iter=20, min_samples_leaf=5, categorical_features="from_dtype", random_state=0
    ).fit(x, y)


def gate_of(task: Task) -> Any:
    """Doubts inputs of a size above 80."""
    table = _data()
    x = frame(task, columns_of(task.features, table), VOCABULARIES)
    pipeline = make_pipeline(
        make_column_transformer(("passthrough", ["size"])), LogisticRegression(C=100)
    )
    return pipeline.fit(x, table["size"].to_numpy() > 80)


def version_of(
    task: Task, *, gated: bool = True, model: Any = None, gate: Any = None, id_: str = "v1"
) -> Version:
    gate = (gate or gate_of(task)) if gated else None
    manifest = {
        "id": id_,
        "dataset": {"id": "data-1"},
        "vocabularies": VOCABULARIES,
        "decision_threshold": 0.5,
        "gate": {"threshold": 0.5} if gated else None,
    }
    return Version(task, manifest, model or model_of(task), gate)


class Odd(BaseEstimator, ClassifierMixin):  # type: ignore[misc]
    """A classifier that answers NaN, or something else, for sizes above a limit."""

    def __init__(
        self, classes: Any = (False, True), above: float = 50.0, gives: float = np.nan
    ) -> None:
        self.classes_ = np.array(classes, object if isinstance(classes[0], str) else None)
        self.above = above
        self.gives = gives

    def predict_proba(self, x: pd.DataFrame) -> np.ndarray:
        k = len(self.classes_)
        found = np.full((len(x), k), 1 / k)
        found[x["size"].to_numpy() > self.above] = self.gives
        return found


class OddRegressor(BaseEstimator, RegressorMixin):  # type: ignore[misc]
    """A regression that answers infinity for sizes above 50."""

    def predict(self, x: pd.DataFrame) -> np.ndarray:
        return np.where(x["size"] > 50, np.inf, 1.5)


class Raises(BaseEstimator, ClassifierMixin):  # type: ignore[misc]
    """An estimator that was trained on other columns, say."""

    def __init__(self, classes: Any = (False, True)) -> None:
        self.classes_ = np.array(classes, object if isinstance(classes[0], str) else None)

    def predict_proba(self, x: pd.DataFrame) -> np.ndarray:
        raise ValueError("columns are missing: {'height'}")

    predict = predict_proba


class TooFew(Raises):
    """An estimator that gives one answer whatever it is asked."""

    def predict_proba(self, x: pd.DataFrame) -> np.ndarray:
        return np.full((1, len(self.classes_)), 0.25)

    def predict(self, x: pd.DataFrame) -> np.ndarray:
        return np.ones(len(x))
