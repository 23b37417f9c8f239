"""The quality of one window's outcomes, all of them at hand, by scikit-learn.

What these definitions share with the sums that the system keeps is the grid of scores, which is
part of the definition of the areas under curves and of the calibration error.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import (
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    precision_recall_fscore_support,
    r2_score,
    roc_auc_score,
)

from schemas.records import Kind
from streams.quality import CALIBRATION_BINS, CLASS_BINS, EPSILON, bin_of, score_of

Floats = npt.NDArray[np.float64]
Quality = dict[str, float | None]

_LEAST_SPREAD = 1e-10
"""Truths whose variance is this small beside the mean of their squares have no r2."""


def quality(kind: Kind, classes: Sequence[str], scored: pd.DataFrame) -> Quality:
    """The quality metrics of outcomes that the model answered; empty where there are none.

    scored: ``truth``, ``answer`` and, where the kind has them, ``probability`` (binary: of true)
    or ``p0``, ``p1``, … (multi-class: of each class).
    """
    if not len(scored):
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that did not occur
        if kind == "binary":
            return _binary(
                scored["truth"].to_numpy(bool),
                scored["answer"].to_numpy(bool),
                scored["probability"].to_numpy(float),
            )
        if kind == "multiclass":
            return _multiclass(
                np.array([classes.index(name) for name in scored["truth"]]),
                np.array([classes.index(name) for name in scored["answer"]]),
                scored[[f"p{c}" for c in range(len(classes))]].to_numpy(float),
            )
        return _regression(scored["truth"].to_numpy(float), scored["answer"].to_numpy(float))


def _binary(truth: npt.NDArray[np.bool_], answer: npt.NDArray[np.bool_], p: Floats) -> Quality:
    clipped = np.clip(np.where(np.isfinite(p), p, 0.5), EPSILON, 1 - EPSILON)
    cells = bin_of(clipped)
    both = bool(truth.any() and not truth.all())
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, answer, average="binary", zero_division=0.0
    )
    return {
        "base_rate": float(truth.mean()),
        "accuracy": float((truth == answer).mean()),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "roc_auc": float(roc_auc_score(truth, cells)) if both else None,
        "log_loss": float(log_loss(truth, clipped, labels=[False, True])),
        "brier": float(((clipped - truth) ** 2).mean()),
        "calibration_error": _calibration_error(truth, score_of(cells)),
    }


def _multiclass(truth: npt.NDArray[np.int64], answer: npt.NDArray[np.int64], p: Floats) -> Quality:
    n, k = p.shape
    of_truth = np.clip(p[np.arange(n), truth], EPSILON, 1.0)
    cells = bin_of(p, CLASS_BINS)
    every = len(set(truth.tolist())) == k
    areas = [roc_auc_score(truth == c, cells[:, c]) for c in range(k)] if every else []
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, answer, average="macro", zero_division=0.0
    )
    top = bin_of(p[np.arange(n), answer], CLASS_BINS)
    return {
        "accuracy": float((truth == answer).mean()),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "roc_auc": float(np.mean(areas)) if areas else None,
        "log_loss": float(-np.log(of_truth).mean()),
        "brier": float(((p - np.eye(k)[truth]) ** 2).sum(axis=1).mean()),
        "calibration_error": _calibration_error(truth == answer, score_of(top, CLASS_BINS)),
    }


def _regression(truth: Floats, answer: Floats) -> Quality:
    tells = len(truth) > 1 and truth.var() > np.square(truth).mean() * _LEAST_SPREAD
    return {
        "base_rate": float(truth.mean()),
        "mae": float(mean_absolute_error(truth, answer)),
        "rmse": math.sqrt(mean_squared_error(truth, answer)),
        "r2": float(r2_score(truth, answer)) if tells else None,
    }


def _calibration_error(hit: npt.NDArray[Any], scores: Floats) -> float:
    """Expected calibration error over equal-width bins, weighted by count."""
    bins = np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [abs(scores[bins == b].sum() - hit[bins == b].sum()) for b in range(CALIBRATION_BINS)]
    return float(sum(gaps) / len(hit))
