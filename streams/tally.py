"""Tallies: what one batch of predictions or outcomes adds to each pane and group."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.codec import Codec
from schemas.columns import Column, Columns
from schemas.topics import BY_NAME
from streams.contributions import UNITS, Contributions, contributions
from streams.dead_letters import DeadLetter, DeadLetters
from streams.estimates.sums import Expectations
from streams.event_time import from_number, to_number
from streams.groups import (
    DEFER,
    GATE_DECISION,
    LABEL,
    SOURCE,
    WEAK,
    Group,
    Grouping,
    Mask,
    Rows,
    decisions,
)
from streams.last import Order, Said, fields_of, most, newest_of, said_of
from streams.quality import Sums
from streams.task import AnyWindow, Task
from streams.transport.batch import Output, RecordBatch, Result

STAGE = "metrics"
MOST_A_PIECE = (1 << 31) - 1
MOST_WEIGHT = 1000.0
"""Of one label; what is more is taken as this."""


def pane_ms(windows: Sequence[AnyWindow]) -> int:
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
        decoded = batch.decoded(codec)
        outputs = []
        if len(decoded):
            rows = decoded.columns["status"].values != "rejected"
            times = decoded.columns["event_time"].values
            newest = int(times[rows].max()) if rows.any() else None
            source = f"{batch.topic}/{batch.partition}"
            groups = add(decoded.columns)
            last = self._last(decoded.columns) if "truth" in decoded.columns else {}
            records = [
                record(group, sums, None, source, last.get(group, {}))
                for group, sums in groups.items()
            ]
            # The last one alone tells how far the source has come: the records may be read apart,
            # and a pane must not leave before all that this batch adds to it is there.
            records[-1]["newest"] = to_number(newest)
            keys = [str(one["pane_start"]).encode() for one in records]
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
        grouping = Grouping(columns, self._pane)
        everything = np.ones(len(status), bool)
        parts = [
            grouping.by("", "", everything),
            *self._segments(grouping, columns, columns["features"].values),
            grouping.by(GATE_DECISION, *decisions(columns)),
        ]
        expected = Expectations(self._task, columns)
        groups: dict[Group, Sums] = {}
        for group, rows in chain.from_iterable(parts):
            groups[group] = Sums({name: int(mask[rows].sum()) for name, mask in ones.items()})
            groups[group].add(expected.sums(rows))
        return groups

    def _outcomes(self, columns: Columns) -> dict[Group, Sums]:
        groups: dict[Group, Sums] = {}
        for labels in labels_of(columns):
            for group, sums in self._of_labels(labels):
                if group in groups:
                    groups[group].add(sums)
                else:
                    groups[group] = sums
        return groups

    def _of_labels(self, labels: Labels) -> Iterator[tuple[Group, Sums]]:
        columns = labels.columns
        grouping = Grouping(columns, self._pane)
        judged = contributions(self._task, columns, labels.truths)
        true = columns["label"].values == "true"
        by_model = columns["status"].values == "answered"
        decision, decided = decisions(columns)
        yield from labels.sums(judged, grouping.by("", "", true), by_model)
        for part in self._segments(grouping, columns, true):
            yield from labels.sums(judged, part, by_model)
        yield from labels.sums(judged, grouping.by(SOURCE, labels.sources, true), by_model)
        held = decision == DEFER
        for these, scored in ((~held, by_model), (held, held)):
            part = grouping.by(GATE_DECISION, decision, true & decided & these)
            yield from labels.sums(judged, part, scored, answers_only=scored is held)
        weak = grouping.by(LABEL, WEAK, ~true)
        yield from labels.sums(judged, weak, by_model, weighted=True)

    def _last(self, columns: Columns) -> dict[Group, dict[Order, Said]]:
        """Of each group of all traffic the newest outcomes, where the task has windows of them."""
        n = most(self._task)
        if not n:
            return {}
        scored = (columns["label"].values == "true") & (columns["status"].values == "answered")
        found = {}
        for group, rows in Grouping(columns, self._pane).by("", "", scored):
            newest = newest_of(columns, rows, n)
            times = columns["event_time"].values[newest].tolist()
            ids = columns["request_id"].values[newest].tolist()
            said = map(tuple, said_of(self._task, columns, newest).tolist())
            found[group] = dict(zip(zip(times, ids, strict=True), said, strict=True))
        return found

    def _segments(
        self, grouping: Grouping, columns: Columns, present: Mask
    ) -> Iterator[Iterator[tuple[Group, Rows]]]:
        for name in self._task.segments:
            column = columns[f"features.{name}"]
            there = present if column.valid is None else present & column.valid
            yield grouping.by(name, column.values, there)


@dataclass(frozen=True)
class Labels:
    """Labels that are added to the sums (sign 1), or taken back (−1): a row an outcome each.

    weights: in `UNITS`. corrections: which of them replace another one.
    """

    columns: Columns
    truths: npt.NDArray[Any]
    sources: npt.NDArray[Any]
    weights: Rows
    corrections: Mask
    sign: int

    def sums(
        self,
        judged: Contributions,
        parts: Iterator[tuple[Group, Rows]],
        scored: Mask,
        answers_only: bool = False,
        weighted: bool = False,
    ) -> Iterator[tuple[Group, Sums]]:
        """Each group's sums. scored: rows whose answers are judged; the others only count."""
        for group, rows in parts:
            sums = Sums({"corrections": int(self.corrections[rows].sum())})
            if weighted:
                rows = rows[self.weights[rows] > 0]  # without weight a label says nothing
            these = rows[scored[rows]]
            counts = {"outcomes": len(rows), "scored": len(these)}
            if weighted:
                weights = self.weights[these]
                counts["weight"] = int(weights.sum())
                counts["weight_squared"] = int((weights * weights).sum())
            sums.add(Sums({name: self.sign * count for name, count in counts.items()}))
            units = self.weights if weighted else None
            sums.add(judged.sums(these, self.sign, units, answers_only))
            yield group, sums


def labels_of(columns: Columns) -> Iterator[Labels]:
    """The labels that outcomes add, and those that corrections among them replace."""
    corrections = _valid(columns["previous_truth"])
    yield Labels(
        columns,
        columns["truth"].values,
        columns["source"].values,
        _units(columns["weight"]),
        corrections,
        1,
    )
    if corrections.any():
        # What is replaced was of the same answer, but of a source and a weight of its own.
        rows = np.flatnonzero(corrections)
        replaced = {path: column.take(rows) for path, column in columns.items()}
        before = replaced["previous_source"]
        yield Labels(
            replaced,
            replaced["previous_truth"].values,
            np.where(_valid(before), before.values, replaced["source"].values),
            _units(replaced["previous_weight"]),
            np.zeros(len(rows), bool),
            -1,
        )


def _valid(column: Column) -> Mask:
    return column.present


def _units(weights: Column) -> Rows:
    """Weights in `UNITS`; null stands for 1."""
    values = np.where(_valid(weights), weights.values.astype(np.float64), 1.0)
    units: Rows = np.rint(np.clip(values, 0.0, MOST_WEIGHT) * UNITS).astype(np.int64)
    return units


def record(
    group: Group,
    sums: Sums,
    newest: int | None,
    source: str = "",
    last: Mapping[Order, Said] = MappingProxyType({}),
) -> dict[str, Any]:
    """A group's sums, and its newest outcomes, as a tally record.

    newest: how far event time has come in the source; None: the record does not say.
    """
    cells, weights = _pieces(sums)
    return {
        **group._asdict(),
        "newest": to_number(newest),
        "source": source,
        "counts": sums.counts,
        "sums": sums.sums,
        "cells": cells,
        "weights": weights,
        **fields_of(last),
    }


def _pieces(sums: Sums) -> tuple[list[int], list[int]]:
    """Cells and what to add to each, in pieces that Avro's int holds."""
    cells, weights = list(sums.cells), list(sums.cells.values())
    while weights and max(max(weights), -min(weights)) > MOST_A_PIECE:
        for at in range(len(weights)):
            piece = max(-MOST_A_PIECE, min(MOST_A_PIECE, weights[at]))
            if piece != weights[at]:
                cells.append(cells[at])
                weights.append(weights[at] - piece)
                weights[at] = piece
    return cells, weights


def newest_in(tally: Mapping[str, Any]) -> int | None:
    """How far event time has come in a tally record's source; None where it does not say."""
    return from_number(tally["newest"])


def sums_of(tally: dict[str, Any]) -> tuple[Group, Sums]:
    """What `record` made. ValueError where its parts do not agree, so that it made it not."""
    group = Group(*(tally[name] for name in Group._fields))
    pairs = list(zip(tally["cells"], tally["weights"], strict=True))
    cells = dict(pairs)
    if len(cells) < len(pairs):  # pieces
        cells = dict.fromkeys(cells, 0)
        for cell, weight in pairs:
            cells[cell] += weight
    return group, Sums(tally["counts"], tally["sums"], cells)
