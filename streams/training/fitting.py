"""Fitting estimators so that the same rows always give the same estimator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import threadpool_limits

from schemas.features import Category
from streams.task import Task
from streams.training.errors import FitError
from streams.version import Answers, Version


@contextmanager
def one_thread() -> Iterator[None]:
    """Numeric libraries use one thread: sums in one order, and cores left to serving."""
    with threadpool_limits(1):
        yield


def seeded(estimator: Any, seed: int) -> Any:
    """An unfitted copy whose every ``random_state`` that was None is ``seed``."""
    copy = clone(estimator)
    unset = {
        name: seed
        for name, value in copy.get_params(deep=True).items()
        if name.rpartition("__")[2] == "random_state" and value is None
    }
    return copy.set_params(**unset)


def fit(
    task: Task,
    estimator: Any,
    frame: pd.DataFrame,
    target: npt.NDArray[Any],
    weight: npt.NDArray[np.float64] | None = None,
) -> Any:
    """The estimator, fitted with the task's seed. Raises FitError with its reason.

    weight: (n,), how much each row counts. An estimator that takes no weights is refused then,
    as it would learn what the rows do not say.
    """
    by = {}
    if weight is not None:
        name = weight_name(estimator)
        if name is None:
            raise FitError(
                f"the rows have weights, and {type(estimator).__name__} takes none: use an "
                "estimator whose fit() has sample_weight (in a pipeline: the last step), or set "
                "Training(propensity=False)"
            )
        by = {name: weight}
    try:
        with one_thread():
            return seeded(estimator, task.seed).fit(frame, target, **by)
    except Exception as error:
        raise FitError(f"fitting failed: {type(error).__name__}: {error}") from error


def weight_name(estimator: Any) -> str | None:
    """How ``fit`` of an estimator calls the rows' weights; None where it takes none.

    ``sample_weight``; of a pipeline its last step's, ``<step>__sample_weight``; of a search that of
    what it searches for. One that only passes weights on to an estimator takes them if that does.
    """
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        inner = None if isinstance(last, str) or last is None else weight_name(last)
        return None if inner is None else f"{name}__{inner}"
    if isinstance(estimator, BaseSearchCV):
        return weight_name(estimator.estimator)
    if not has_fit_parameter(estimator, "sample_weight"):
        return None
    parameters = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
    inside = parameters.get("estimator")
    if hasattr(inside, "fit") and weight_name(inside) != "sample_weight":
        return None  # e.g. a calibrated pipeline: scikit-learn would leave the weights out
    return "sample_weight"


def answers(
    task: Task, model: Any, frame: pd.DataFrame, calibration: Mapping[str, Any] | None = None
) -> Answers:
    """A fitted estimator's answers, by the rules of serving. Raises FitError if it has none.

    calibration: what sets its probabilities right, as a manifest has it.
    """
    try:
        with one_thread():
            given = bare_version(task, model, calibration=calibration).predict(frame)
    except Exception as error:
        raise FitError(f"predicting failed: {type(error).__name__}: {error}") from error
    numbers = given.answer if given.probability is None else given.probability
    if not np.isfinite(np.asarray(numbers, float)).all():
        raise FitError("it answers with numbers that are not finite")
    return given


def bare_version(
    task: Task,
    model: Any,
    gate: Any | None = None,
    samples: pd.DataFrame | None = None,
    calibration: Mapping[str, Any] | None = None,
    scale: tuple[float, float] | None = None,
) -> Version:
    """Fitted estimators as a version without a bundle. scale: of a gate that imitates."""
    manifest = {
        "id": "",
        "dataset": {"id": ""},
        "vocabularies": {},
        "decision_threshold": 0.5,
        "calibration": calibration,
        "gate": {"threshold": None, "scale": scale},
    }
    return Version(task, manifest, model, gate, samples=samples)


def check_answers_all(task: Task, model: Any, frame: pd.DataFrame) -> None:
    """Refuse an estimator that fails on inputs which serving lets through.

    Each feature that may be null is tried as null, and each category with every name of its
    vocabulary and with one that training never met. Raises FitError naming the feature.
    """
    for feature in task.inputs:
        if isinstance(feature, Category):
            known = frame[feature.name].cat
            codes = np.arange(len(known.categories))
            if feature.values is None or feature.nullable:
                codes = np.append(codes, -1)
            probe = frame.iloc[np.zeros(len(codes), int)].reset_index(drop=True)
            probe[feature.name] = pd.Categorical.from_codes(codes, categories=known.categories)
        elif feature.nullable:
            probe = frame.head(1).copy()
            probe[feature.name] = np.nan
        else:
            continue
        try:
            answers(task, model, probe)
        except FitError as error:
            what = "null" if not isinstance(feature, Category) else "null, rare or unknown"
            raise FitError(
                f"it cannot answer an input whose {feature.name} is {what}, which the task "
                f"allows: {error}; impute it, or encode with handle_unknown"
            ) from error
