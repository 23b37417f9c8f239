"""Tallies: what one batch of predictions or outcomes adds to each pane and group."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.codec import Codec
from schemas.columns import Columns
from schemas.topics import BY_NAME
from streams.dead_letters import DeadLetter, DeadLetters
from streams.horizon import NEVER
from streams.quality import BINS, CLASS_BINS, EPSILON, Sums, bin_of
from streams.task import Task, Window
from streams.transport.batch import Output, RecordBatch, Result

STAGE = "metrics"
Mask = npt.NDArray[np.bool_]


class Group(NamedTuple):
    """What sums are kept by: a pane of event time, a version and its role, a segment."""

    pane_start: int
    version: str
    role: str
    segment: str
    value: str


def pane_ms(windows: Sequence[Window]) -> int:
    """Length of a pane: the largest span of which every window and slide is a multiple."""
    spans: list[timedelta] = [s for window in windows for s in (window.length, window.slide)]
    return math.gcd(*(round(span.total_seconds() * 1000) for span in spans))


def sources_of(task: Task) -> list[str]:
    """The names of all sources of tallies: each partition of what is tallied."""
    return [
        f"{BY_NAME[name].topic(task.name)}/{partition}"
        for name in ("predictions", "outcomes")
        for partition in range(task.partitions)
    ]


class Tally:
    """The stage that sums: without state, so that any worker can sum any partition's batches."""

    def __init__(self, task: Task, codecs: dict[str, Codec], clock: Callable[[], int]) -> None:
        self._task = task
        self._clock = clock
        self._pane = pane_ms(task.windows)
        self._tallies = codecs["tally"]
        self._dead = DeadLetters(task.name, codecs["dead_letter"], STAGE)
        self._topic = BY_NAME["tallies"].topic(task.name)
        self._read = {
            BY_NAME["predictions"].topic(task.name): (codecs["prediction"], self._predictions),
            BY_NAME["outcomes"].topic(task.name): (codecs["outcome"], self._outcomes),
        }

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that the agent reads."""
        return tuple(self._read)

    def __call__(self, batch: RecordBatch) -> Result:
        """Sum one batch."""
        codec, add = self._read[batch.topic]
        decoded = codec.decode(batch.values)
        outputs = []
        if len(decoded):
            rows = decoded.columns["status"].values != "rejected"
            times = decoded.columns["event_time"].values
            newest = int(times[rows].max()) if rows.any() else NEVER
            groups = add(_true_labels(decoded.columns))
            source = f"{batch.topic}/{batch.partition}"
            records = [record(group, sums, NEVER, source) for group, sums in groups.items()]
            # The last one alone tells how far the source has come: the records may be read apart,
            # and a pane must not leave before all that this batch adds to it is there.
            records[-1]["newest"] = newest
            keys = [str(group.pane_start).encode() for group in groups]
            outputs.append(Output(self._topic, keys, self._tallies.write_many(records)))
        if decoded.failures:
            letters = [DeadLetter(f.position, f.reason, f.message) for f in decoded.failures]
            outputs.append(self._dead.output(batch, letters, self._clock()))
        return Result(batch, outputs)

    def _predictions(self, columns: Columns) -> dict[Group, Sums]:
        status = columns["status"].values
        rejected = status == "rejected"
        ones = {
            "predictions": ~rejected,
            "deferred": status == "deferred",
            "rejected": rejected,
        }
        groups: dict[Group, Sums] = {}
        for group, rows in self._groups(columns, columns["features"].values):
            groups[group] = Sums({name: int(mask[rows].sum()) for name, mask in ones.items()})
        return groups

    def _outcomes(self, columns: Columns) -> dict[Group, Sums]:
        truths, previous = columns["truth"], columns["previous_truth"]
        n = len(truths)
        groups: dict[Group, Sums] = {}
        corrected = np.ones(n, bool) if previous.valid is None else previous.valid
        first = ~corrected
        everything = np.ones(n, bool)
        add = contributions(self._task, columns, truths.values)
        take = contributions(self._task, columns, previous.values) if corrected.any() else None
        scored = columns["status"].values == "answered"
        for group, rows in self._groups(columns, everything):
            sums = Sums(
                {
                    "outcomes": int(first[rows].sum()),
                    "scored": int((first & scored)[rows].sum()),
                    "corrections": int(corrected[rows].sum()),
                }
            )
            sums.add(add(rows[scored[rows]], 1))
            if take is not None:
                sums.add(take(rows[(scored & corrected)[rows]], -1))
            groups[group] = sums
        return groups

    def _groups(
        self, columns: Columns, has_features: Mask
    ) -> Iterator[tuple[Group, npt.NDArray[np.int64]]]:
        """Each group of the batch with its rows: all traffic, then each segment."""
        panes = columns["event_time"].values // self._pane * self._pane
        versions, roles = columns["version"].values, columns["role"].values
        base = list(zip(panes.tolist(), versions.tolist(), roles.tolist(), strict=True))
        yield from _by(base, "", [""] * len(base), np.ones(len(base), bool))
        for name in self._task.segments:
            column = columns[f"features.{name}"]
            present = has_features if column.valid is None else has_features & column.valid
            values = [_text(value) for value in column.values.tolist()]
            yield from _by(base, name, values, present)


def _true_labels(columns: Columns) -> Columns:
    """Predictions, or outcomes without weak labels: these are never mixed with true ones."""
    if "label" not in columns:
        return columns
    true = columns["label"].values == "true"
    if true.all():
        return columns
    return {path: column.take(np.flatnonzero(true)) for path, column in columns.items()}


def _by(
    base: list[tuple[int, str, str]], segment: str, values: list[str], present: Mask
) -> Iterator[tuple[Group, npt.NDArray[np.int64]]]:
    rows: dict[tuple[tuple[int, str, str], str], list[int]] = {}
    for row in np.flatnonzero(present).tolist():
        rows.setdefault((base[row], values[row]), []).append(row)
    for ((pane, version, role), value), members in rows.items():
        yield Group(pane, version, role, segment, value), np.array(members, np.int64)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def contributions(
    task: Task, columns: Columns, truths: npt.NDArray[Any]
) -> Callable[[npt.NDArray[np.int64], int], Sums]:
    """A function of rows and sign (1 adds, -1 takes back) that sums what outcomes contribute.

    truths: the truth to judge by, of every row of `columns` (a correction judges by two).
    """
    if task.kind == "regression":
        return _regression(columns, truths)
    if task.kind == "binary":
        return _binary(columns, truths)
    return _multiclass(task.classes, columns, truths)


def _binary(
    columns: Columns, truths: npt.NDArray[Any]
) -> Callable[[npt.NDArray[np.int64], int], Sums]:
    answers = columns["answer"].values.astype(bool)
    truth = truths.astype(bool)
    p = columns["probability"].values.astype(np.float64)
    p = np.clip(np.where(np.isfinite(p), p, 0.5), EPSILON, 1 - EPSILON)
    loss = -np.log(np.where(truth, p, 1 - p))
    brier = (p - truth) ** 2
    cells = truth * BINS + bin_of(p)
    masks = {
        "tp": truth & answers,
        "fp": ~truth & answers,
        "tn": ~truth & ~answers,
        "fn": truth & ~answers,
    }

    def add(rows: npt.NDArray[np.int64], sign: int) -> Sums:
        return Sums(
            {name: sign * int(mask[rows].sum()) for name, mask in masks.items()},
            {
                "log_loss": sign * float(loss[rows].sum()),
                "brier": sign * float(brier[rows].sum()),
            },
            _counted(cells[rows], sign),
        )

    return add


def _multiclass(
    classes: Sequence[str], columns: Columns, truths: npt.NDArray[Any]
) -> Callable[[npt.NDArray[np.int64], int], Sums]:
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

    def add(rows: npt.NDArray[np.int64], sign: int) -> Sums:
        return Sums(
            {},
            {
                "log_loss": sign * float(loss[rows].sum()),
                "brier": sign * float(brier[rows].sum()),
            },
            _counted(cells[rows].ravel(), sign),
        )

    return add


def _regression(
    columns: Columns, truths: npt.NDArray[Any]
) -> Callable[[npt.NDArray[np.int64], int], Sums]:
    truth = truths.astype(np.float64)
    error = columns["answer"].values.astype(np.float64) - truth
    parts = {
        "absolute_error": np.abs(error),
        "squared_error": error**2,
        "truth": truth,
        "truth_squared": truth**2,
    }

    def add(rows: npt.NDArray[np.int64], sign: int) -> Sums:
        return Sums({}, {name: sign * float(part[rows].sum()) for name, part in parts.items()})

    return add


def _counted(cells: npt.NDArray[np.int64], sign: int) -> dict[int, int]:
    found, counts = np.unique(cells, return_counts=True)
    return dict(zip(found.tolist(), (sign * counts).tolist(), strict=True))


def record(group: Group, sums: Sums, newest: int, source: str = "") -> dict[str, Any]:
    """A group's sums as a tally record."""
    return {
        **group._asdict(),
        "newest": newest,
        "source": source,
        "counts": sums.counts,
        "sums": sums.sums,
        "cells": list(sums.cells),
        "weights": list(sums.cells.values()),
    }


def sums_of(tally: dict[str, Any]) -> tuple[Group, Sums]:
    """What `record` made. ValueError where its parts do not agree, so that it made it not."""
    group = Group(*(tally[name] for name in Group._fields))
    cells = dict(zip(tally["cells"], tally["weights"], strict=True))
    return group, Sums(tally["counts"], tally["sums"], cells)
