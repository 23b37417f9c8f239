"""Metrics from sums: what a group of outcomes says about the model, whatever order they came in.

Everything a window needs is a sum over its outcomes: exact counts, sums of losses, and counts
on a fine grid of scores. Sums of two spans add up to the sum of both, and a correction takes
back what the first truth added; so a window is amended without looking at its outcomes again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from river import metrics as river_metrics

from schemas.records import Kind

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# The grid of scores is even in log-odds, from -16 to 16 (probabilities 1e-7 to 1 - 1e-7), in
# steps of 1/128: a probability moves by less than 0.1 percentage points, and rare events, whose
# probabilities are all small, still get thousands of cells.
BINS = 4096
_LIMIT = 16.0
# A class's share of the grid in a multi-class task: k classes have k grids.
CLASS_BINS = 512
CALIBRATION_BINS = 15
# A probability of 0 or 1 that turns out wrong has an infinite log loss; scikit-learn clips too.
EPSILON = float(np.finfo(np.float64).eps)
# A variance that is this small beside the mean of the squares cannot be told from rounding.
_LEAST_SPREAD = 1e-10


def bin_of(probability: Floats, bins: int = BINS) -> Ints:
    """The cell of each probability on the grid, 0 to bins - 1."""
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    at = (np.log(p / (1 - p)) + _LIMIT) * (bins / (2 * _LIMIT))
    return np.clip(at.astype(np.int64), 0, bins - 1)


def score_of(cells: Ints, bins: int = BINS) -> Floats:
    """The probability in the middle of each cell."""
    log_odds = (cells + 0.5) * (2 * _LIMIT / bins) - _LIMIT
    scores: Floats = 1 / (1 + np.exp(-log_odds))
    return scores


@dataclass(slots=True)
class Sums:
    """A group's sums. Adding two is adding each part.

    counts: whole numbers by name. sums: real numbers by name. cells: counts by cell of the
    grid, only those that are not 0.
    """

    counts: dict[str, int] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)
    cells: dict[int, int] = field(default_factory=dict)

    def add(self, other: Sums) -> None:
        """Add another group's sums to this one's."""
        for name, count in other.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        for name, value in other.sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        if not self.cells:
            self.cells = dict(other.cells)
            return
        for cell, weight in other.cells.items():
            new = self.cells.get(cell, 0) + weight
            if new:
                self.cells[cell] = new
            else:
                self.cells.pop(cell, None)

    def count(self, name: str) -> int:
        """A count, 0 where nothing was counted."""
        return self.counts.get(name, 0)


def cells_of(kind: Kind, classes: int) -> int:
    """How many cells the grid of a kind of task has."""
    if kind == "binary":
        return 2 * BINS
    return classes * classes + 2 * (classes + 1) * CLASS_BINS if kind == "multiclass" else 0


def expected_cells_of(kind: Kind, classes: int) -> int:
    """How many cells the estimates' grid has, which is behind the outcomes'."""
    if kind == "binary":
        return 2 * BINS
    return 2 * classes * CLASS_BINS if kind == "multiclass" else 0


def check(kind: Kind, classes: int, sums: Sums) -> None:
    """ValueError where sums have cells that are not on the task's grid."""
    end = cells_of(kind, classes) + expected_cells_of(kind, classes)
    strange = [cell for cell in sums.cells if not 0 <= cell < end]
    if strange:
        raise ValueError(f"cell {strange[0]} is not one of the {end} of a {kind} task's grid")


def size(sums: Sums) -> tuple[int, float]:
    """How much is scored, in the units of the sums, and how many outcomes tell as much.

    Of outcomes that count alike both are their number. Weighted ones count in units, and tell as
    much as (Σw)² / Σw² that count alike (Kish 1965, Survey Sampling, 11.7).
    """
    if "weight" not in sums.counts:
        n = sums.count("scored")
        return n, float(n)
    units, squares = sums.count("weight"), sums.count("weight_squared")
    return units, units * units / squares if squares > 0 else 0.0


def measure(kind: Kind, classes: int, sums: Sums) -> dict[str, float]:
    """The quality metrics of a group by name; what cannot be told (no outcomes, one class only,
    answers without probabilities) is left out."""
    n, alike = size(sums)
    if n <= 0:
        return {}
    if kind == "binary":
        found = _binary(sums, n)
    elif kind == "multiclass":
        found = _multiclass(sums, n, classes)
    else:
        found = _regression(sums, n, alike)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def labels_by_class(kind: Kind, classes: Sequence[str], sums: Sums) -> dict[str, int]:
    """Scored outcomes by their truth's class: ``true`` and ``false`` of a binary task.

    Empty where labels have weights, and for regression.
    """
    if "weight" in sums.counts or not sums.count("scored"):
        return {}
    if kind == "binary":
        positives = sums.count("tp") + sums.count("fn")
        return {"true": positives, "false": sums.count("fp") + sums.count("tn")}
    found = dict.fromkeys(classes, 0)
    k = len(classes)
    for cell, count in sums.cells.items():
        if cell < k * k:  # the confusion matrix, truths by row
            found[classes[cell // k]] += count
    return found


def _confusion(cells: Mapping[tuple[object, object], int]) -> river_metrics.ConfusionMatrix:
    matrix = river_metrics.ConfusionMatrix()
    for (truth, answer), count in cells.items():
        if count:
            matrix.update(truth, answer, w=count)
    return matrix


def _binary(sums: Sums, n: int) -> dict[str, float]:
    tp, fp, tn, fn = (sums.count(name) for name in ("tp", "fp", "tn", "fn"))
    matrix = _confusion(
        {(True, True): tp, (False, True): fp, (False, False): tn, (True, False): fn}
    )
    found = {
        "base_rate": (tp + fn) / n,
        "accuracy": river_metrics.Accuracy(cm=matrix).get(),
        "precision": river_metrics.Precision(cm=matrix).get(),
        "recall": river_metrics.Recall(cm=matrix).get(),
        "f1": river_metrics.F1(cm=matrix).get(),
    }
    if "log_loss" not in sums.sums:
        return found
    positives, negatives = binary_grid(sums)
    return found | {
        "log_loss": sums.sums["log_loss"] / n,
        "brier": sums.sums["brier"] / n,
        "roc_auc": roc_auc(positives, negatives),
        "calibration_error": _calibration_error(
            score_of(np.arange(BINS)), positives, positives + negatives
        ),
    }


def binary_grid(sums: Sums) -> tuple[Floats, Floats]:
    """Counts by cell of the scores of the positives and of the negatives, (BINS,) each."""
    grid = _grid(sums, 2 * BINS)
    return grid[BINS:], grid[:BINS]


def class_grid(sums: Sums, k: int) -> tuple[Floats, Floats, Floats]:
    """Of a multi-class task: the confusion matrix (k, k), truths by row; by class the counts by
    cell of the others' scores and of its own (k, 2, CLASS_BINS); counts by cell of the answers'
    scores, of the wrong and of the right ones (2, CLASS_BINS)."""
    grid = _grid(sums, cells_of("multiclass", k))
    return (
        grid[: k * k].reshape(k, k),
        grid[k * k : k * k + 2 * k * CLASS_BINS].reshape(k, 2, CLASS_BINS),
        grid[-2 * CLASS_BINS :].reshape(2, CLASS_BINS),
    )


def _grid(sums: Sums, cells: int) -> Floats:
    grid = np.zeros(cells)
    at = np.fromiter(sums.cells, np.int64, len(sums.cells))
    weights = np.fromiter(sums.cells.values(), np.float64, len(at))
    here = at < cells  # behind them are those of estimates
    grid[at[here]] = weights[here]
    return grid


def roc_auc(positives: Floats, negatives: Floats) -> float:
    """Area under the ROC curve of scores that are counted by cell; NaN where a class is empty.

    Scores in one cell are ties, which the trapezoid between two cells counts as one half.
    """
    if positives.sum() <= 0 or negatives.sum() <= 0:
        return math.nan
    used = np.flatnonzero(positives + negatives)[::-1]
    tpr = np.concatenate(([0.0], np.cumsum(positives[used]) / positives.sum()))
    fpr = np.concatenate(([0.0], np.cumsum(negatives[used]) / negatives.sum()))
    return float(np.trapezoid(tpr, fpr))


def _calibration_error(scores: Floats, hits: Floats, counts: Floats) -> float:
    """Expected calibration error (Naeini et al. 2015), equal-width bins, weights by count."""
    bins = np.minimum((scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    predicted = np.bincount(bins, scores * counts, CALIBRATION_BINS)
    observed = np.bincount(bins, hits, CALIBRATION_BINS)
    return float(np.abs(predicted - observed).sum() / counts.sum())


def _multiclass(sums: Sums, n: int, k: int) -> dict[str, float]:
    pairs, one_vs_rest, top = class_grid(sums, k)
    matrix = _confusion(
        {(truth, answer): int(pairs[truth, answer]) for truth in range(k) for answer in range(k)}
    )
    found = {
        "accuracy": river_metrics.Accuracy(cm=matrix).get(),
        "precision": river_metrics.MacroPrecision(cm=matrix).get(),
        "recall": river_metrics.MacroRecall(cm=matrix).get(),
        "f1": river_metrics.MacroF1(cm=matrix).get(),
    }
    if "log_loss" not in sums.sums:
        return found
    areas = [roc_auc(one_vs_rest[c, 1], one_vs_rest[c, 0]) for c in range(k)]
    return found | {
        "log_loss": sums.sums["log_loss"] / n,
        "brier": sums.sums["brier"] / n,
        # A class that did not occur has no curve; the mean over the others is not the macro mean.
        "roc_auc": float(np.mean(areas)),
        "calibration_error": _calibration_error(
            score_of(np.arange(CLASS_BINS), CLASS_BINS), top[1], top[0] + top[1]
        ),
    }


def _regression(sums: Sums, n: int, alike: float) -> dict[str, float]:
    total, squares = sums.sums.get("truth", 0.0), sums.sums.get("truth_squared", 0.0)
    error = sums.sums.get("squared_error", 0.0)
    spread = squares - total * total / n
    # Where nearly nothing is left of the squares, what is left is rounding.
    tells = spread > squares * _LEAST_SPREAD
    return {
        "base_rate": total / n,
        "mae": sums.sums.get("absolute_error", 0.0) / n,
        "rmse": math.sqrt(max(error, 0.0) / n),
        "r2": 1 - error / spread if alike > 1 and tells else math.nan,
    }
