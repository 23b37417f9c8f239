"""How good answers are: the measures that training compares and reports."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics

from schemas.records import Kind
from streams.task import Task
from streams.version import Answers

LOSS: dict[Kind, str] = {"binary": "log_loss", "multiclass": "log_loss", "regression": "mae"}
"""The measure that candidates and the champion are compared by; less is better."""

CALIBRATION_BINS = 10
"""Equally wide bins of probability for the calibration error."""


def loss(task: Task, truth: npt.NDArray[Any], answers: Answers) -> float:
    """Log loss (binary, multi-class) or mean absolute error (regression)."""
    if task.kind == "regression":
        return float(metrics.mean_absolute_error(truth, answers.answer))
    if task.kind == "binary":
        return float(metrics.log_loss(truth, answers.probability, labels=[False, True]))
    # scikit-learn orders the classes by name.
    names = np.array(task.classes, object)
    by_name = np.argsort(names)
    assert answers.probabilities is not None
    return float(
        metrics.log_loss(truth, answers.probabilities[:, by_name], labels=names[by_name].tolist())
    )


def wrong(task: Task, truth: npt.NDArray[Any], answers: Answers, beyond: float) -> Any:
    """Which answers count as errors, (n,) bool; ``beyond`` is for a regression only."""
    if task.kind == "regression":
        return np.abs(answers.answer - truth) > beyond
    return answers.answer != truth


def scores(task: Task, truth: npt.NDArray[Any], answers: Answers) -> dict[str, float]:
    """All measures of the task's kind by name; those that the rows do not define are left out."""
    if len(truth) == 0:
        return {}
    if task.kind == "regression":
        found = {
            "mae": metrics.mean_absolute_error(truth, answers.answer),
            "rmse": metrics.root_mean_squared_error(truth, answers.answer),
        }
        if len(truth) > 1:
            found["r2"] = metrics.r2_score(truth, answers.answer)
        return {name: float(value) for name, value in found.items()}
    found = {
        "log_loss": loss(task, truth, answers),
        "accuracy": metrics.accuracy_score(truth, answers.answer),
    }
    if task.kind == "binary":
        probability = answers.probability
        assert probability is not None
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            truth, answers.answer, average="binary", zero_division=0.0
        )
        found |= {"precision": precision, "recall": recall, "f1": f1}
        found["brier"] = float(np.mean((probability - truth) ** 2))
        found["calibration_error"] = calibration_error(truth, probability)
        if 0 < truth.sum() < len(truth):
            found["roc_auc"] = metrics.roc_auc_score(truth, probability)
    else:
        found["f1_macro"] = metrics.f1_score(
            truth, answers.answer, average="macro", zero_division=0.0
        )
    return {name: float(value) for name, value in found.items()}


def calibration_error(truth: npt.NDArray[np.bool_], probability: npt.NDArray[np.float64]) -> float:
    """Expected calibration error: mean distance of probability and share of true, over bins."""
    bins = np.minimum((probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, probability - truth, CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(truth))
