"""Contributions: what outcomes add to the sums that the quality metrics follow from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columns import Columns
from streams.quality import BINS, CLASS_BINS, EPSILON, Sums, bin_of
from streams.task import Task

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

UNITS = 1000
"""A label's weight counts in thousandths, so that weighted counts are whole numbers, and exact."""


class Contributions:
    """What each row of a batch of outcomes contributes, judged by one truth each.

    masks: what is counted, by name, a bool a row. losses: what is summed. cells: the cells of the
    grid that a row counts in, (n, m). answer_cells: the first of these columns that need no
    probability.
    """

    def __init__(
        self,
        masks: dict[str, npt.NDArray[np.bool_]],
        losses: dict[str, Floats],
        cells: Rows | None = None,
        answer_cells: int = 0,
        of_answers: Sequence[str] = (),
    ) -> None:
        self._masks, self._losses, self._cells = masks, losses, cells
        self._answer_cells, self._of_answers = answer_cells, of_answers
        self._last: dict[tuple[int, int, int, int], tuple[Rows, Sums]] = {}

    def sums(
        self,
        rows: Rows,
        sign: int = 1,
        weights: Rows | None = None,
        answers_only: bool = False,
    ) -> Sums:
        """The sums of some rows, for reading only; sign −1 takes them back.

        weights: of every row of the batch, in `UNITS`; then all sums are in these units.
        answers_only: without what follows from probabilities, of answers that came with none.
        """
        if weights is not None or answers_only or not len(rows):
            return self._sums(rows, sign, weights, answers_only)
        # Often all of a group's labels are of one source, or all were admitted: the same rows.
        about = (int(rows[0]), int(rows[-1]), len(rows), sign)
        known = self._last.get(about)
        if known is None or not np.array_equal(known[0], rows):
            known = self._last[about] = rows, self._sums(rows, sign, None, False)
        return known[1]

    def _sums(self, rows: Rows, sign: int, weights: Rows | None, answers_only: bool) -> Sums:
        of = None if weights is None else weights[rows]
        counts, sums = {}, {}
        for name, mask in self._masks.items():
            hit = mask[rows]
            counts[name] = sign * int(hit.sum() if of is None else of[hit].sum())
        for name, loss in self._losses.items():
            if not answers_only or name in self._of_answers:
                here = loss[rows]
                sums[name] = sign * float(here.sum() if of is None else (here * of).sum())
        if self._cells is None:
            return Sums(counts, sums)
        cells = self._cells[rows, : self._answer_cells] if answers_only else self._cells[rows]
        return Sums(counts, sums, _counted(cells, sign, of))


def contributions(task: Task, columns: Columns, truths: npt.NDArray[Any]) -> Contributions:
    """What outcomes contribute.

    truths: the truth to judge by, of every row of `columns` (a correction judges by two).
    """
    # Squares of what may be as large as a float goes are infinite, and left out when measured.
    with np.errstate(over="ignore"):
        if task.kind == "regression":
            return _regression(columns, truths)
        if task.kind == "binary":
            return _binary(columns, truths)
        return _multiclass(task.classes, columns, truths)


def _binary(columns: Columns, truths: npt.NDArray[Any]) -> Contributions:
    answers = columns["answer"].values.astype(bool)
    truth = truths.astype(bool)
    p = columns["probability"].values.astype(np.float64)
    p = np.clip(np.where(np.isfinite(p), p, 0.5), EPSILON, 1 - EPSILON)
    loss = -np.log(np.where(truth, p, 1 - p))
    brier = (p - truth) ** 2
    return Contributions(
        {
            "tp": truth & answers,
            "fp": ~truth & answers,
            "tn": ~truth & ~answers,
            "fn": truth & ~answers,
        },
        _with_squares(loss, brier),
        (truth * BINS + bin_of(p))[:, None],
    )


def _multiclass(
    classes: Sequence[str], columns: Columns, truths: npt.NDArray[Any]
) -> Contributions:
    k = len(classes)
    number = {name: i for i, name in enumerate(classes)}
    scored = [len(p) == k for p in columns["probabilities"].values]
    probabilities = np.full((len(truths), k), 1 / k)
    if any(scored):
        probabilities[scored] = np.stack(
            [p for p in columns["probabilities"].values if len(p) == k]
        )
    truth = np.array([number.get(name, 0) for name in truths], np.int64)
    answer = np.array([number.get(name, 0) for name in columns["answer"].values], np.int64)
    p = np.clip(probabilities[np.arange(len(truth)), truth], EPSILON, 1.0)
    loss = -np.log(p)
    brier = ((probabilities - np.eye(k)[truth]) ** 2).sum(axis=1)
    top = probabilities[np.arange(len(truth)), answer]
    per_class = k * k + CLASS_BINS * (2 * np.arange(k) + np.eye(k, dtype=np.int64)[truth])
    cells = np.column_stack(
        [
            truth * k + answer,
            per_class + bin_of(probabilities, CLASS_BINS),
            k * k + 2 * k * CLASS_BINS + (truth == answer) * CLASS_BINS + bin_of(top, CLASS_BINS),
        ]
    )
    return Contributions({}, _with_squares(loss, brier), cells, answer_cells=1)


def _with_squares(loss: Floats, brier: Floats) -> dict[str, Floats]:
    return {
        "log_loss": loss,
        "brier": brier,
        "log_loss_squared": loss * loss,
        "brier_squared": brier * brier,
    }


def _regression(columns: Columns, truths: npt.NDArray[Any]) -> Contributions:
    truth = truths.astype(np.float64)
    error = columns["answer"].values.astype(np.float64) - truth
    losses = {
        "absolute_error": np.abs(error),
        "squared_error": error**2,
        "fourth_power": error**4,
        "truth": truth,
        "truth_squared": truth**2,
    }
    return Contributions({}, losses, of_answers=tuple(losses))


def _counted(cells: Rows, sign: int, weights: Rows | None) -> dict[int, int]:
    if weights is None:
        found, counts = np.unique(cells, return_counts=True)
    else:
        found, at = np.unique(cells.ravel(), return_inverse=True)
        each = np.repeat(weights, cells.shape[1])
        counts = np.bincount(at, each, len(found)).astype(np.int64)
    return {
        cell: sign * count
        for cell, count in zip(found.tolist(), counts.tolist(), strict=True)
        if count
    }
