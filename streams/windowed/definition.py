"""What follows from the windowed features of a task: the series that are counted, and where from.

A series is what is counted by one key; features of different lengths share it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from schemas.topics import BY_NAME, DAY_MS
from streams.windowed.declare import ENTITY, Of, Windowed

if TYPE_CHECKING:
    from schemas.columns import Column, Columns
    from streams.task import Task

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

SLACK_MS = DAY_MS
"""Kept beyond the longest window: requests may be served so much later than truths go on. And how
much older than its request a window may be."""
AHEAD_MS = 60_000
"""A time further than this after the worker's clock at the writing of a record is a mistake, by
which the stream must not go on: its record does not count. Clocks differ by less."""
MOST_UNITS = 1 << 52
"""The largest truth of a regression, in multiples of the resolution; one beyond does not count."""
_FORMAT = 2
"""How sums are stored and published. With another one they are made anew from the topics, and the
records of before are left alone."""
HISTORY = "history"
"""Sources that are no topic: the task's history, ``history/truth`` and ``history/requests``."""
BETWEEN = "\x1f"
"""Separates the values of a key of several features."""


@dataclass(frozen=True)
class Series:
    """What is counted, by which key, in buckets of which length.

    value: the class whose truths are totalled (multi-class). resolution: of a regression's totals,
    else 1.
    """

    of: Of
    by: tuple[str, ...]
    value: str
    every_ms: int
    resolution: float

    @property
    def name(self) -> str:
        """``truth by origin, 300 s``, …"""
        what = f"{self.of} ({self.value})" if self.value else self.of
        return f"{what} by {', '.join(self.by) or 'nothing'}, {self.every_ms / 1000:g} s"


@dataclass(frozen=True)
class Window:
    """A windowed feature as it is computed: the series, and the window's length in buckets."""

    name: str
    series: int
    buckets: int
    aggregate: str
    hours: float

    def ms(self, series: Series) -> int:
        """The length in milliseconds."""
        return self.buckets * series.every_ms


class Definition:
    """All windowed features of a task.

    windows: the features in their order. series: what they need, each once. clocks: for each of
    these the series without a key that tells in which buckets anything became known.
    kept_ms: by series, how long a bucket is kept after the stream has passed it.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.series: list[Series] = []
        self.windows: list[Window] = []
        for feature in task.windowed:
            series = _series(task, feature)
            if series not in self.series:
                self.series.append(series)
            every = feature.every
            self.windows.append(
                Window(
                    feature.name,
                    self.series.index(series),
                    feature.over // every,
                    feature.aggregate,
                    feature.over.total_seconds() / 3600,
                )
            )
        self.clocks = [self._clock(series) for series in tuple(self.series)]
        longest = [0] * len(self.series)
        for window in self.windows:
            length = window.ms(self.series[window.series])
            longest[window.series] = max(longest[window.series], length)
        self.kept_ms = [length + 2 * SLACK_MS for length in longest]

    def _clock(self, series: Series) -> int:
        clock = Series(series.of, (), "", series.every_ms, 1.0)
        if clock not in self.series:
            self.series.append(clock)
        return self.series.index(clock)

    def __bool__(self) -> bool:
        return bool(self.windows)

    @cached_property
    def id(self) -> str:
        """Eight hex digits that change with anything that changes what is counted or published."""
        facts = [_FORMAT, [asdict(series) for series in self.series], self.kept_ms]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]

    @cached_property
    def topics(self) -> dict[str, Of]:
        """The topics that are counted, and as what."""
        carried: dict[Of, str] = {"truth": "outcomes", "requests": "predictions"}
        return {
            BY_NAME[topic].topic(self.task.name): of
            for of, topic in carried.items()
            if any(series.of == of for series in self.series)
        }

    @property
    def of_truths(self) -> bool:
        """Whether any feature is of truths."""
        return any(series.of == "truth" for series in self.series)

    @cached_property
    def sources(self) -> list[str]:
        """What is counted: each partition, ``flight_delay.outcomes/0``, …, then the history.

        As-of marks go by it.
        """
        partitions = [
            f"{topic}/{partition}"
            for topic in self.topics
            for partition in range(self.task.partitions)
        ]
        return [*partitions, *self.history_sources]

    @cached_property
    def history_sources(self) -> dict[str, Of]:
        """The parts of the task's history that are counted, and as what; none without a history."""
        if self.task.history is None:
            return {}
        return {f"{HISTORY}/{of}": of for of in self.topics.values()}

    def kind_of(self, source: str) -> Of:
        """What a source is counted as."""
        if source in self.history_sources:
            return self.history_sources[source]
        return self.topics[source.rpartition("/")[0]]

    def of(self, kind: Of) -> list[tuple[int, Series]]:
        """The series of a kind, with their positions."""
        return [(i, series) for i, series in enumerate(self.series) if series.of == kind]

    def keys(self, series: Series, columns: Columns, prefix: str = "features.") -> Keys:
        """The key of each row."""
        n = len(next(iter(columns.values())))
        if not series.by:
            return Keys([""] * n, None)
        parts: list[list[str]] = []
        valid: Mask | None = None
        for name in series.by:
            column = columns[name if self._is_entity(name) else prefix + name]
            parts.append(self._texts(name, column))
            if column.valid is not None:
                valid = column.valid if valid is None else valid & column.valid
        if len(parts) == 1:
            return Keys(parts[0], valid)
        return Keys(list(map(BETWEEN.join, zip(*parts, strict=True))), valid)

    def _is_entity(self, name: str) -> bool:
        return name == ENTITY and all(f.name != ENTITY for f in self.task.features)

    def _texts(self, name: str, column: Column) -> list[str]:
        kind = "string" if self._is_entity(name) else self.task.feature(name).avro
        if kind == "string":
            texts: list[str] = column.values.tolist()
            return texts if column.valid is None else [text or "" for text in texts]
        values = column.values
        if column.valid is not None:
            values = np.where(column.valid, values, 0)
        if kind == "boolean":
            return ["true" if value else "false" for value in values.astype(bool).tolist()]
        return [str(value) for value in values.astype(np.int64).tolist()]

    def units(self, series: Series, truths: npt.NDArray[Any]) -> tuple[Ints, Mask]:
        """Truths as whole numbers to total, and which of them can be."""
        n = len(truths)
        if self.task.kind == "binary":
            return truths.astype(np.int64), np.ones(n, bool)
        if self.task.kind == "multiclass":
            return (truths == series.value).astype(np.int64), np.ones(n, bool)
        scaled = np.rint(truths.astype(np.float64) / series.resolution)
        fit: Mask = np.abs(scaled) < MOST_UNITS
        return np.where(fit, scaled, 0).astype(np.int64), fit

    def describe(self) -> list[dict[str, Any]]:
        """The features' definitions as JSON data."""
        return [describe(feature) for feature in self.task.windowed]


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of n rows; valid: False where there is none, None where all have one."""

    texts: Sequence[str]
    valid: Mask | None


def describe(feature: Windowed) -> dict[str, Any]:
    """A windowed feature as JSON data, without its documentation."""
    return {
        "name": feature.name,
        "of": feature.of,
        "by": list(feature.keys),
        "aggregate": feature.aggregate,
        "value": feature.value,
        "over_s": feature.over.total_seconds(),
        "every_s": feature.every.total_seconds(),
        "resolution": repr(feature.resolution),
    }


def _series(task: Task, feature: Windowed) -> Series:
    totals = feature.of == "truth"
    return Series(
        feature.of,
        feature.keys,
        (feature.value or "") if totals else "",
        round(feature.every.total_seconds() * 1000),
        feature.resolution if totals and task.kind == "regression" else 1.0,
    )
