"""What an answer costs, from what a version predicted and the truth; a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columns import Columns
from schemas.records import Kind
from streams.inference import Inferred
from streams.rollout.policy import CLIP, Loss

Floats = npt.NDArray[np.float64]


def width(kind: Kind, classes: Sequence[str]) -> int:
    """Numbers that tell what a version would have answered: k."""
    return len(classes) if kind == "multiclass" else 1


def values_of(kind: Kind, classes: Sequence[str], inferred: Inferred) -> Floats:
    """What a version would have answered to n inputs, (n, k); NaN where it would not."""
    n = len(inferred.defer)
    values = np.full((n, width(kind, classes)), np.nan)
    answers = inferred.answers
    if answers is None:
        return values
    given: Any = {
        "binary": answers.probability,
        "multiclass": answers.probabilities,
        "regression": answers.answer,
    }[kind]
    values[~inferred.defer] = np.asarray(given, np.float64).reshape(-1, values.shape[1])
    return values


def answered_values(kind: Kind, classes: Sequence[str], columns: Columns) -> Floats:
    """What the version that answered said, as `values_of`, from predictions or outcomes."""
    n, k = len(columns["version"]), width(kind, classes)
    values = np.full((n, k), np.nan)
    answered = columns["status"].values == "answered"
    if kind == "multiclass":
        given = columns["probabilities"].values
        for row in np.flatnonzero(answered).tolist():
            if len(given[row]) == k:
                values[row] = given[row]
        return values
    column = columns["probability" if kind == "binary" else "answer"]
    there = answered if column.valid is None else answered & column.valid
    values[there, 0] = column.values[there].astype(np.float64)
    return values


def losses(
    kind: Kind,
    classes: Sequence[str],
    loss: Loss,
    largest: float | None,
    values: Floats,
    truths: npt.NDArray[Any],
) -> Floats:
    """The loss of each row, (n,); NaN where `values` (n, k) are.

    largest: greater ones count as this.
    """
    if kind == "regression":
        error = np.abs(values[:, 0] - truths.astype(np.float64))
        with np.errstate(over="ignore"):
            found = error if loss == "absolute_error" else error * error
    elif kind == "binary":
        truth = truths.astype(bool)
        p = np.clip(values[:, 0], 0.0, 1.0)
        found = (p - truth) ** 2
        if loss == "log_loss":
            found = -np.log(np.maximum(np.where(truth, p, 1 - p), CLIP))
    else:
        number = {name: i for i, name in enumerate(classes)}
        known = np.array([number.get(truth, -1) for truth in truths.tolist()], np.intp)
        p = np.clip(values, 0.0, 1.0)
        told = np.where(known >= 0, p[np.arange(len(p)), known], np.nan)
        if loss == "log_loss":
            found = -np.log(np.maximum(told, CLIP))
        else:  # half of the usual score: 0 to 1
            found = ((p * p).sum(axis=1) - 2 * told + 1) / 2
    return found if largest is None else np.minimum(found, largest)
