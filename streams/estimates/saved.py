"""An estimator as plain data: what a version's bundle holds, and what serving asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.records import Kind
from streams.estimates.calibration import Calibrator
from streams.estimates.design import Design, Numeric
from streams.estimates.estimator import Estimator, fit_estimator
from streams.estimates.losses import LossModel
from streams.estimates.measures import SPREAD
from streams.estimates.spread import fit_spread
from streams.version import Answers, Expected

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Saved:
    """An estimator and its spread by metric, empty where the reference was too small to tell."""

    estimator: Estimator
    spread: Mapping[str, float]

    def expect(self, frame: pd.DataFrame, answers: Answers) -> Expected:
        """What to expect of the truth of answers. ValueError where it is not a number."""
        expected = self.estimator.expect(frame, answers)
        if not np.isfinite(expected).all():
            raise ValueError("the estimator expects what is not a number")
        spread = [self.spread.get(name, 0.0) for name in SPREAD[self.estimator.kind]]
        return Expected(expected, np.array(spread), self.estimator.outside(frame))

    def plain(self) -> dict[str, Any]:
        """As numbers, texts and scikit-learn's trees."""
        design = self.estimator.design
        return {
            "kind": self.estimator.kind,
            "numbers": {
                name: [one.mean, one.std, one.low, one.high] for name, one in design.numbers.items()
            },
            "categories": {name: list(codes) for name, codes in design.categories.items()},
            "known": {name: list(codes) for name, codes in design.known.items()},
            "calibrators": [
                {
                    "scores": one.scores,
                    "values": one.values,
                    "weights": one.weights,
                    "share": one.share,
                    "shift": one.shift,
                }
                for one in self.estimator.calibrators
            ],
            "losses": [
                {"trees": one.trees, "mean": one.mean, "share": one.share}
                for one in self.estimator.losses
            ],
            "spread": dict(self.spread),
        }


def of_plain(data: Mapping[str, Any]) -> Saved:
    """What `Saved.plain` made. KeyError or TypeError where it did not."""
    design = Design(
        {name: Numeric(*one) for name, one in data["numbers"].items()},
        {name: tuple(codes) for name, codes in data["categories"].items()},
        {name: tuple(codes) for name, codes in data["known"].items()},
    )
    calibrators = tuple(Calibrator(**one) for one in data["calibrators"])
    losses = tuple(LossModel(**one) for one in data["losses"])
    return Saved(Estimator(data["kind"], design, calibrators, losses), data["spread"])


def fit_saved(
    kind: Kind,
    classes: list[str],
    frame: pd.DataFrame,
    answers: Answers,
    truth: npt.NDArray[Any],
    seed: int,
) -> Saved | None:
    """Estimator and spread from rows in order of time, as `fit_estimator` takes them.

    None where the rows are too few, or say nothing (a model that never erred).
    """
    try:
        estimator = fit_estimator(kind, classes, frame, answers, truth, seed)
        return Saved(estimator, fit_spread(kind, classes, frame, answers, truth, seed))
    except ValueError:
        return None
