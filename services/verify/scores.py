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
from services.verify import limits
from streams.quality import CALIBRATION_BINS, CLASS_BINS, EPSILON, bin_of, score_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Quality = dict[str, float | None]

_LEAST_SPREAD = 1e-10
"""Truths whose variance is this small beside the mean of their squares have no r2."""


def quality(
    kind: Kind,
    classes: Sequence[str],
    scored: pd.DataFrame,
    answers_only: bool = False,
) -> Quality:
    """The metrics of some outcomes, and their limits; empty where there are no outcomes.

    scored: ``truth``, ``answer``, ``weight`` and, where the kind has them, ``probability``
    (binary: of true) or ``p0``, ``p1``, … (multi-class: of each class). answers_only: what
    follows from probabilities is left out.
    """
    if not len(scored):
        return {}
    weights = scored["weight"].to_numpy(float)
    truth, answer, p = _numbers(kind, classes, scored)
    if answers_only:
        p = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that did not occur
        if kind == "regression":
            found = _regression(truth, answer, weights)
        else:
            found = _classes(kind, truth, answer, weights)
            if p is not None:
                found |= _curves(truth, answer, p, weights)
    sides = limits.of_scored(
        kind, truth, answer, p, 2 if kind == "binary" else len(classes), weights
    )
    for name, both in sides.items():
        found |= dict(zip((f"{name}_low", f"{name}_high"), both or (None, None), strict=True))
    return found


def _numbers(
    kind: Kind, classes: Sequence[str], scored: pd.DataFrame
) -> tuple[Any, Any, Floats | None]:
    """Truths, answers and probabilities, classes as numbers."""
    if kind == "regression":
        return scored["truth"].to_numpy(float), scored["answer"].to_numpy(float), None
    if kind == "binary":
        p = scored["probability"].to_numpy(float)
        p = np.clip(np.where(np.isfinite(p), p, 0.5), EPSILON, 1 - EPSILON)
        return scored["truth"].to_numpy(bool) * 1, scored["answer"].to_numpy(bool) * 1, p
    number = {name: i for i, name in enumerate(classes)}
    truth, answer = (
        np.array([number[name] for name in scored[column]]) for column in ("truth", "answer")
    )
    return truth, answer, scored[[f"p{c}" for c in range(len(classes))]].to_numpy(float)


def _classes(kind: Kind, truth: Ints, answer: Ints, weights: Floats) -> Quality:
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth,
        answer,
        average="binary" if kind == "binary" else "macro",
        sample_weight=weights,
        zero_division=0.0,
    )
    found: Quality = {
        "accuracy": float(np.average(truth == answer, weights=weights)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
    }
    if kind == "binary":
        found["base_rate"] = float(np.average(truth, weights=weights))
    return found


def _curves(truth: Ints, answer: Ints, p: Floats, weights: Floats) -> Quality:
    """What follows from probabilities: of true, (n,), or of each class, (n, classes)."""
    binary = p.ndim == 1
    k = 2 if binary else p.shape[1]
    of_class = np.column_stack([1 - p, p]) if binary else p
    cells = bin_of(p) if binary else bin_of(p, CLASS_BINS)
    every = len(set(truth.tolist())) == k
    areas: list[float] = []
    if every and binary:
        areas = [roc_auc_score(truth, cells, sample_weight=weights)]
    elif every:
        areas = [roc_auc_score(truth == c, cells[:, c], sample_weight=weights) for c in range(k)]
    if binary:
        hit, scores = truth == 1, score_of(cells)
        brier = (p - truth) ** 2
    else:
        hit, top = truth == answer, p[np.arange(len(p)), answer]
        scores = score_of(bin_of(top, CLASS_BINS), CLASS_BINS)
        brier = ((p - np.eye(k)[truth]) ** 2).sum(axis=1)
    return {
        "roc_auc": float(np.mean(areas)) if areas else None,
        "log_loss": float(
            log_loss(
                truth,
                np.clip(of_class, EPSILON, 1.0),
                labels=list(range(k)),
                sample_weight=weights,
            )
        ),
        "brier": float(np.average(brier, weights=weights)),
        "calibration_error": _calibration_error(hit, scores, weights),
    }


def _regression(truth: Floats, answer: Floats, weights: Floats) -> Quality:
    middle = np.average(truth, weights=weights)
    spread = np.average((truth - middle) ** 2, weights=weights)
    squares = np.average(truth**2, weights=weights)
    tells = limits.alike(weights) > 1 and spread > squares * _LEAST_SPREAD
    return {
        "base_rate": float(middle),
        "mae": float(mean_absolute_error(truth, answer, sample_weight=weights)),
        "rmse": math.sqrt(mean_squared_error(truth, answer, sample_weight=weights)),
        "r2": float(r2_score(truth, answer, sample_weight=weights)) if tells else None,
    }


def _calibration_error(hit: npt.NDArray[np.bool_], scores: Floats, weights: Floats) -> float:
    """Expected calibration error over equal-width bins, weighted by count."""
    bins = np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    off = weights * (scores - hit)
    return float(sum(abs(off[bins == b].sum()) for b in range(CALIBRATION_BINS)) / weights.sum())
