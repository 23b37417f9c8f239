"""The estimator of one model version: from features and answers to what to expect of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.records import Kind
from streams.estimates.calibration import Calibrator, fit_calibrator
from streams.estimates.design import Design, fit_design
from streams.estimates.losses import LossModel, fit_losses
from streams.version import Answers

Floats = npt.NDArray[np.float64]

LEAST_ROWS = 200
"""Rows of a reference below which there is no estimator."""


@dataclass(frozen=True, eq=False)
class Estimator:
    """What was learned of a reference. calibrators: one (binary) or one a class; losses: of a
    regression, of the absolute and the squared error."""

    kind: Kind
    design: Design
    calibrators: tuple[Calibrator, ...] = ()
    losses: tuple[LossModel, ...] = ()

    def expect(self, frame: pd.DataFrame, answers: Answers) -> Floats:
        """What to expect of each row's truth.

        Binary: (n, 1), P(true). Multi-class: (n, k), P by class, rows add up to 1. Regression:
        (n, 2), the expected absolute and squared error.
        """
        if self.kind == "regression":
            return np.column_stack([loss(frame, answers.answer) for loss in self.losses])
        matrix = self.design.matrix(frame)
        if self.kind == "binary":
            assert answers.probability is not None
            return self.calibrators[0](answers.probability, matrix)[:, None]
        assert answers.probabilities is not None
        columns = zip(self.calibrators, answers.probabilities.T, strict=True)
        expected = np.column_stack([calibrate(p, matrix) for calibrate, p in columns])
        total = expected.sum(axis=1, keepdims=True)
        even = 1 / len(self.calibrators)
        shares: Floats = np.where(total > 0, expected / np.maximum(total, 1e-300), even)
        return shares

    def outside(self, frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """(n,): which inputs are outside the region of the reference."""
        return self.design.outside(frame)


def fit_estimator(
    kind: Kind,
    classes: Sequence[str],
    frame: pd.DataFrame,
    answers: Answers,
    truth: npt.NDArray[np.generic],
    seed: int = 0,
) -> Estimator:
    """Learn from a reference: rows in order of time, answers to them by a model that had not
    seen them, and their truth (bool, name of the class, or number). Deterministic.

    Raises ValueError where there are fewer than LEAST_ROWS rows.
    """
    if len(truth) < LEAST_ROWS:
        raise ValueError(f"{len(truth)} rows are too few for an estimator; {LEAST_ROWS} are needed")
    design = fit_design(frame)
    if kind == "regression":
        error = answers.answer.astype(np.float64) - truth.astype(np.float64)
        losses = [fit_losses(frame, answers.answer, e, seed) for e in (np.abs(error), error**2)]
        return Estimator(kind, design, losses=tuple(losses))
    matrix = design.matrix(frame)
    if kind == "binary":
        assert answers.probability is not None
        one = fit_calibrator(answers.probability, truth.astype(bool), matrix)
        return Estimator(kind, design, (one,))
    assert answers.probabilities is not None
    columns = zip(classes, answers.probabilities.T, strict=True)
    several = [fit_calibrator(p, np.asarray(truth == name), matrix) for name, p in columns]
    return Estimator(kind, design, tuple(several))
