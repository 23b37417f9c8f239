"""How far an estimator is off beyond chance, on time that it did not learn from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.records import Kind
from streams.estimates.calibration import PARTS, STRETCHES, parts_of
from streams.estimates.estimator import LEAST_ROWS, Estimator, fit_estimator
from streams.estimates.measures import Z, of_rows
from streams.estimates.realised import certain
from streams.version import Answers

Floats = npt.NDArray[np.float64]


def fit_spread(
    kind: Kind,
    classes: Sequence[str],
    frame: pd.DataFrame,
    answers: Answers,
    truth: npt.NDArray[np.generic],
    seed: int = 0,
) -> dict[str, float]:
    """By metric, the standard deviation of the estimator's error that chance does not explain.

    Each half of the reference is estimated by what was learned from the other, a tenth of the
    reference at a time. Of a regression also ``tail``, as `measures.bars` takes it.
    Empty where the halves are too small.
    """
    n = len(truth)
    halves, chunks = parts_of(n, STRETCHES), parts_of(n, PARTS)
    if n < STRETCHES * LEAST_ROWS:
        return {}
    tested: list[tuple[Answers, Floats, Floats]] = []
    for half in range(STRETCHES):
        estimator = _fit(kind, classes, frame, answers, truth, seed, halves != half)
        for chunk in np.unique(chunks[halves == half]):
            rows = np.flatnonzero((halves == half) & (chunks == chunk))
            given = answers.take(rows)
            expected = estimator.expect(frame.iloc[rows].reset_index(drop=True), given)
            tested.append((given, expected, certain(kind, classes, given, truth[rows])))
    tail = {"tail": _tail(tested)} if kind == "regression" else {}
    excess: dict[str, list[float]] = {}
    for given, expected, known in tested:
        estimates = of_rows(kind, classes, given, expected, tail)
        realised = of_rows(kind, classes, given, known, {})
        for name in estimates.keys() & realised.keys():
            bar = estimates[name]
            by_chance = ((bar.high - bar.low) / (2 * Z)) ** 2
            gap = bar.value - realised[name].value
            excess.setdefault(name, []).append(gap**2 - by_chance)
    spread = {name: max(0.0, float(np.mean(excess[name]))) ** 0.5 for name in sorted(excess)}
    return spread | tail


def _tail(tested: Sequence[tuple[Answers, Floats, Floats]]) -> float:
    """Variance of squared errors around what is expected of them, by the square of that."""
    around = sum(float(((known[:, 1] - made[:, 1]) ** 2).sum()) for _, made, known in tested)
    return around / max(sum(float((made[:, 1] ** 2).sum()) for _, made, _ in tested), 1e-300)


def _fit(
    kind: Kind,
    classes: Sequence[str],
    frame: pd.DataFrame,
    answers: Answers,
    truth: npt.NDArray[np.generic],
    seed: int,
    rows: npt.NDArray[np.bool_],
) -> Estimator:
    table = frame[rows].reset_index(drop=True)
    return fit_estimator(kind, classes, table, answers.take(rows), truth[rows], seed)
