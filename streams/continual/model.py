"""A model that has learned in the stream, as a version serves it: frames in, probabilities out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streams.calibration import Calibrator
from streams.continual.rows import Row, rows_of

Floats = npt.NDArray[np.float64]
TINY = 1e-6
"""A probability of a learner is at least so much: it may be certain after a few rows."""


class Learned:
    """A river model, alone or pooled with one that was fitted in a batch.

    base: fitted, or None: alone. classes_: false and true, or the task's classes; None: a
    regression. calibration: what sets the base's probabilities right, as its manifest has it.
    Where there are classes the answer is the pool of both models' log probabilities, by `share`
    (Genest and Zidek 1986, Statistical Science 1, 4.2).
    """

    def __init__(
        self,
        base: Any | None,
        learner: Any,
        share: float,
        classes: list[Any] | None,
        calibration: Mapping[str, Any] | None = None,
    ) -> None:
        self.base = None if share == 1 else base
        self.learner = learner
        self.share = share
        self.classes_ = classes
        self.calibration = None if calibration is None else dict(calibration)

    def predict_proba(self, frame: pd.DataFrame) -> Floats:
        """(n, k), in the order of `classes_`."""
        assert self.classes_ is not None
        mine = probabilities(self.learner, rows_of(frame), self.classes_)
        if self.base is None:
            return mine
        theirs = aligned(self.base, frame, self.classes_)
        calibrator = Calibrator.of(self.calibration)
        if calibrator is not None and self.classes_ == [False, True]:
            theirs = of_true(calibrator(theirs[:, 1]))
        elif calibrator is not None:
            theirs = calibrator(theirs)
        return pool(theirs, mine, self.share)

    def predict(self, frame: pd.DataFrame) -> npt.NDArray[Any]:
        """(n,): numbers; the most probable class where there are classes."""
        if self.classes_ is not None:
            found: npt.NDArray[Any] = np.array(self.classes_)[self.predict_proba(frame).argmax(1)]
            return found
        mine = numbers(self.learner, rows_of(frame))
        if self.base is None:
            return mine
        theirs = np.asarray(self.base.predict(frame), np.float64).reshape(len(frame))
        return (1 - self.share) * theirs + self.share * mine


def probabilities(learner: Any, rows: list[Row], classes: list[Any]) -> Floats:
    """What a river classifier says of rows, (n, k); of a class that it has not met nearly 0."""
    given = [learner.predict_proba_one(row) for row in rows]
    found = np.array([[one.get(name, 0.0) for name in classes] for one in given], np.float64)
    found = found.reshape(len(rows), len(classes))
    found[~np.isfinite(found).all(1) | (found.sum(1) <= 0)] = 1 / len(classes)
    return _normed(np.clip(found, TINY, 1))


def numbers(learner: Any, rows: list[Row]) -> Floats:
    """What a river regressor says of rows, (n,); 0 where it says nothing."""
    found = np.array([learner.predict_one(row) for row in rows], np.float64)
    return np.where(np.isfinite(found), found, 0.0)


def aligned(model: Any, frame: pd.DataFrame, classes: list[Any]) -> Floats:
    """Probabilities of a scikit-learn model in the order of classes; 0 of one that it lacks."""
    raw = np.asarray(model.predict_proba(frame), np.float64)
    found = np.zeros((len(raw), len(classes)))
    known = list(model.classes_)
    for at, name in enumerate(known):
        found[:, classes.index(bool(name) if classes == [False, True] else str(name))] = raw[:, at]
    return found


def of_true(probability: Floats) -> Floats:
    """P(true), (n,), as probabilities of false and true, (n, 2)."""
    return np.column_stack([1 - probability, probability])


def pool(one: Floats, other: Floats, share: float) -> Floats:
    """Probabilities whose logarithms are means of both models' logarithms; share: the other's."""
    tiny = 1e-12  # far below what an answer can tell: it only keeps a logarithm finite
    logs = (1 - share) * np.log(np.maximum(one, tiny)) + share * np.log(np.maximum(other, tiny))
    return _normed(np.exp(logs - logs.max(1, keepdims=True)))


def _normed(values: Floats) -> Floats:
    found: Floats = values / values.sum(1, keepdims=True)
    return found
