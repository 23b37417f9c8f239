"""The estimates of one window by their definitions, from its predictions and outcomes at hand.

Of each prediction that a version with an estimator answered: ``expected`` q (binary: P(true);
multi-class: P by class; regression: expected absolute and squared error), ``expected_spread``, and
``outside_region``. docs/estimates.md has the formulas. Shared with the system are the grid of
scores, that expected positives count in thousandths, and the limits of trust.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streams.quality import BINS, CLASS_BINS, EPSILON, bin_of
from streams.task import Task

Floats = npt.NDArray[np.float64]

NAMES = ("accuracy", "roc_auc", "log_loss", "mae", "rmse")
FIELDS = (
    *(f"estimated_{name}{end}" for name in NAMES for end in ("", "_low", "_high", "_error")),
    *("estimate_trusted", "estimate_doubt"),
)
LEAST, MOST_OUTSIDE, SIDE = 100, 0.2, 1.96
"""Predictions, and share outside the region, that an estimate needs to be trusted; a bar's side in
standard deviations."""


def estimates(asked: pd.DataFrame, found: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """The fields of estimates of a window whose predictions are ``asked``.

    found: its realised metrics by name, and ``scored``.
    """
    made: dict[str, Any] = dict.fromkeys(FIELDS)
    asked = asked[(asked["status"] == "answered") & (asked["expected"].map(len) > 0)]
    n = len(asked)
    if not n:
        return made
    q = np.stack(asked["expected"].to_list())
    spread = np.stack(asked["expected_spread"].to_list()).mean(axis=0).tolist()
    told = _errors(q, spread) if task.kind == "regression" else _classes(asked, q, spread, task)
    for name, (value, by_chance, beyond) in told.items():
        away = SIDE * math.sqrt(by_chance / n + beyond**2)
        most = 1.0 if name in ("accuracy", "roc_auc") else math.inf
        made[f"estimated_{name}"] = value
        made[f"estimated_{name}_low"] = max(value - away, 0.0)
        made[f"estimated_{name}_high"] = min(value + away, most)
        if found.get(name) is not None:
            made[f"estimated_{name}_error"] = value - found[name]
    first = "mae" if task.kind == "regression" else "accuracy"
    made["estimate_doubt"] = _doubt(asked, told[first], found.get(first), found["scored"])
    made["estimate_trusted"] = made["estimate_doubt"] is None
    return made


def _doubt(
    asked: pd.DataFrame, told: tuple[float, float, float], realised: float | None, scored: int
) -> str | None:
    outside = int(asked["outside_region"].sum())
    if len(asked) < LEAST:
        return f"too few: {len(asked)} predictions"
    if outside > MOST_OUTSIDE * len(asked):
        return f"outside the training region: {outside / len(asked):.0%} of the inputs"
    value, by_chance, beyond = told
    if scored >= LEAST and realised is not None:
        away = SIDE * math.sqrt(by_chance / scored + beyond**2)
        if not max(value - away, 0.0) <= realised <= value + away:
            return "concept drift suspected: what is realised so far is outside its bar"
    return None


def _errors(q: Floats, spread: list[float]) -> dict[str, tuple[float, float, float]]:
    """By metric: value, variance of one row, spread."""
    absolute = np.maximum(q[:, 0], 0)
    square = np.maximum(q[:, 1], absolute**2)
    mean = float(square.mean())
    tail = spread[2] * float((square**2).mean()) / max(4 * mean, 1e-300)
    return {
        "mae": (float(absolute.mean()), float((square - absolute**2).mean()), spread[0]),
        "rmse": (math.sqrt(mean), tail, spread[1]),
    }


def _classes(
    asked: pd.DataFrame, q: Floats, spread: list[float], task: Task
) -> dict[str, tuple[float, float, float]]:
    if task.kind == "binary":
        p = asked["probability"].to_numpy(float)
        own, bins = p[:, None], BINS
        answer = asked["answer"].to_numpy(bool) * 1
        both, of_class = np.column_stack([1 - q[:, 0], q[:, 0]]), np.column_stack([1 - p, p])
    else:
        own = of_class = np.stack(asked["probabilities"].to_list())
        bins, both = CLASS_BINS, q
        answer = np.array([task.classes.index(name) for name in asked["answer"]])
    n = len(q)
    right = both[np.arange(n), answer]
    costs = -np.log(np.clip(of_class, EPSILON, 1))
    mean = (both * costs).sum(axis=1)
    around = (both * (costs - mean[:, None]) ** 2).sum(axis=1)
    told = {
        "accuracy": (float(right.mean()), float((right * (1 - right)).mean()), spread[0]),
        "log_loss": (float(mean.mean()), float(around.mean()), spread[1]),
    }
    areas = [_area(own[:, c], q[:, c], bins) for c in range(q.shape[1])]
    if all(math.isfinite(area) for area, _ in areas):
        value, variance = np.mean(areas, axis=0).tolist()
        told["roc_auc"] = (value, variance * n, spread[2])
    return told


def _area(own: Floats, q: Floats, bins: int) -> tuple[float, float]:
    """Each row is a positive with weight q and a negative with weight 1 - q."""
    hits = np.rint(np.clip(q, 0, 1) * 1000) / 1000
    if hits.sum() <= 0 or (1 - hits).sum() <= 0:
        return math.nan, math.nan
    cells = bin_of(own, bins)
    order = np.argsort(cells, kind="stable")
    _, first = np.unique(cells[order], return_index=True)
    won, lost = (np.add.reduceat(w[order], first) for w in (hits, 1 - hits))
    # The share of pairs whose positive has the higher score; equal scores count half.
    area = float((won * (np.cumsum(lost) - lost / 2)).sum() / (hits.sum() * (1 - hits).sum()))
    n1, n0 = max(float(hits.sum()), 1.0), max(float((1 - hits).sum()), 1.0)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)  # Hanley and McNeil 1982
    rest = (n1 - 1) * (q1 - area**2) + (n0 - 1) * (q2 - area**2)
    return area, (area * (1 - area) + rest) / (n1 * n0)
