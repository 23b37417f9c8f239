"""Estimates of windows: what predictions add to the sums of metrics, and what follows from them.

Each prediction that a version with an estimator answered carries what was expected of its truth
(`expected`, `expected_spread`, `outside_region`). Their sums stand beside the outcomes' in the same
tallies: counts ``estimated`` and ``outside``, sums ``expected_…`` (`measures.parts`) and
``spread_…``, and cells behind the outcomes' grid with the expected positives and negatives by
score, in thousandths.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columns import Columns
from schemas.records import Kind
from streams.estimates.measures import LEAST_ROWS, SPREAD, Bar, bars, distrust, parts
from streams.quality import BINS, CLASS_BINS, Sums, bin_of, cells_of
from streams.task import Task
from streams.version import Answers

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

UNITS = 1000
"""An expected positive counts in thousandths: whole numbers add up exactly."""
METRICS = ("accuracy", "roc_auc", "log_loss", "mae", "rmse")
FIELDS = (
    *(f"estimated_{name}{end}" for name in METRICS for end in ("", "_low", "_high", "_error")),
    *("estimate_trusted", "estimate_doubt"),
)
"""Fields of a metric record; an error is the estimate less the realised value."""


class Expectations:
    """What each row of a batch of predictions adds."""

    def __init__(self, task: Task, columns: Columns) -> None:
        self._kind: Kind = task.kind
        self._k = len(task.classes)
        width = {"binary": 1, "multiclass": self._k, "regression": 2}[task.kind]
        names = SPREAD[task.kind]
        lists, spreads = columns["expected"].values, columns["expected_spread"].values
        there = [
            len(e) == width and len(s) == len(names) for e, s in zip(lists, spreads, strict=True)
        ]
        answered = columns["status"].values == "answered"
        self._has = np.array(there, bool) & answered if there else answered
        at = np.flatnonzero(self._has)
        self._place = np.cumsum(self._has) - 1  # of a row among those that have an expectation
        self._outside = columns["outside_region"].values.astype(bool)
        if not len(at):
            return
        expected, spread = np.stack(list(lists[at])), np.stack(list(spreads[at]))
        answers = _answers(task, columns, at)
        self._parts = {
            **{
                f"expected_{n}": v
                for n, v in parts(task.kind, task.classes, answers, expected).items()
            },
            **{f"spread_{n}": spread[:, i] for i, n in enumerate(names)},
        }
        self._cells, self._weights = _cells(task.kind, self._k, answers, expected)

    def sums(self, rows: Rows) -> Sums:
        """The sums of some rows; empty where none has an expectation."""
        rows = rows[self._has[rows]]
        if not len(rows):
            return Sums()
        counts = {"estimated": len(rows), "outside": int(self._outside[rows].sum())}
        at = self._place[rows]
        sums = {name: float(values[at].sum()) for name, values in self._parts.items()}
        cells, inverse = np.unique(self._cells[at].ravel(), return_inverse=True)
        weights = np.bincount(inverse, self._weights[at].ravel(), len(cells)).astype(np.int64)
        used = weights != 0
        return Sums(
            counts, sums, dict(zip(cells[used].tolist(), weights[used].tolist(), strict=True))
        )


def _answers(task: Task, columns: Columns, at: Rows) -> Answers:
    answer = columns["answer"].values[at]
    if task.kind == "regression":
        return Answers(answer.astype(np.float64))
    probability = columns["probability"].values[at].astype(np.float64)
    if task.kind == "binary":
        return Answers(answer.astype(bool), probability)
    return Answers(answer, probability, np.stack(list(columns["probabilities"].values[at])))


def _cells(kind: Kind, k: int, answers: Answers, expected: Floats) -> tuple[Rows, Rows]:
    """Of each row the cells that it counts in, and with how many thousandths."""
    n = len(expected)
    if kind == "regression":
        return np.zeros((n, 0), np.int64), np.zeros((n, 0), np.int64)
    bins = BINS if kind == "binary" else CLASS_BINS
    scores = answers.probability[:, None] if kind == "binary" else answers.probabilities  # type: ignore[index]
    assert scores is not None
    first = cells_of(kind, k) + 2 * bins * np.arange(scores.shape[1])
    negative = first + bin_of(scores, bins)
    positives = np.rint(np.clip(expected, 0, 1) * UNITS).astype(np.int64)
    return (
        np.concatenate([negative, negative + bins], axis=1),
        np.concatenate([UNITS - positives, positives], axis=1),
    )


def fields(kind: Kind, k: int, sums: Sums, realised: Mapping[str, float]) -> dict[str, Any]:
    """The estimates of a group, by field of the metric record; all null without predictions.

    realised: the metrics of those whose truth has come.
    """
    made: dict[str, Any] = dict.fromkeys(FIELDS)
    n, scored = sums.count("estimated"), sums.count("scored")
    if n <= 0:
        return made
    expected = {
        name[9:]: value for name, value in sums.sums.items() if name.startswith("expected_")
    }
    spread = {name: sums.sums.get(f"spread_{name}", 0.0) / n for name in SPREAD[kind]}
    areas = _areas(kind, k, sums)
    for name, bar in bars(n, expected, areas, spread).items():
        made[f"estimated_{name}"] = bar.value
        made[f"estimated_{name}_low"], made[f"estimated_{name}_high"] = bar.low, bar.high
        if name in realised:
            made[f"estimated_{name}_error"] = bar.value - realised[name]
    own: tuple[Bar, float] | None = None
    first = "mae" if kind == "regression" else "accuracy"
    if scored >= LEAST_ROWS and first in realised:
        of_scored = bars(n, expected, areas, spread, rows=scored)[first]
        own = of_scored, realised[first]
    doubt = distrust(n, sums.count("outside"), own=own)
    made["estimate_trusted"], made["estimate_doubt"] = not doubt, doubt or None
    return made


def _areas(kind: Kind, k: int, sums: Sums) -> list[tuple[Floats, Floats]]:
    if kind == "regression":
        return []
    bins, curves = (BINS, 1) if kind == "binary" else (CLASS_BINS, k)
    first = cells_of(kind, k)
    grid = np.zeros(2 * bins * curves)
    for cell, weight in sums.cells.items():
        if cell >= first:
            grid[cell - first] = weight / UNITS
    both = grid.reshape(curves, 2, bins)
    return [(both[c, 1], both[c, 0]) for c in range(curves)]
