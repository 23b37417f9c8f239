"""A chunk's metrics before its truth is known: values, error bars, and whether to trust them.

All of it follows from sums over predictions (`parts`) and counts of expected positives and
negatives on the grid of scores (`streams.quality`), so chunks of any cut add up.

With a = P(the answer is right), l_c = -ln p_c (p clipped as in `streams.quality`), A and S the
expected absolute and squared error, over n rows:

    accuracy  Σ a / n                       variance  Σ a (1 - a) / n²
    log loss  Σ Σ_c q_c l_c / n             variance  Σ (Σ_c q_c l_c² - (Σ_c q_c l_c)²) / n²
    ROC AUC   of expected counts by score   variance  Hanley and McNeil 1982; classes: their mean
    MAE       Σ A / n                       variance  Σ (S - A²) / n²
    RMSE      √(Σ S / n)                    variance  tail · Σ S² / n² / (4 Σ S / n)

A bar is value ± Z · √(variance + spread²): ``spread`` is what the estimator was off by on stretches
of the reference that it had not learned from, beyond chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.records import Kind
from streams.quality import BINS, CLASS_BINS, EPSILON, bin_of, roc_auc
from streams.version import Answers

Floats = npt.NDArray[np.float64]

Z = 1.96
"""Standard deviations of a bar to each side: 95 % of a normal distribution."""
SPREAD: dict[Kind, tuple[str, ...]] = {
    "binary": ("accuracy", "log_loss", "roc_auc"),
    "multiclass": ("accuracy", "log_loss", "roc_auc"),
    "regression": ("mae", "rmse", "tail"),
}
"""The names of a spread's numbers, in the order in which predictions carry them."""
LEAST_ROWS = 100
"""Predictions below which an estimate is not to be trusted."""
MOST_OUTSIDE = 0.2
"""Share of inputs outside the reference's region above which an estimate is not to be trusted."""
LAST, MISSES = 3, 2
"""Concept drift is suspected when of the last 3 realised values 2 were outside their bars."""


@dataclass(frozen=True, slots=True)
class Bar:
    """An estimate and the ends of its error bar."""

    value: float
    low: float
    high: float

    def holds(self, realised: float) -> bool:
        """Whether the realised value is within the bar."""
        return self.low <= realised <= self.high


def parts(
    kind: Kind, classes: Sequence[str], answers: Answers, expected: Floats
) -> dict[str, Floats]:
    """What each row adds to the sums, by name, (n,) each.

    answers: the model's own; expected: as `Estimator.expect` gives it.
    """
    if kind == "regression":
        absolute = np.maximum(expected[:, 0], 0.0)
        squared = np.maximum(expected[:, 1], absolute**2)
        return {
            "absolute": absolute,
            "absolute_spread": squared - absolute**2,
            "squared": squared,
            "squared_twice": squared**2,
        }
    if kind == "binary":
        assert answers.probability is not None
        q = expected[:, 0]
        right = np.where(answers.answer.astype(bool), q, 1 - q)
        own = np.column_stack([1 - answers.probability, answers.probability])
        expected = np.column_stack([1 - q, q])
    else:
        assert answers.probabilities is not None
        own = answers.probabilities
        number = {name: i for i, name in enumerate(classes)}
        answer = np.array([number.get(name, 0) for name in answers.answer], np.int64)
        right = expected[np.arange(len(answer)), answer]
    losses = -np.log(np.clip(own, EPSILON, 1.0))
    loss = (expected * losses).sum(axis=1)
    return {
        "right": right,
        "right_spread": right * (1 - right),
        "loss": loss,
        "loss_spread": np.maximum((expected * losses**2).sum(axis=1) - loss**2, 0.0),
    }


def grids(kind: Kind, answers: Answers, expected: Floats) -> list[tuple[Floats, Floats]]:
    """Expected positives and negatives by cell of score: one pair, or one a class."""
    if kind == "regression":
        return []
    scores = answers.probability if kind == "binary" else answers.probabilities
    assert scores is not None
    bins = BINS if kind == "binary" else CLASS_BINS
    columns = scores[:, None] if kind == "binary" else scores
    found = []
    for own, q in zip(columns.T, expected.T, strict=True):
        cells = bin_of(own, bins)
        positives, total = np.bincount(cells, q, bins), np.bincount(cells, minlength=bins)
        found.append((positives.astype(np.float64), np.maximum(total - positives, 0.0)))
    return found


def bars(
    n: float,
    sums: Mapping[str, float],
    areas: Sequence[tuple[Floats, Floats]],
    spread: Mapping[str, float],
    rows: float | None = None,
) -> dict[str, Bar]:
    """The metrics of n rows from their sums; what cannot be told is left out.

    rows: how many rows, drawn from the n, the bars are for; None: all.

    spread: by metric, and ``tail`` (regression): the variance of squared errors around S, by S².
    """
    if n <= 0:
        return {}
    found: dict[str, tuple[float, float]] = {}
    if "right" in sums:
        found["accuracy"] = (sums["right"] / n, sums["right_spread"] / n**2)
        found["log_loss"] = (sums["loss"] / n, sums["loss_spread"] / n**2)
        known = [_area(positives, negatives) for positives, negatives in areas]
        value, variance = np.mean(known, axis=0).tolist() if known else (math.nan, math.nan)
        found["roc_auc"] = (value, variance)
    if "absolute" in sums:
        found["mae"] = (sums["absolute"] / n, sums["absolute_spread"] / n**2)
        square = sums["squared"] / n
        variance = spread.get("tail", 2.0) * sums["squared_twice"] / n**2
        found["rmse"] = (math.sqrt(square), variance / max(4 * square, 1e-300))
    made = {}
    for name, (value, variance) in found.items():
        if not math.isfinite(value):
            continue
        by_chance = max(variance, 0.0) * (n / rows if rows else 1.0)
        away = Z * math.sqrt(by_chance + spread.get(name, 0.0) ** 2)
        most = 1.0 if name in ("accuracy", "roc_auc") else math.inf
        made[name] = Bar(value, max(value - away, 0.0), min(value + away, most))
    return made


def of_rows(
    kind: Kind,
    classes: Sequence[str],
    answers: Answers,
    expected: Floats,
    spread: Mapping[str, float],
) -> dict[str, Bar]:
    """The metrics of some rows."""
    added = parts(kind, classes, answers, expected)
    sums = {name: float(values.sum()) for name, values in added.items()}
    return bars(len(expected), sums, grids(kind, answers, expected), spread)


def distrust(
    n: int,
    outside: int,
    earlier: Sequence[tuple[Bar, float]] = (),
    own: tuple[Bar, float] | None = None,
) -> str:
    """Why an estimate cannot be trusted; "" where nothing speaks against it.

    outside: of the n rows, those outside the reference's region; earlier: estimates of the chunks
    whose truth has come, with what was realised, newest last; own: of those rows of this chunk
    whose truth has come already.
    """
    if n < LEAST_ROWS:
        return f"too few: {n} predictions"
    if outside > MOST_OUTSIDE * n:
        return f"outside the training region: {outside / n:.0%} of the inputs"
    missed = sum(not bar.holds(realised) for bar, realised in earlier[-LAST:])
    if missed >= MISSES:
        return f"concept drift suspected: {missed} of the last {LAST} estimates were off their bars"
    if own is not None and not own[0].holds(own[1]):
        return "concept drift suspected: what is realised so far is outside its bar"
    return ""


def _area(positives: Floats, negatives: Floats) -> tuple[float, float]:
    area = roc_auc(positives, negatives)
    n1, n0 = max(float(positives.sum()), 1.0), max(float(negatives.sum()), 1.0)
    pairs = area / (2 - area) - area**2, 2 * area**2 / (1 + area) - area**2
    return area, (area * (1 - area) + (n1 - 1) * pairs[0] + (n0 - 1) * pairs[1]) / (n1 * n0)
