"""Probabilities set right: what a version does with those of its estimator before it answers.

A few numbers in the manifest, no object: whoever runs a version elsewhere can do the same sums.
With p the estimator's probability (binary: of true; multi-class: of each class, the results then
divided by their sum):

- ``temperature``: log odds (multi-class: log p) times ``slope``, one for all classes (Guo et al.
  2017, On calibration of modern neural networks).
- ``sigmoid``: log odds times ``slope`` plus ``intercept``, of each class (Platt 1999).
- ``isotonic``: a rising curve through the points ``x`` and ``y``, straight between them, of each
  class (Zadrozny and Elkan 2002).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, softmax

Floats = npt.NDArray[np.float64]

Method = Literal["temperature", "sigmoid", "isotonic"]
METHODS: tuple[Method, ...] = get_args(Method)

LEAST = 1e-12
"""Nearest to 0 and 1 that a probability counts: log odds are finite there."""


@dataclass(frozen=True)
class Calibrator:
    """One of the methods with its numbers; those of each class in a list, binary: of one.

    slope, intercept: where the method has them. x, y: points of the curve, ascending.
    """

    method: Method
    slope: Sequence[float] = ()
    intercept: Sequence[float] = ()
    x: Sequence[Sequence[float]] = ()
    y: Sequence[Sequence[float]] = ()

    @classmethod
    def of(cls, plain: Mapping[str, Any] | None) -> Calibrator | None:
        """From JSON data; None stays None. ValueError where a method is not known."""
        if plain is None:
            return None
        if plain["method"] not in METHODS:
            raise ValueError(f"a calibration by {plain['method']!r} is not known here")
        return cls(**plain)

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return {name: value for name, value in asdict(self).items() if value}

    def __call__(self, probability: Floats) -> Floats:
        """The probabilities set right: (n,) of a binary task, (n, k) of a multi-class one."""
        if probability.ndim == 1:
            return self._of_one(probability, 0)
        if self.method == "temperature":
            tempered: Floats = softmax(
                np.log(np.maximum(probability, LEAST)) * self.slope[0], axis=1
            )
            return tempered
        each = np.column_stack([self._of_one(p, k) for k, p in enumerate(probability.T)])
        total: Floats = each.sum(axis=1, keepdims=True)
        return each / total

    def _of_one(self, p: Floats, k: int) -> Floats:
        if self.method == "isotonic":
            curve: Floats = np.interp(p, self.x[k], self.y[k])
            return curve
        odds = log_odds(p) * self.slope[k]
        if self.method == "sigmoid":
            odds += self.intercept[k]
        right: Floats = expit(odds)
        return right


def log_odds(probability: Floats) -> Floats:
    """Of probabilities, finite everywhere."""
    found: Floats = logit(np.clip(probability, LEAST, 1 - LEAST))
    return found
