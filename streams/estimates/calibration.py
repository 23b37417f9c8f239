"""P(true) of a score and features: what the model's probability is worth, row by row.

Confidence-based performance estimation (NannyML's CBPE) calibrates scores by isotonic regression
on the reference and takes them for the truth's probabilities. Isotonic regression alone cannot
follow a shift of the features that changes how the same score does; here it is the offset of a
logistic regression on the features:

    logit q(s, x) = logit iso(s) + share · (x · weights + a · logit iso(s) + b) + shift

- ``weights`` have a ridge penalty; a lets the score count for less where the features say more.
- ``share`` (0 to 1) is how much of the features' effect carries over to another time: the slope
  that each part of the reference gives to the weights learned from the other parts. Rows of one
  day are alike, so 50,000 rows may hold the evidence of ten.
- ``shift`` draws the level back to the model's own scores as far as the difference between them
  and the reference's truth varies from part to part by more than chance (James and Stein 1961,
  positive part): a reference of one season tells little about the level of the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

Floats = npt.NDArray[np.float64]

PARTS = 10
"""Stretches of the reference, in order of time, that its level is compared over."""
STRETCHES = 2
"""Stretches that the features' share is told by: each half from the other, the longest way that a
reference has. Shorter ones learn a season's weather from the days around it."""
PENALTY = 20.0
"""Ridge penalty of the standardised features' weights."""
LEAST = 1e-4
"""Calibrated probabilities are kept this far from 0 and 1 before their log odds are taken."""
_ITERATIONS = 40


@dataclass(frozen=True, eq=False)
class Calibrator:
    """A fitted calibrator; plain numbers.

    scores, values: knots of the isotonic regression, ascending, linear in between.
    weights: of the design's columns, the offset and a constant, with ``share`` in them already.
    """

    scores: Floats
    values: Floats
    weights: Floats
    share: float
    shift: float

    def __call__(self, scores: Floats, matrix: Floats) -> Floats:
        """q (n,) of scores (n,) and the design's matrix (n, width)."""
        base = np.interp(scores, self.scores, self.values)
        inside = np.clip(base, LEAST, 1 - LEAST)
        offset = logit(inside)
        z = offset + _effect(offset, matrix, self.weights) + self.shift
        # Beyond the clipping the features move nothing: 0 stays near 0.
        found: Floats = np.clip(expit(z) + (base - inside), 0.0, 1.0)
        return found


def fit_calibrator(scores: Floats, truth: npt.NDArray[np.bool_], matrix: Floats) -> Calibrator:
    """Fit on a reference in order of time; ``scores`` are out of sample. Deterministic."""
    y = truth.astype(np.float64)
    share = _share(scores, y, matrix)
    iso = _isotonic(scores, y)
    weights = share * _weights(_offset(iso, scores), y, matrix)
    knots, values = iso.X_thresholds_, iso.y_thresholds_
    plain = Calibrator(np.asarray(knots), np.asarray(values), weights, share, 0.0)
    shift = _shift(scores, y, plain(scores, matrix))
    return Calibrator(plain.scores, plain.values, weights, share, shift)


def parts_of(n: int, count: int = PARTS) -> npt.NDArray[np.int64]:
    """(n,): the stretch of time that each row of a reference is in."""
    return np.arange(n) * min(count, max(n, 1)) // max(n, 1)


def _isotonic(scores: Floats, y: Floats) -> IsotonicRegression:
    return IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=1).fit(scores, y)


def _offset(iso: IsotonicRegression, scores: Floats) -> Floats:
    offset: Floats = logit(np.clip(iso.predict(scores), LEAST, 1 - LEAST))
    return offset


def _effect(offset: Floats, matrix: Floats, weights: Floats) -> Floats:
    """What the weights add to the offset: of the features, of the offset itself, a constant."""
    effect: Floats = matrix @ weights[:-2] + weights[-2] * offset + weights[-1]
    return effect


def _weights(offset: Floats, y: Floats, matrix: Floats) -> Floats:
    """Ridge logistic regression with an offset: weights as `_effect` takes them."""

    def loss(beta: Floats) -> tuple[float, Floats]:
        z = offset + _effect(offset, matrix, beta)
        away = expit(z) - y
        value = np.logaddexp(0, z).sum() - (y * z).sum() + PENALTY / 2 * (beta[:-2] ** 2).sum()
        features = matrix.T @ away + PENALTY * beta[:-2]
        slope = np.append(features, [away @ offset, away.sum()])
        return float(value) / len(y), slope / len(y)

    start = np.zeros(matrix.shape[1] + 2)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS})
    beta: Floats = found.x
    return beta


def _share(scores: Floats, y: Floats, matrix: Floats) -> float:
    """How much of the features' effect holds on stretches of time that it was not learned from."""
    parts = parts_of(len(y), STRETCHES)
    offsets, effects = np.empty(len(y)), np.empty(len(y))
    for part in np.unique(parts):
        held = parts == part
        iso = _isotonic(scores[~held], y[~held])
        offsets[held] = _offset(iso, scores[held])
        weights = _weights(_offset(iso, scores[~held]), y[~held], matrix[~held])
        effects[held] = _effect(offsets[held], matrix[held], weights)
    return _slope(offsets, effects, y)


def _slope(offsets: Floats, effects: Floats, y: Floats) -> float:
    def loss(share: float) -> float:
        z = offsets + share * effects
        return float((np.logaddexp(0, z) - y * z).mean())

    return float(minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded").x)


def _shift(scores: Floats, y: Floats, q: Floats) -> float:
    """Log odds to add to q, towards the level of the model's own scores."""
    parts = parts_of(len(y))
    numbers = [np.flatnonzero(parts == p) for p in np.unique(parts)]
    gaps = np.array([_gap(scores[rows], y[rows]) for rows in numbers])
    if len(gaps) < 3:
        return 0.0
    around = gaps - gaps.mean()
    # Of a share of n rows, the log odds have a variance of 1 / (n p (1 - p)).
    informative = [len(rows) * y[rows].mean() * (1 - y[rows].mean()) for rows in numbers]
    chance = float(np.mean([1 / max(some, 0.5) for some in informative]))
    spread = max(0.0, float((around**2).sum() / (len(gaps) - 1)) - chance)
    rho = float((around[1:] * around[:-1]).sum() / max((around**2).sum(), 1e-12))
    rho = float(np.clip(rho, 0.0, 0.8))
    noise = spread / len(gaps) * (1 + rho) / (1 - rho)
    kept = max(0.0, 1 - noise / max(float(gaps.mean()) ** 2, 1e-12))
    return (1 - kept) * _level(q, float(scores.mean()))


def _gap(scores: Floats, y: Floats) -> float:
    share = float(np.clip(y.mean(), 0.5 / len(y), 1 - 0.5 / len(y)))
    return _level(scores, share)


def _level(q: Floats, wanted: float) -> float:
    """Log odds to add to probabilities so that their mean is ``wanted``."""
    z = logit(np.clip(q, 1e-6, 1 - 1e-6))
    low, high = expit(z - 12).mean(), expit(z + 12).mean()
    wanted = float(np.clip(wanted, low + 1e-12, high - 1e-12))
    return float(brentq(lambda c: float(expit(z + c).mean()) - wanted, -12, 12))
