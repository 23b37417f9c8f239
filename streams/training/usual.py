"""What drift is measured against, beyond the profile: errors, scores, seasons, clusters in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columns import Column
from streams.drift import clusters, seasons
from streams.drift.reference import Block, Reference
from streams.estimates.saved import Saved
from streams.frame import columns_of
from streams.groups import text
from streams.task import Task
from streams.training.data import Dataset
from streams.training.profile import answers_of, numbers
from streams.version import Answers

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SCORE_BINS = 20
"""Bins of the probability that the error rate is kept by, of as many rows each."""


def usual(
    task: Task,
    data: Dataset,
    profile: dict[str, Any],
    held_out: Answers,
    wrong: Mask,
    beyond: float,
    gate_scores: Floats | None,
    admitted: Mask,
    estimates: Saved | None,
) -> dict[str, Any]:
    """JSON data for the profile's ``drift``; `streams.drift.reference` reads it.

    held_out, wrong: answers to all rows by models that did not learn from them, and which were
    errors. gate_scores, admitted: of the test rows; what the gate lets through is what serving
    answers, and so what is compared.
    """
    where = data.test
    times = data.times_ms[where][admitted]
    given = held_out.take(where).take(admitted)
    errors = wrong[where][admitted].astype(bool)
    made: dict[str, Any] = {
        "errors": _errors(task, data, given, errors, admitted, beyond),
        "answers": answers_of(given.answer),
        "probability": None if given.probability is None else numbers(given.probability),
        "gate_score": None if gate_scores is None else numbers(gate_scores),
        "expected_error": _expected_error(task, data, given, admitted, estimates),
    }
    reference = Reference(task, "", {**profile, "drift": made})
    columns: dict[str, tuple[Column, npt.NDArray[np.int64]]] = {
        f"features.{name}": (column, data.times_ms)
        for name, column in columns_of(task.inputs, data.frame, prefix="").items()
    }
    columns["answer"] = Column(given.answer), times
    columns["truth"] = Column(data.target), data.times_ms
    if given.probability is not None:
        columns["probability"] = Column(given.probability), times
    if gate_scores is not None:
        columns["gate_score"] = Column(gate_scores), data.times_ms[where]
    made["inflation"], made["slots"] = {}, {}
    for block in reference.blocks:
        column, at = columns[block.path]
        _of_block(task, block, column, at, made)
    return made


def _of_block(
    task: Task, block: Block, column: Column, times: npt.NDArray[np.int64], made: dict[str, Any]
) -> None:
    present = np.ones(len(column), bool) if column.valid is None else column.valid
    codes = block.positions(column.values, present)
    known = codes < block.bins
    key, season = f"{block.kind} {block.subject}", task.drift.seasonality
    expected = None
    if season:
        count = seasons.slots(season)
        at = seasons.slot_of(times[known], season)
        table = seasons.shares_of(codes[known], block.bins, at, count)
        made["slots"][key] = table.tolist()
        expected = table[at]
    made["inflation"][key] = clusters.of_shares(codes[known], block.bins, expected)
    missing = (codes == block.bins + 1).astype(np.float64)
    if missing.any():
        ratio = clusters.of_errors(missing, np.full(len(missing), missing.mean()))
        made["inflation"][f"missing {block.subject}"] = ratio


def _errors(
    task: Task, data: Dataset, given: Answers, wrong: Mask, admitted: Mask, beyond: float
) -> dict[str, Any]:
    n = len(wrong)
    edges, by_score = np.zeros(0), np.zeros(0)
    expected = np.full(n, wrong.mean() if n else 0.0)
    if given.probability is not None and n >= 10 * SCORE_BINS:
        inner = np.linspace(0, 1, SCORE_BINS + 1)[1:-1]
        edges = np.unique(np.quantile(given.probability, inner))
        at = np.searchsorted(edges, given.probability, side="right")
        size = np.bincount(at, minlength=len(edges) + 1)
        by_score = (np.bincount(at, wrong, len(edges) + 1) + wrong.mean()) / (size + 1)
        expected = by_score[at]
    frame = data.rows(data.test)[0][admitted].reset_index(drop=True)
    columns = columns_of(task.features, frame, prefix="")
    segments: dict[str, list[float]] = {}
    for name in task.segments:
        column = columns[name]
        there = np.ones(n, bool) if column.valid is None else column.valid
        for value in sorted(set(column.values[there].tolist())):
            of_it = there & (column.values == value)
            sums = (of_it.sum(), wrong[of_it].sum(), expected[of_it].sum())
            segments[f"{name}={text(value)}"] = [float(one) for one in sums]
    return {
        "size": n,
        "errors": int(wrong.sum()),
        "expected": float(expected.sum()),
        "beyond": beyond if task.kind == "regression" else None,
        "score_edges": edges.tolist(),
        "by_score": by_score.tolist(),
        "segments": segments,
        "inflation": clusters.of_errors(wrong.astype(np.float64), expected) if n else 1.0,
    }


def _expected_error(
    task: Task, data: Dataset, given: Answers, admitted: Mask, estimates: Saved | None
) -> float | None:
    if estimates is None or task.kind == "regression" or not len(given):
        return None
    frame = data.rows(data.test)[0][admitted].reset_index(drop=True)
    expected = estimates.expect(frame, given).values
    if task.kind == "binary":
        right = np.where(given.answer.astype(bool), expected[:, 0], 1 - expected[:, 0])
    else:
        place = {name: at for at, name in enumerate(task.classes)}
        right = expected[np.arange(len(given)), [place[name] for name in given.answer.tolist()]]
    return float(1 - right.mean())
