"""Are the windowed features what the topics say? Every logged value is computed again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from schemas.codec import Codec
from schemas.columns import Column, Columns
from schemas.topics import BY_NAME
from services.verify.features import Logged, Report, Source, check
from services.verify.reading import Place, ends, read_records
from streams.codecs import codecs
from streams.task import Task
from streams.windowed.declare import Of
from streams.windowed.definition import SLACK_MS, Definition, Ints
from streams.windowed.history import Past
from streams.windowed.history import parts as past_parts
from streams.windowed.table import AS_OF

Parts = defaultdict[Place, list[tuple[Ints, Columns]]]


def verify(task: Task, home: Path, kafka: Mapping[str, Any]) -> Report:
    """Recompute the windowed features of all predictions of a task from its topics.

    home: of the deployment, whose ``schemas`` tell how older records were written. ReadError where
    the broker does not give the topics.
    """
    definition = Definition(task)
    by_record = codecs(task, home)
    keys = [f"features.{name}" for series in definition.series for name in series.by]
    asked = _Wanted(task, by_record["prediction"], "predictions", kafka)
    predictions = asked.read(
        [
            *("request_id", "event_time", "predicted_at", "status", "features", "entity", AS_OF),
            *keys,
            *(f"features.{window.name}" for window in definition.windows),
        ]
    )
    # After the predictions: what they had counted is there to be read.
    known = _Wanted(task, by_record["outcome"], "outcomes", kafka)
    outcomes = known.read(
        ["known_at", "joined_at", "previous_truth", "label", "truth", "entity", *keys]
    )
    sources = {}
    for topic, kind in definition.topics.items():
        side, parts = (known, outcomes) if kind == "truth" else (asked, predictions)
        for partition in range(task.partitions):
            place = (topic, partition)
            offsets, columns = _joined(parts[place], side.empty())
            sources[f"{topic}/{partition}"] = Source.of(
                kind, columns, offsets, SLACK_MS, side.whole(place)
            )
    past = past_parts(definition, task.history()) if task.history is not None else {}
    for source, kind in definition.history_sources.items():
        sources[source] = _of_past(kind, past.get(source))
    whole = [part for parts in predictions.values() for part in parts]
    return check(definition, sources, _logged(_joined(whole, asked.empty())[1], definition))


class _Wanted:
    """Some columns of one topic."""

    def __init__(self, task: Task, codec: Codec, name: str, kafka: Mapping[str, Any]) -> None:
        self._codec, self._kafka = codec, kafka
        topic = BY_NAME[name].topic(task.name)
        self._places: list[Place] = [(topic, number) for number in range(task.partitions)]
        self._names: list[str] = []

    def read(self, names: Sequence[str]) -> Parts:
        """Columns and offsets of all records, by partition in order."""
        there = self._codec.decode([]).columns
        self._names = [name for name in dict.fromkeys(names) if name in there]
        self._first = ends(self._kafka, self._places, latest=False)
        parts: Parts = defaultdict(list)
        for place, offsets, values in read_records(self._kafka, self._places):
            decoded = self._codec.decode(values)
            numbers = np.array(offsets, np.int64)[decoded.index]
            parts[place].append((numbers, {n: decoded.columns[n] for n in self._names}))
        return parts

    def whole(self, place: Place) -> bool:
        """Whether the partition still holds all that ever was in it."""
        return self._first[place] == 0

    def empty(self) -> Columns:
        """The columns of no record."""
        columns = self._codec.decode([]).columns
        return {name: columns[name] for name in self._names}


def _joined(parts: Sequence[tuple[Ints, Columns]], empty: Columns) -> tuple[Ints, Columns]:
    if not parts:
        return np.zeros(0, np.int64), empty
    columns = {name: _concatenated([part[name] for _, part in parts]) for name in empty}
    return np.concatenate([offsets for offsets, _ in parts]), columns


def _concatenated(columns: Sequence[Column]) -> Column:
    values = np.concatenate([column.values for column in columns])
    if all(column.valid is None for column in columns):
        return Column(values)
    valid = [column.present for column in columns]
    return Column(values, np.concatenate(valid))


def _of_past(kind: Of, past: Past | None) -> Source:
    """The task's history as a source; its rows count from the first on."""
    if past is None:
        return Source(kind, np.zeros(0, np.int64), np.zeros(0, np.int64), {})
    return Source(kind, np.arange(len(past.times)), past.times, past.columns)


def _logged(columns: Columns, definition: Definition) -> Logged:
    """The predictions that say what their windowed features had counted."""
    marks, at = np.unique(columns[AS_OF].values.astype(str), return_inverse=True)
    split = [mark.split(",") for mark in marks.tolist()]
    n = len(definition.sources)
    # What was served before Weir counted the history says nothing of it.
    none = ["0"] * len(definition.history_sources)
    split = [parts + none if len(parts) + len(none) == n else parts for parts in split]
    fit = np.array([len(parts) == n and parts != [""] for parts in split], bool)
    offsets = np.array(
        [parts if ok else [0] * n for parts, ok in zip(split, fit, strict=True)], np.int64
    ).reshape(-1, n)
    rows = np.flatnonzero(fit[at]) if len(marks) else np.zeros(0, np.int64)
    taken = {name: column.take(rows) for name, column in columns.items()}
    return Logged(taken, offsets[at[rows]] if len(rows) else np.zeros((0, n), np.int64))
