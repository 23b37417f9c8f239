"""Whether one model's losses differ from another's on the same rows of a stream.

Losses of neighbouring rows are alike (the same storm delays many flights), so n rows say less than
n. The rows are cut, in order of time, into a few long blocks, whose sums are nearly independent,
and only these are counted: the cluster covariance estimator with a fixed number of groups (Bester,
Conley and Hansen 2011, Inference with dependent data using cluster covariance estimators, Journal
of Econometrics 165, 137-151, proposition 1), whose statistic is Student's with blocks - 1 degrees
of freedom. It needs no estimate of how far the dependence reaches, as block bootstraps and HAC do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

Floats = npt.NDArray[np.float64]

NAME = "t-test of paired losses over blocks of time"
_ROUNDING = 1e-12
"""An error this small beside the differences is rounding: they are all alike."""


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, its standard error, and from how many blocks that is."""

    value: float
    error: float
    blocks: int

    def interval(self, risk: float) -> tuple[float, float]:
        """The true difference is below it with probability ``risk``, and above it with the same."""
        half = float(stdtrit(self.blocks - 1, 1 - risk)) * self.error
        return self.value - half, self.value + half

    def p_below(self, bound: float) -> float:
        """p-value of the hypothesis that the true difference is ``bound`` or more."""
        if self.error == 0:
            return 0.0 if self.value < bound else 1.0
        return float(stdtr(self.blocks - 1, (self.value - bound) / self.error))

    def p_above(self, bound: float) -> float:
        """p-value of the hypothesis that the true difference is ``bound`` or less."""
        return Difference(-self.value, self.error, self.blocks).p_below(-bound)


def difference(
    first: Floats, second: Floats, weight: Floats | None = None, blocks: int = 10
) -> Difference:
    """How much greater ``first`` is than ``second`` in the mean, both (n,) in order of time.

    weight: (n,) above 0, how much each row counts; None: all the same. blocks: of equally many
    rows; a row is one at least. ValueError for fewer than two rows.

    With block sums z of w (d - mean), the variance is B / (B - 1) Σ z² / (Σ w)².
    """
    if len(first) < 2 or blocks < 2:
        raise ValueError(f"{len(first)} rows in {blocks} blocks: two of each are needed")
    apart = first - second
    each = np.ones(len(apart)) if weight is None else weight
    mean = float(np.average(apart, weights=each))
    blocks = min(blocks, len(apart))
    starts = np.arange(blocks) * len(apart) // blocks
    sums = np.add.reduceat(each * (apart - mean), starts)
    error = float(np.sqrt(blocks / (blocks - 1) * (sums**2).sum()) / each.sum())
    size = float(np.abs(first).max() + np.abs(second).max())
    return Difference(mean, error if error > size * _ROUNDING else 0.0, blocks)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values that hold for all of the hypotheses together, in the same order (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    most = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        most = max(most, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = most
    return adjusted
