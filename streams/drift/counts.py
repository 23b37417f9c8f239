"""Counts: what one micro-batch adds, as sums against a version's reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columns import Column, Columns
from streams.drift.numbers import positions
from streams.drift.policy import Drift
from streams.drift.rates import GRID
from streams.drift.reference import Block, Errors, Reference
from streams.event_time import earliest, latest
from streams.groups import text
from streams.task import Task

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

HOUR_MS = 3_600_000
STEP = 16
"""Labels of a step at most: a batch's labels keep their order to this."""
MOST_COUNTED = 512
"""Predictions of a batch at most whose inputs, answers and scores are counted: bounds the cost."""
LABELLER = "labeller"
"""A source of truths whose inputs were chosen for being hard: no measure of the error rate."""


@dataclass(frozen=True, eq=False)
class Counts:
    """Sums of records of one version and one bucket of event time (an hour).

    version, bucket (its start, ms): whose and when. first, last: event times, ms; None: no record
    tells any.
    records: predictions, and truths of which there is no prediction here count as none.
    cells: (cells of the reference's blocks,) counts. wild: per block, numbers that are outliers.
    totals: per block, the sum of its numbers, each clipped.
    labels: (steps, 3 + grid) rows of n, errors, expected errors and, for each of GRID, the sum of
        ln(1 + e (exp(θ) − 1)) over the labels' expected errors e; in order of arrival.
    segments: ``segment=value`` ► n, errors, expected errors.
    expected: n, errors that the version's estimator expects.
    """

    version: str
    bucket: int
    first: int | None
    last: int | None
    records: int
    cells: Rows
    wild: Rows
    totals: Floats
    labels: Floats = field(default_factory=lambda: np.zeros((0, 3 + len(GRID))))
    segments: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    expected: tuple[float, float] = (0.0, 0.0)

    def __add__(self, other: Counts) -> Counts:
        """Both, these before the others. ValueError where they are not of one version."""
        if self.version != other.version or len(self.cells) != len(other.cells):
            raise ValueError(f"counts of {self.version} and of {other.version} do not add up")
        segments = dict(self.segments)
        for name, sums in other.segments.items():
            mine = segments.get(name, (0.0, 0.0, 0.0))
            segments[name] = (mine[0] + sums[0], mine[1] + sums[1], mine[2] + sums[2])
        return Counts(
            self.version,
            min(self.bucket, other.bucket),
            earliest(self.first, other.first),
            latest(self.last, other.last),
            self.records + other.records,
            self.cells + other.cells,
            self.wild + other.wild,
            self.totals + other.totals,
            np.concatenate([self.labels, other.labels]),
            segments,
            (self.expected[0] + other.expected[0], self.expected[1] + other.expected[1]),
        )

    def plain(self) -> dict[str, Any]:
        """As JSON data; `of` is its inverse."""
        return {
            "version": self.version,
            "bucket": self.bucket,
            "first": self.first,
            "last": self.last,
            "records": self.records,
            "cells": self.cells.tolist(),
            "wild": self.wild.tolist(),
            "totals": self.totals.tolist(),
            "labels": self.labels.tolist(),
            "segments": {name: list(sums) for name, sums in self.segments.items()},
            "expected": list(self.expected),
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Counts:
        """What `plain` made. KeyError, TypeError or ValueError where it did not."""
        labels = np.array(data["labels"], np.float64).reshape(-1, 3 + len(GRID))
        first, last = plain_time(data["first"]), plain_time(data["last"])
        if (first is None or last is None) and (len(labels) or data["records"]):
            raise ValueError("counts of records have event times")
        return cls(
            str(data["version"]),
            int(data["bucket"]),
            first,
            last,
            int(data["records"]),
            np.array(data["cells"], np.int64),
            np.array(data["wild"], np.int64),
            np.array(data["totals"], np.float64),
            labels,
            {name: (float(n), float(k), float(e)) for name, (n, k, e) in data["segments"].items()},
            (float(data["expected"][0]), float(data["expected"][1])),
        )


def plain_time(given: Any) -> int | None:
    """An event time of JSON data; older versions wrote −1 where there was none."""
    return None if given is None or int(given) < 0 else int(given)


def parts(policy: Drift, columns: Columns) -> Iterator[tuple[str, int, Rows]]:
    """The rows of each version and bucket of event time: what one `Counts` is of.

    columns: of predictions or outcomes. Rows without a version belong to none. A bucket is an hour
    where the policy declares a season, else the batch is not parted and its bucket is the hour of
    its oldest record.
    """
    versions = columns["version"].values
    if not len(versions):
        return
    buckets = columns["event_time"].values // HOUR_MS
    if not policy.seasonality:
        buckets = np.full(len(buckets), buckets.min())
    if (versions == versions[0]).all() and buckets.min() == buckets.max():
        if versions[0]:
            yield versions[0], int(buckets[0]) * HOUR_MS, np.arange(len(versions))
        return
    for version in sorted({one for one in versions.tolist() if one}):
        of_it = np.flatnonzero(versions == version)
        for bucket in np.unique(buckets[of_it]).tolist():
            yield version, bucket * HOUR_MS, of_it[buckets[of_it] == bucket]


def count_predictions(task: Task, reference: Reference, columns: Columns, rows: Rows) -> Counts:
    """Sums of predictions: inputs, answers, scores, expected performance.

    rows: of the reference's version and one bucket (`parts`); rejected ones add nothing.
    """
    rows = rows[columns["status"].values[rows] != "rejected"]
    records, expected = len(rows), _expected(task, columns, rows)
    # A larger batch is a backlog: every k-th of its rows tells of its inputs.
    rows = rows[:: -(-len(rows) // MOST_COUNTED) or 1]
    answered = columns["status"].values[rows] == "answered"
    made = _Sums(reference, columns, rows)
    made.add_numbers(columns, rows)  # and what they are jointly
    for at, block in enumerate(reference.blocks):
        if block.kind == "data" and block.names is not None:
            made.add(at, block, columns[block.path].take(rows))
        elif block.kind in ("prediction", "score"):
            column = columns[block.path].take(rows)
            # Answers are the model's; a score that is not there was not asked for.
            kept = answered if block.path != "gate_score" else np.ones(len(rows), bool)
            made.add(at, block, column.take(kept & _valid(column)))
    return made.counts(records, expected=expected)


def count_outcomes(task: Task, reference: Reference, columns: Columns, rows: Rows) -> Counts:
    """Sums of outcomes: truths and errors, of first truths of answers of the model.

    rows: as `count_predictions` takes them. Left out: weak labels, corrections, what the gate
    would have held back and the model answered all the same (harder than what it lets through),
    and truths of labellers, who are asked of the hardest.
    """
    made = _Sums(reference, columns, rows)
    first = (
        (columns["label"].values == "true")
        & ~_valid(columns["previous_truth"])
        & (columns["source"].values != LABELLER)
        & (columns["status"].values == "answered")
        & (columns["gate_decision"].values != "defer")
    )
    rows = rows[first[rows]]
    for at, block in enumerate(reference.blocks):
        if block.kind == "target":
            made.add(at, block, columns[block.path].take(rows))
    if reference.errors is None or not len(rows):
        return made.counts(0)
    wrong = errors_of(task, reference.errors, columns, rows)
    expected = expected_errors(reference.errors, columns["probability"].values[rows])
    labels = steps(wrong, expected)
    segments: dict[str, tuple[float, float, float]] = {}
    for name in task.segments:
        column = columns[f"features.{name}"].take(rows)
        there = _valid(column)
        values = column.values[there]
        for value in sorted(set(values.tolist())):
            of_it = np.flatnonzero(there)[values == value]
            sums = (len(of_it), wrong[of_it].sum(), expected[of_it].sum())
            segments[f"{name}={text(value)}"] = (float(sums[0]), float(sums[1]), float(sums[2]))
    return made.counts(0, labels=labels, segments=segments)


def errors_of(task: Task, errors: Errors, columns: Columns, rows: Rows) -> Mask:
    """Which answers were wrong; of a regression, by more than ``errors.beyond``."""
    answers, truths = columns["answer"].values[rows], columns["truth"].values[rows]
    if task.kind != "regression":
        wrong: Mask = answers != truths
        return wrong.astype(bool)
    assert errors.beyond is not None
    far: Mask = np.abs(answers.astype(np.float64) - truths.astype(np.float64)) > errors.beyond
    return far


def expected_errors(errors: Errors, probabilities: npt.NDArray[Any]) -> Floats:
    """P(error) of each answer: by the model's probability where the reference tells it so."""
    if not len(errors.by_score):
        return np.full(len(probabilities), errors.rate)
    scores = probabilities.astype(np.float64)
    at = np.searchsorted(errors.score_edges, scores, side="right")
    return np.where(np.isnan(scores), errors.rate, errors.by_score[at])


def steps(wrong: npt.NDArray[Any], expected: Floats) -> Floats:
    """Labels in their order as rows of `Counts.labels`."""
    loads = np.log1p(expected[:, None] * np.expm1(GRID))
    table = np.column_stack([np.ones(len(wrong)), wrong.astype(np.float64), expected, loads])
    if not len(table):
        return table
    return np.add.reduceat(table, np.arange(0, len(table), STEP), axis=0)


class _Sums:
    """Counts in the making."""

    def __init__(self, reference: Reference, columns: Columns, rows: Rows) -> None:
        times = columns["event_time"].values[rows]
        self._reference = reference
        self._first = int(times.min()) if len(times) else None
        self._last = int(times.max()) if len(times) else None
        self._starts = reference.starts
        self._cells = np.zeros(self._starts[-1], np.int64)
        self._wild = np.zeros(len(reference.blocks), np.int64)
        self._totals = np.zeros(len(reference.blocks))

    def add_numbers(self, columns: Columns, rows: Rows) -> None:
        numbers = self._reference.numbers
        table = numbers.count(columns, rows, self._cells, self._wild, self._totals)
        reference = self._reference
        if reference.joint is None:
            return
        first = len(reference.blocks) - len(reference.joint)
        starts = np.array(self._starts[first:-1], np.int64)[:, None]
        places = positions(reference.joint(table), reference.joint_edges) + starts
        self._cells += np.bincount(places.ravel(), minlength=len(self._cells))

    def add(self, at: int, block: Block, column: Column) -> None:
        present = _valid(column)
        values = column.values
        if block.names is None:
            numbers = values.astype(np.float64)
            present = present & ~np.isnan(numbers)
            there = numbers[present]
            self._wild[at] = np.count_nonzero((there < block.low) | (there > block.high))
            self._totals[at] = float(np.clip(there, *block.clip).sum())
            values = numbers
        self._cells[self._starts[at] : self._starts[at + 1]] = block.count(values, present)

    def counts(self, records: int, **more: Any) -> Counts:
        bucket = 0 if self._first is None else self._first // HOUR_MS * HOUR_MS
        return Counts(
            self._reference.version,
            bucket,
            self._first,
            self._last,
            records,
            self._cells,
            self._wild,
            self._totals,
            **more,
        )


def _expected(task: Task, columns: Columns, rows: Rows) -> tuple[float, float]:
    """Answers with an expectation, and the errors expected of them."""
    if task.kind == "regression" or "expected" not in columns:
        return 0.0, 0.0
    rows = rows[columns["status"].values[rows] == "answered"]
    lists = columns["expected"].values[rows]
    width = 1 if task.kind == "binary" else len(task.classes)
    there = np.array([one is not None and len(one) == width for one in lists], bool)
    if not there.any():
        return 0.0, 0.0
    expected = np.concatenate(lists[there].tolist()).reshape(-1, width)
    answers = columns["answer"].values[rows[there]]
    if task.kind == "binary":
        right = np.where(answers.astype(bool), expected[:, 0], 1 - expected[:, 0])
    else:
        place = {name: at for at, name in enumerate(task.classes)}
        right = expected[np.arange(len(answers)), [place[name] for name in answers.tolist()]]
    return float(len(right)), float((1 - right).sum())


def _valid(column: Column) -> Mask:
    return column.present
