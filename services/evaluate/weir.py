"""Weir's side of the comparison: the same reference, the same chunks."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from services.evaluate.sets import Predicted
from streams.estimates.estimator import fit_estimator
from streams.estimates.measures import LAST, Bar, distrust, of_rows
from streams.estimates.realised import certain
from streams.estimates.spread import fit_spread
from streams.version import Answers


@dataclass(frozen=True)
class Chunk:
    """One chunk: its rows, estimates and realised values by metric, and why not to trust it.

    Metrics that the truth does not define (one class only) are left out.
    """

    rows: int
    estimates: Mapping[str, Bar]
    realised: Mapping[str, float]
    distrust: str


def estimate(data: Predicted) -> dict[str, Chunk]:
    """Estimates of every chunk from the reference and the chunk's own unlabelled rows.

    The truth of earlier chunks is used for nothing but the suspicion of concept drift.
    """
    frame, answers = _frame(data, data.reference), _answers(data, data.reference)
    truth = _truth(data, data.reference)
    estimator = fit_estimator(data.kind, data.classes, frame, answers, truth)
    spread = fit_spread(data.kind, data.classes, frame, answers, truth)
    frame, answers = _frame(data, data.analysis), _answers(data, data.analysis)
    truth = _truth(data, data.analysis)
    expected = estimator.expect(frame, answers)
    known = certain(data.kind, data.classes, answers, truth)
    outside = estimator.outside(frame)
    earlier: deque[tuple[Bar, float]] = deque(maxlen=LAST)
    first = "mae" if data.kind == "regression" else "accuracy"
    found: dict[str, Chunk] = {}
    for name, members in data.analysis.groupby("chunk", sort=False).indices.items():
        rows = np.asarray(members)
        given = answers.take(rows)
        bars = of_rows(data.kind, data.classes, given, expected[rows], spread)
        realised = {
            metric: bar.value
            for metric, bar in of_rows(data.kind, data.classes, given, known[rows], {}).items()
        }
        why = distrust(len(rows), int(outside[rows].sum()), tuple(earlier))
        found[str(name)] = Chunk(len(rows), bars, realised, why)
        earlier.append((bars[first], realised[first]))
    return found


def _frame(data: Predicted, part: pd.DataFrame) -> pd.DataFrame:
    frame = part[list(data.features)].copy()
    for name in data.features:
        if name in data.categories:
            words = sorted(data.reference[name].dropna().unique())
            frame[name] = pd.Categorical(part[name], categories=words)
        else:
            frame[name] = part[name].astype(np.float64)
    return frame


def _answers(data: Predicted, part: pd.DataFrame) -> Answers:
    if data.kind == "regression":
        return Answers(part["answer"].to_numpy(np.float64))
    if data.kind == "binary":
        return Answers(part["answer"].to_numpy() == 1, part["probability"].to_numpy(np.float64))
    probabilities = part[[f"p:{name}" for name in data.classes]].to_numpy(np.float64)
    return Answers(part["answer"].to_numpy(object), probabilities.max(axis=1), probabilities)


def _truth(data: Predicted, part: pd.DataFrame) -> npt.NDArray[np.generic]:
    if data.kind == "binary":
        return np.asarray(part["truth"].to_numpy() == 1)
    return np.asarray(part["truth"].to_numpy(object if data.kind == "multiclass" else np.float64))
