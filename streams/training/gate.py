"""The gate: a cheap model of the inputs that the main model errs on.

It has one of two forms, and validation tells which finds errors better:

- ``errors``: a classifier of the errors, additive in the features;
- ``imitation`` (classifiers only): a small network foresees how sure the model can be
  (`streams.training.imitation`), and the errors say what its doubt is worth. A model errs near the
  boundary of its classes, whatever the features that bring an input there, and no sum of terms of
  the features can say where that is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from schemas.features import Category
from streams.doubts import doubts
from streams.task import Regression, Task
from streams.training.errors import FitError
from streams.training.fitting import answers, bare_version, fit, one_thread
from streams.version import Answers, Floats

Errors = npt.NDArray[np.bool_]

FOLDS = 5
MIN_ERRORS = 10
"""Errors, and right answers, below which there is nothing to learn a gate from."""
LARGEST = 0.9
"""A regression's errors above this quantile count as wrong where the task gives no bound."""
COVERAGES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
"""Shares admitted at which the risk is reported."""
RARE = 20
"""A category's names with fewer training rows than this share one weight."""


@dataclass(frozen=True, eq=False)
class Gate:
    """A trained gate, or the reason why there is none.

    threshold: defer where the score is at or above it. scale: of the ``imitation`` form,
    intercept and slope of the log odds of an error over those of a doubt.
    """

    estimator: Any | None = None
    threshold: float | None = None
    why_none: str = ""
    scale: tuple[float, float] | None = None

    @property
    def form(self) -> str:
        """``errors`` or ``imitation``."""
        return "errors" if self.scale is None else "imitation"

    def score(self, task: Task, frame: pd.DataFrame) -> Floats:
        """Its scores, as a version gives them."""
        return score(task, self.estimator, frame, self.scale)


def estimator(task: Task) -> Any:
    """The unfitted gate: a logistic regression that is additive in the features.

    On the demo's flights it ordered the newest errors better (AUC 0.645 against 0.622) than 30
    boosted trees of 8 leaves; being additive, it is served by one product of a matrix and a
    vector and a table look-up for each category (`streams.additive`).
    """
    numbers = [f.name for f in task.inputs if not isinstance(f, Category)]
    categories = [f.name for f in task.inputs if isinstance(f, Category)]
    steps: list[tuple[Any, list[str]]] = []
    if numbers:
        steps.append((make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), numbers))
    if categories:
        one_hot = OneHotEncoder(min_frequency=RARE, handle_unknown="infrequent_if_exist")
        steps.append((one_hot, categories))
    return make_pipeline(make_column_transformer(*steps), LogisticRegression(max_iter=500))


def train_gate(
    task: Task,
    frame: pd.DataFrame,
    errors: Errors,
    recent: pd.DataFrame,
    weight: Floats | None = None,
    recent_weight: Floats | None = None,
    network: Any | None = None,
) -> Gate:
    """Learn from ``errors``, the main model's on the rows of ``frame``, where it errs.

    ``recent``: inputs whose scores set the threshold, so that at most ``task.defer_budget`` of
    them are deferred. weight, recent_weight: how much the rows of both count; None: all the same.
    network: that imitates the main model, for the form that takes one.
    """
    wrongs = int(errors.sum())
    if task.defer_budget == 0:
        return Gate(why_none="the task's defer_budget is 0")
    if min(wrongs, len(errors) - wrongs) < MIN_ERRORS:
        return Gate(why_none=f"{wrongs} of {len(errors)} answers were wrong: too few of one kind")
    try:
        if network is None:
            made = Gate(fit(task, estimator(task), frame, errors, weight))
        else:
            made = Gate(network, scale=_worth(network, frame, errors, weight))
    except FitError as error:
        return Gate(why_none=str(error))
    scores = made.score(task, recent)
    if not np.isfinite(scores).all():
        return Gate(why_none="it gives scores that are not finite")
    return replace(made, threshold=threshold(scores, task.defer_budget, recent_weight))


def _worth(
    network: Any, frame: pd.DataFrame, errors: Errors, weight: Floats | None
) -> tuple[float, float]:
    """What a doubt is worth: log odds of an error = intercept + slope x log odds of the doubt
    (Platt 1999)."""
    with one_thread():
        seen = doubts(network.predict(frame))[:, None]
        if not np.isfinite(seen).all():
            raise FitError("the network's sums are not finite")
        fitted = LogisticRegression().fit(seen, errors, weight)
    if fitted.coef_[0, 0] <= 0:
        raise FitError("the model errs least where it is doubted most")
    return float(fitted.intercept_[0]), float(fitted.coef_[0, 0])


def score(
    task: Task,
    gate: Any,
    frame: pd.DataFrame,
    scale: tuple[float, float] | None = None,
) -> Floats:
    """The gate's scores, as a version gives them."""
    version = bare_version(task, _NoModel(task), gate, scale=scale)
    scores = version.gate_scores(frame)
    assert scores is not None
    return scores


def threshold(scores: Floats, budget: float, weight: Floats | None = None) -> float:
    """The lowest threshold at which at most ``budget`` of the scores are deferred, by weight.

    Equal scores are deferred together or not at all; where that leaves none, it is just above
    the highest score.
    """
    if weight is not None:
        values, group = np.unique(scores, return_inverse=True)
        from_here = np.cumsum(np.bincount(group, weight)[::-1])[::-1]
        few = from_here <= budget * from_here[0] + 1e-9
        return float(values[few][0]) if few.any() else float(np.nextafter(values[-1], np.inf))
    ordered = np.sort(scores)
    first = len(ordered) - int(budget * len(ordered) + 1e-9)
    if first < len(ordered) and (first == 0 or ordered[first - 1] < ordered[first]):
        return float(ordered[first])
    above = ordered[ordered > ordered[min(first, len(ordered) - 1)]]
    return float(above[0]) if len(above) else float(np.nextafter(ordered[-1], np.inf))


def risk(errors: Errors, scores: Floats, at: float, weight: Floats | None = None) -> dict[str, Any]:
    """How well scores tell errors apart, on rows that the gate was not trained on.

    auc: None where all answers were right or all wrong. coverage and risk: share of errors among
    the share of inputs with the lowest scores. weight: how much each row counts; None: the same.
    """
    deferred = scores >= at
    each = np.ones(len(errors)) if weight is None else weight
    curve = []
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(each[order]) / each.sum()
    for coverage in COVERAGES:
        count = round(coverage * len(order)) if weight is None else _reaching(reached, coverage)
        kept = order[: max(1, count)]
        curve.append({"coverage": coverage, "risk": _share(errors[kept], each[kept])})
    both = 0 < errors.sum() < len(errors)
    return {
        "auc": float(roc_auc_score(errors, scores, sample_weight=weight)) if both else None,
        "share_deferred": _share(deferred, each),
        "risk": _share(errors, each),
        "risk_admitted": _share(errors[~deferred], each[~deferred]),
        "risk_deferred": _share(errors[deferred], each[deferred]),
        "risk_by_coverage": curve,
    }


def _reaching(reached: Floats, share: float) -> int:
    """How many rows it takes until their weights reach a share."""
    return int(np.searchsorted(reached, share - 1e-9)) + 1


def _share(yes: Errors, each: Floats) -> float | None:
    """The share of those for whom it holds; None of nobody."""
    return float(each[yes].sum() / each.sum()) if len(each) else None


def out_of_fold(
    task: Task,
    candidate: Any,
    frame: pd.DataFrame,
    target: npt.NDArray[Any],
    weight: Floats | None = None,
    fitted: Callable[[int, Callable[[], Any]], Any] = lambda fold, fit: fit(),
) -> Answers:
    """The answer to each row by the candidate fitted on the other folds.

    Folds are stretches of time, so that a row is answered without its neighbours; where a
    stretch holds nearly all of a class, they are mixed. weight: how much each row counts; None: the
    same. fitted: gets a fold's number and what fits it, and gives the estimator. Raises FitError.
    """
    folds: Any = KFold(FOLDS)
    if task.kind != "regression":
        parts = [np.unique(target[rest], return_counts=True) for rest, _ in folds.split(target)]
        classes = len(np.unique(target))
        if any(len(names) < classes or counts.min() < FOLDS for names, counts in parts):
            folds = StratifiedKFold(FOLDS, shuffle=True, random_state=task.seed)
    pieces = []
    for fold, (rest, held) in enumerate(folds.split(np.empty(len(target)), target)):
        own = None if weight is None else weight[rest]
        others = frame.iloc[rest].reset_index(drop=True)
        model = fitted(fold, partial(fit, task, candidate, others, target[rest], own))
        pieces.append((held, answers(task, model, frame.iloc[held].reset_index(drop=True))))
    order = np.argsort(np.concatenate([held for held, _ in pieces]))
    joined = pieces[0][1]
    for _, given in pieces[1:]:
        joined = joined.join(given)
    return joined.take(order)


def wrong_beyond(
    task: Task, target: npt.NDArray[Any], held_out: Answers, weight: Floats | None = None
) -> float:
    """The error above which a regression's answer counts as wrong; 0 for the other kinds.

    weight: (n,), how much each row counts; None: all the same.
    """
    if not isinstance(task.target, Regression):
        return 0.0
    if task.target.wrong_beyond is not None:
        return task.target.wrong_beyond
    off = np.abs(held_out.answer - target)
    if weight is None:
        return float(np.quantile(off, LARGEST))
    return float(np.quantile(off, LARGEST, weights=weight, method="inverted_cdf"))


class _NoModel:
    """Stands where a version needs a model and only its gate is asked."""

    def __init__(self, task: Task) -> None:
        self.classes_ = [False, True] if task.kind == "binary" else task.classes
