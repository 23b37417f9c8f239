"""Bounds of the metrics: the 95 % confidence interval of each, from the group's sums."""

from __future__ import annotations

import math
from collections.abc import Iterable

from schemas.records import Kind
from streams import intervals
from streams.intervals import Interval
from streams.quality import Floats, Sums, binary_grid, class_grid, size

BOUNDED = (
    *("share_deferred", "base_rate", "accuracy", "precision", "recall", "f1", "roc_auc"),
    *("log_loss", "brier", "mae", "rmse"),
)
"""The metrics that have bounds; `calibration_error` and `r2` have none that sums would give."""

Found = dict[str, Interval | None]


def bounds(kind: Kind, classes: int, sums: Sums) -> dict[str, float]:
    """``<metric>_low`` and ``<metric>_high`` by name; what cannot be told is left out.

    Sources of the formulas are in `streams.intervals`.
    """
    found: Found = {
        "share_deferred": intervals.share(sums.count("deferred"), sums.count("predictions"))
    }
    units, alike = size(sums)
    if units > 0:
        if kind == "binary":
            found |= _binary(sums, units, alike)
        elif kind == "multiclass":
            found |= _multiclass(sums, units, alike, classes)
        else:
            found |= _regression(sums, units, alike)
    return {
        f"{name}_{end}": value
        for name, interval in found.items()
        if interval is not None and all(math.isfinite(value) for value in interval)
        for end, value in zip(("low", "high"), interval, strict=True)
    }


def _binary(sums: Sums, units: int, alike: float) -> Found:
    scale = alike / units
    tp, fp, tn, fn = (sums.count(name) * scale for name in ("tp", "fp", "tn", "fn"))
    found: Found = {
        "base_rate": intervals.share(tp + fn, alike),
        "accuracy": intervals.share(tp + tn, alike),
        "precision": intervals.share(tp, tp + fp),
        "recall": intervals.share(tp, tp + fn),
        "f1": intervals.f1(tp, fp, fn),
    }
    if "log_loss" in sums.sums:
        positives, negatives = binary_grid(sums)
        found["roc_auc"] = intervals.area(positives, negatives, alike)
        found |= _losses(sums, units, alike)
    return found


def _multiclass(sums: Sums, units: int, alike: float, k: int) -> Found:
    pairs, one_vs_rest, _ = class_grid(sums, k)
    pairs = pairs * (alike / units)
    right, of_truth, of_answer = pairs.diagonal(), pairs.sum(axis=1), pairs.sum(axis=0)
    found: Found = {
        "accuracy": intervals.share(float(right.sum()), alike),
        "precision": _macro(zip(right, of_answer, strict=True)),
        "recall": _macro(zip(right, of_truth, strict=True)),
    }
    f1s = []
    for hit, truths, answers in zip(right, of_truth, of_answer, strict=True):
        f1 = intervals.f1(hit, answers - hit, truths - hit)
        if f1 is None:
            break
        f1s.append((2 * hit / (truths + answers), f1))
    else:
        found["f1"] = intervals.mean_of(f1s)
    if "log_loss" in sums.sums:
        found["roc_auc"] = _mean_area(one_vs_rest, alike)
        found |= _losses(sums, units, alike)
    return found


def _macro(classes: Iterable[tuple[float, float]]) -> Interval | None:
    """Of the mean share over classes; None where one of them did not occur."""
    parts = []
    for part, of in classes:
        interval = intervals.share(part, of)
        if interval is None:
            return None
        parts.append((part / of, interval))
    return intervals.mean_of(parts)


def _mean_area(one_vs_rest: Floats, alike: float) -> Interval | None:
    """Bounds of the mean are the means of the bounds: as wide as it can be, since areas of one
    set of outcomes go up and down together, nobody knows how much."""
    each = [intervals.area(own, others, alike) for others, own in one_vs_rest]
    if any(interval is None for interval in each):
        return None
    lows, highs = zip(*(interval for interval in each if interval is not None), strict=True)
    return math.fsum(lows) / len(each), math.fsum(highs) / len(each)


def _losses(sums: Sums, units: int, alike: float) -> Found:
    return {
        name: intervals.positive_mean(
            sums.sums[name], sums.sums[f"{name}_squared"], alike, float(units)
        )
        for name in ("log_loss", "brier")
    }


def _regression(sums: Sums, units: int, alike: float) -> Found:
    of = sums.sums
    squared = intervals.positive_mean(of["squared_error"], of["fourth_power"], alike, float(units))
    return {
        "base_rate": intervals.mean(of["truth"], of["truth_squared"], alike, float(units)),
        "mae": intervals.positive_mean(
            of["absolute_error"], of["squared_error"], alike, float(units)
        ),
        "rmse": None if squared is None else (math.sqrt(squared[0]), math.sqrt(squared[1])),
    }
