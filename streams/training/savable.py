"""Whether a task's candidates can be saved as a bundle: asked before anything runs.

What an estimator's file would hold is known for certain when it is fitted. So each candidate is
fitted on a few made-up rows, with few iterations, written and read as a bundle's model is. Where
that fit fails nothing is known of the fitted one: it is judged as it is declared.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import clone

from schemas.features import Boolean, Category, Feature, Integer
from streams import skops_files
from streams.continual.learner import Learner, without_plans
from streams.skops_files import UnsafeFile
from streams.task import Task
from streams.training.errors import FitError
from streams.training.fitting import fit

ROWS = 60
WIDEST = 1e9
"""Of a range that is wider only the first part is drawn from: a difference may be no number."""
FEW = 5
"""Trees, iterations or tries of a search: what types a model is made of does not depend on it."""
_AMOUNTS = ("n_estimators", "max_iter", "n_iter")


def unsavable(task: Task) -> list[str]:
    """Return a problem for each candidate, and the learner, of which no version could be saved."""
    frame, target = example_rows(task)
    found = []
    for name, estimator in task.candidates.items():
        why = _refusal(task, estimator, frame, target)
        if why:
            found.append(f"candidate {name!r}: no version of it could be saved: {why}")
    if task.continual is not None:
        why = _refusal_of_learner(task, frame, target)
        if why:
            found.append(f"continual: no version of the learner could be saved: {why}")
    return found


def example_rows(task: Task) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
    """Return made-up rows as training would get them: features in their ranges, all classes."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({feature.name: _values(feature, random) for feature in task.inputs})
    turns = np.arange(ROWS)
    if task.kind == "binary":
        return frame, turns % 2 == 0
    if task.kind == "regression":
        return frame, random.normal(size=ROWS)
    return frame, np.array(task.classes, object)[turns % len(task.classes)]


def _values(feature: Feature, random: np.random.Generator) -> Any:
    missing = feature.nullable & (np.arange(ROWS) % 8 == 7)
    if isinstance(feature, Category):
        names = sorted(feature.values or ("a", "b", "c"))
        codes = random.integers(len(names), size=ROWS)
        codes[missing] = -1
        return pd.Categorical.from_codes(codes, categories=pd.Index(names))
    if isinstance(feature, Boolean):
        values = random.integers(2, size=ROWS).astype(np.float64)
    else:
        low, high = getattr(feature, "low", None), getattr(feature, "high", None)
        begin = low if low is not None else min(0.0, high - 1 if high is not None else 0.0)
        end = high if high is not None else max(begin + 1, 1.0)
        values = random.uniform(begin, min(end, begin + WIDEST), ROWS)
        if isinstance(feature, Integer):
            values = np.floor(values)
    return np.where(missing, np.nan, values)


def _refusal(task: Task, estimator: Any, frame: pd.DataFrame, target: npt.NDArray[Any]) -> str:
    """Why a fitted one cannot be written and read; empty where it can, or where nobody knows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few iterations do not converge
        with contextlib.suppress(FitError):  # on rows like these: the task's own may be others
            estimator = fit(task, _quick(estimator), frame, target)
        return _unsafe(estimator)


def _refusal_of_learner(task: Task, frame: pd.DataFrame, target: npt.NDArray[Any]) -> str:
    learner = Learner(task)
    try:
        learner.learn(frame, target, np.zeros(ROWS, np.int64))
    except Exception:
        return ""  # as it is declared it can be written: the declaration has seen to that
    return _unsafe(without_plans(learner.model))


def _quick(estimator: Any) -> Any:
    """An unfitted copy that is fitted in a moment; itself where it cannot be copied."""
    try:
        copy = clone(estimator)
        changes: dict[str, Any] = {}
        for name, value in copy.get_params(deep=True).items():
            last = name.rpartition("__")[2]
            if last in _AMOUNTS and isinstance(value, int) and value > FEW:
                changes[name] = FEW
            elif last == "n_jobs" and value is not None:
                changes[name] = None
        return copy.set_params(**changes)
    except Exception:
        return estimator


def _unsafe(estimator: Any) -> str:
    try:
        skops_files.load(skops_files.dump(estimator))
    except UnsafeFile as error:
        return str(error)
    return ""
