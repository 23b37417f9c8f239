"""The loss to expect of a regression's answer: direct loss estimation.

A second model learns the reference's losses from features and answer (NannyML's DLE; a meta-model
of errors is older: Navratil et al. 2021). Here it is boosted trees with the Poisson deviance,
whose logarithmic link cannot give a negative loss and keeps long tails from dominating, and its
spread around the mean is shrunk to the share that carries over to another stretch of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

from streams.estimates.calibration import STRETCHES, parts_of

Floats = npt.NDArray[np.float64]

ANSWER = "__answer"
"""The column of the model's own answer beside the features."""


@dataclass(frozen=True, eq=False)
class LossModel:
    """Expected loss = mean + share · (trees - mean)."""

    trees: Any
    mean: float
    share: float

    def __call__(self, frame: pd.DataFrame, answers: Floats) -> Floats:
        """(n,), of frame (n, features) and answers (n,)."""
        found: Floats = np.asarray(self.trees.predict(_with(frame, answers)), np.float64)
        return self.mean + self.share * (found - self.mean)


def fit_losses(frame: pd.DataFrame, answers: Floats, losses: Floats, seed: int) -> LossModel:
    """Fit on a reference in order of time. Deterministic."""
    mean = float(losses.mean())
    table = _with(frame, answers)
    parts = parts_of(len(losses), STRETCHES)
    away = np.empty(len(losses))
    for part in np.unique(parts):
        held = parts == part
        trees = _trees(seed).fit(table[~held], losses[~held])
        away[held] = trees.predict(table[held]) - losses[~held].mean()
    square = float((away**2).sum())
    share = float((away * (losses - mean)).sum() / square) if square else 0.0
    return LossModel(_trees(seed).fit(table, losses), mean, float(np.clip(share, 0.0, 1.0)))


def _trees(seed: int) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(
        loss="poisson",
        learning_rate=0.05,
        max_iter=150,
        max_leaf_nodes=8,
        min_samples_leaf=100,
        l2_regularization=5.0,
        categorical_features="from_dtype",
        random_state=seed,
    )


def _with(frame: pd.DataFrame, answers: Floats) -> pd.DataFrame:
    return frame.assign(**{ANSWER: answers})
