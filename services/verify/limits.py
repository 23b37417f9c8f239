"""Confidence limits of one window's metrics, all its outcomes at hand.

The same definitions as `streams.intervals`, computed another way: from rows instead of sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import norm, t

from schemas.records import Kind
from streams.quality import CLASS_BINS, EPSILON, bin_of

Floats = npt.NDArray[np.float64]
Limits = tuple[float, float] | None

_CONFIDENCE = 0.95
_Z = float(norm.ppf((1 + _CONFIDENCE) / 2))
_LEAST_SPREAD = 1e-10


def share(part: float, of: float) -> Limits:
    """Wilson's: the shares p at which (part/of − p)² is z² p (1 − p) / of."""
    if of <= 0:
        return None
    found, z2 = part / of, _Z * _Z / of
    low, high = sorted(np.roots([1 + z2, -(2 * found + z2), found * found]).real.tolist())
    return max(low, 0.0), min(high, 1.0)


def f1(tp: float, fp: float, fn: float) -> Limits:
    """Wilson's of tp / (tp + fp + fn), and what F1 is at these."""
    found = share(tp, tp + fp + fn)
    return None if found is None else (_f1(found[0]), _f1(found[1]))


def _f1(star: float) -> float:
    return 2 / (1 / star + 1) if star else 0.0


def mean(values: Floats, weights: Floats, positive: bool = True) -> Limits:
    """Student's; of values that are never negative on the scale of logarithms."""
    n = alike(weights)
    if n < 2:
        return None
    middle = float(np.average(values, weights=weights))
    spread = float(np.average((values - middle) ** 2, weights=weights))
    if spread <= _LEAST_SPREAD * float(np.average(values**2, weights=weights)):
        spread = 0.0
    half = float(t.ppf((1 + _CONFIDENCE) / 2, n - 1)) * math.sqrt(spread / (n - 1))
    if not positive:
        return middle - half, middle + half
    if middle <= 0:
        return None
    return middle * math.exp(-half / middle), middle * math.exp(half / middle)


def alike(weights: Floats) -> float:
    """How many outcomes of weight 1 tell as much."""
    return float(weights.sum() ** 2 / (weights**2).sum()) if weights.any() else 0.0


def area(cells: npt.NDArray[np.int64], positive: npt.NDArray[np.bool_], weights: Floats) -> Limits:
    """DeLong's on log-odds, of scores that are rounded to cells."""
    n = alike(weights) / weights.sum()
    mine, theirs = weights[positive], weights[~positive]
    m, k = float(mine.sum()) * n, float(theirs.sum()) * n
    if min(m, k) < 2:
        return None
    over = _placed(cells[positive], cells[~positive], theirs)
    under = 1 - _placed(cells[~positive], cells[positive], mine)
    found = float(np.average(over, weights=mine))
    if found <= _LEAST_SPREAD or found >= 1 - _LEAST_SPREAD:
        return _extreme(round(found), m, k)
    of_mine = float(np.average((over - found) ** 2, weights=mine)) / (m - 1)
    of_theirs = float(np.average((under - found) ** 2, weights=theirs)) / (k - 1)
    quantile = float(t.ppf((1 + _CONFIDENCE) / 2, min(m, k) - 1))
    half = quantile * math.sqrt(of_mine + of_theirs) / (found * (1 - found))
    odds = math.log(found / (1 - found))
    return tuple(1 / (1 + math.exp(-x)) for x in (odds - half, odds + half))  # type: ignore[return-value]


def _placed(cells: npt.NDArray[np.int64], others: npt.NDArray[np.int64], weights: Floats) -> Floats:
    """The share of the others below each cell; those in the same one count half."""
    order = np.argsort(others, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(weights[order])])
    low = before[np.searchsorted(others[order], cells, "left")]
    high = before[np.searchsorted(others[order], cells, "right")]
    shares: Floats = (low + high) / 2 / before[-1]
    return shares


def _extreme(found: int, m: float, k: float) -> Limits:
    """Newcombe's of an area of 0 or 1: the areas at which it is z standard errors away."""

    def excess(area: float) -> float:
        more = ((m + k) / 2 - 1) * ((1 - area) / (2 - area) + area / (1 + area))
        return (area - found) ** 2 - _Z * _Z * area * (1 - area) * (1 + more) / (m * k)

    if found:
        return float(brentq(excess, 1e-12, 1 - 1e-12)), 1.0
    return 0.0, float(brentq(excess, 1e-12, 1 - 1e-12))


def of_scored(
    kind: Kind,
    truth: Any,
    answer: Any,
    p: Floats | None,
    classes: int,
    weights: Floats,
) -> dict[str, Limits]:
    """By metric. truth, answer: arrays of numbers, where there are classes of these. p: of true,
    (n,), or of each class, (n, classes); None where the answers came without."""
    n = alike(weights)
    if kind == "regression":
        error = answer - truth
        squared = mean(error**2, weights)
        return {
            "base_rate": mean(np.asarray(truth, float), weights, positive=False),
            "mae": mean(np.abs(error), weights),
            "rmse": None if squared is None else (math.sqrt(squared[0]), math.sqrt(squared[1])),
        }
    scale = n / weights.sum()
    counts = np.zeros((classes, classes))
    np.add.at(counts, (truth, answer), weights * scale)
    if kind == "binary":
        (_, fp), (fn, tp) = counts.tolist()
        found: dict[str, Limits] = {
            "base_rate": share(tp + fn, n),
            "precision": share(tp, tp + fp),
            "recall": share(tp, tp + fn),
            "f1": f1(tp, fp, fn),
        }
    else:
        found = _macro(counts)
    found["accuracy"] = share(float(np.trace(counts)), n)
    if p is not None:
        found |= _of_probabilities(kind, truth, p, classes, weights)
    return found


def _macro(counts: Floats) -> dict[str, Limits]:
    hits, truths, answers = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    each = list(zip(hits.tolist(), truths.tolist(), answers.tolist(), strict=True))
    return {
        "precision": _mean_of([(h / a if a else 0, share(h, a)) for h, _, a in each]),
        "recall": _mean_of([(h / s if s else 0, share(h, s)) for h, s, _ in each]),
        "f1": _mean_of(
            [(2 * h / (s + a) if s + a else 0, f1(h, a - h, s - h)) for h, s, a in each]
        ),
    }


def _mean_of(parts: Sequence[tuple[float, Limits]]) -> Limits:
    limits = [(value, limit) for value, limit in parts if limit is not None]
    if len(limits) < len(parts):
        return None
    values, low = np.array([v for v, _ in limits]), np.array([limit[0] for _, limit in limits])
    high = np.array([limit[1] for _, limit in limits])
    below, above = np.linalg.norm(values - low), np.linalg.norm(high - values)
    return float((values.sum() - below) / len(parts)), float((values.sum() + above) / len(parts))


def _of_probabilities(
    kind: Kind, truth: npt.NDArray[np.int64], p: Floats, classes: int, weights: Floats
) -> dict[str, Limits]:
    if kind == "binary":
        clipped = np.clip(p, EPSILON, 1 - EPSILON)
        hit = truth == 1
        return {
            "log_loss": mean(-np.log(np.where(hit, clipped, 1 - clipped)), weights),
            "brier": mean((clipped - hit) ** 2, weights),
            "roc_auc": area(bin_of(clipped), hit, weights),
        }
    cells = bin_of(p, CLASS_BINS)
    areas = [area(cells[:, c], truth == c, weights) for c in range(classes)]
    there = [one for one in areas if one is not None]
    return {
        "log_loss": mean(-np.log(np.clip(p[np.arange(len(p)), truth], EPSILON, 1)), weights),
        "brier": mean(((p - np.eye(classes)[truth]) ** 2).sum(axis=1), weights),
        "roc_auc": (float(np.mean([a for a, _ in there])), float(np.mean([b for _, b in there])))
        if len(there) == classes
        else None,
    }
