"""What drift is measured against, beyond the profile: errors, scores, seasons, clusters in time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columns import Column
from schemas.features import Boolean, Category
from streams.drift import clusters, seasons
from streams.drift.joint import fit_joint
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
    inputs = columns_of(task.inputs, data.frame, prefix="")
    made["joint"] = joint_of(task, {name: column.values for name, column in inputs.items()})
    reference = Reference(task, "", {**profile, "drift": made})
    columns: dict[str, tuple[Column, npt.NDArray[np.int64]]] = {
        f"features.{name}": (column, data.times_ms) for name, column in inputs.items()
    }
    if reference.joint is not None:
        table = _numbers_of(task, {name: column.values for name, column in inputs.items()})[1]
        for k, values in enumerate(reference.joint(table)):
            columns[f"joint.{k}"] = Column(values), data.times_ms
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
    present = column.present
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
    edges, by_score, expected = errors_by_score(given.probability, wrong)
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


def joint_of(task: Task, columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any] | None:
    """Projections of the numbers among a table's columns, and the distribution of each."""
    names, table = _numbers_of(task, columns)
    joint = fit_joint(names, table)
    if joint is None:
        return None
    return {"projections": joint.plain(), "blocks": [numbers(one) for one in joint(table)]}


def _numbers_of(task: Task, columns: Mapping[str, npt.NDArray[Any]]) -> tuple[list[str], Floats]:
    """Inputs that are numbers, of which training had any, as rows of a table with NaN."""
    found = {
        feature.name: np.asarray(columns[feature.name], np.float64)
        for feature in task.inputs
        if not isinstance(feature, Category | Boolean) and feature.name in columns
    }
    kept = {name: values for name, values in found.items() if not np.isnan(values).all()}
    return list(kept), np.array(list(kept.values())) if kept else np.zeros((0, 0))


def errors_by_score(probability: Floats | None, wrong: Mask) -> tuple[Floats, Floats, Floats]:
    """Edges of bins of the probability, the error rate in each, and that of each row's bin.

    Without probabilities, or with too few rows: no bins, and the rate of all.
    """
    n = len(wrong)
    if probability is None or n < 10 * SCORE_BINS:
        return np.zeros(0), np.zeros(0), np.full(n, wrong.mean() if n else 0.0)
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, SCORE_BINS + 1)[1:-1]))
    at = np.searchsorted(edges, probability, side="right")
    size = np.bincount(at, minlength=len(edges) + 1)
    by_score = (np.bincount(at, wrong, len(edges) + 1) + wrong.mean()) / (size + 1)
    return edges, by_score, by_score[at]


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
