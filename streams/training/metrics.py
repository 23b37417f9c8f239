"""How good answers are: the measures that training compares and reports."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics

from schemas.records import Kind
from streams.task import Task
from streams.version import Answers

Floats = npt.NDArray[np.float64]

LOSS: dict[Kind, str] = {"binary": "log_loss", "multiclass": "log_loss", "regression": "mae"}
"""The measure that candidates and the champion are compared by; less is better."""

CALIBRATION_BINS = 10
"""Equally wide bins of probability for the calibration error."""


def loss(
    task: Task, truth: npt.NDArray[Any], answers: Answers, weight: Floats | None = None
) -> float:
    """Log loss (binary, multi-class) or mean absolute error (regression).

    weight: (n,), how much each row counts; None: all the same.
    """
    by: dict[str, Any] = {"sample_weight": weight}
    if task.kind == "regression":
        return float(metrics.mean_absolute_error(truth, answers.answer, **by))
    if task.kind == "binary":
        return float(metrics.log_loss(truth, answers.probability, labels=[False, True], **by))
    # scikit-learn orders the classes by name.
    names = np.array(task.classes, object)
    by_name = np.argsort(names)
    assert answers.probabilities is not None
    by["labels"] = names[by_name].tolist()
    return float(metrics.log_loss(truth, answers.probabilities[:, by_name], **by))


def losses(task: Task, truth: npt.NDArray[Any], answers: Answers) -> Floats:
    """What each answer adds to `loss`, (n,), which is their mean."""
    if task.kind == "regression":
        found: Floats = np.abs(answers.answer - truth)
        return found
    if task.kind == "binary":
        assert answers.probability is not None
        right = np.where(truth, answers.probability, 1 - answers.probability)
    else:
        assert answers.probabilities is not None
        place = {name: at for at, name in enumerate(task.classes)}
        columns = np.array([place[name] for name in truth], np.intp)
        right = answers.probabilities[np.arange(len(truth)), columns]
    least = np.finfo(np.float64).eps  # scikit-learn's bound: a certainty that errs costs 36 nats
    nats: Floats = -np.log(np.clip(right, least, 1 - least))
    return nats


def wrong(task: Task, truth: npt.NDArray[Any], answers: Answers, beyond: float) -> Any:
    """Which answers count as errors, (n,) bool; ``beyond`` is for a regression only."""
    if task.kind == "regression":
        return np.abs(answers.answer - truth) > beyond
    return answers.answer != truth


def scores(
    task: Task, truth: npt.NDArray[Any], answers: Answers, weight: Floats | None = None
) -> dict[str, float]:
    """All measures of the task's kind by name; those that the rows do not define are left out.

    weight: (n,), how much each row counts; None: all the same.
    """
    by: dict[str, Any] = {"sample_weight": weight}
    if len(truth) == 0:
        return {}
    if task.kind == "regression":
        found = {
            "mae": metrics.mean_absolute_error(truth, answers.answer, **by),
            "rmse": metrics.root_mean_squared_error(truth, answers.answer, **by),
        }
        if len(truth) > 1:
            found["r2"] = metrics.r2_score(truth, answers.answer, **by)
        return {name: float(value) for name, value in found.items()}
    found = {
        "log_loss": loss(task, truth, answers, weight),
        "accuracy": metrics.accuracy_score(truth, answers.answer, **by),
    }
    if task.kind == "binary":
        probability = answers.probability
        assert probability is not None
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            truth, answers.answer, average="binary", zero_division=0.0, **by
        )
        found |= {"precision": precision, "recall": recall, "f1": f1}
        found["brier"] = float(np.average((probability - truth) ** 2, weights=weight))
        found["calibration_error"] = calibration_error(truth, probability, weight)
        if 0 < truth.sum() < len(truth):
            found["roc_auc"] = metrics.roc_auc_score(truth, probability, **by)
    else:
        found["f1_macro"] = metrics.f1_score(
            truth, answers.answer, average="macro", zero_division=0.0, **by
        )
    return {name: float(value) for name, value in found.items()}


def calibration_error(
    truth: npt.NDArray[np.bool_], probability: Floats, weight: Floats | None = None
) -> float:
    """Expected calibration error: mean distance of probability and share of true, over bins."""
    bins = np.minimum((probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    away = probability - truth
    total = float(len(truth)) if weight is None else float(weight.sum())
    gaps = np.bincount(bins, away if weight is None else weight * away, CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / total)
