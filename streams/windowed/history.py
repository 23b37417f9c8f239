"""Windowed features of a task's history: computed as serving would have, had it been there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from schemas.columns import Column, Columns
from streams.frame import columns_of
from streams.task import Task
from streams.windowed.cells import grouped
from streams.windowed.declare import ENTITY
from streams.windowed.definition import Definition, Ints
from streams.windowed.updates import Reached, updates
from streams.windowed.window import of_history

EVENT_TIME, KNOWN_AT = "event_time", "known_at"


def with_windowed(task: Task, history: pd.DataFrame) -> pd.DataFrame:
    """The history with a column a windowed feature, each from what was known at the row's time.

    What lies outside the history is not known of: give all of it, and take rows afterwards. Columns
    that are there already are left as they are. Raises ValueError naming a column that is missing.
    """
    definition = Definition(task)
    if not definition or all(one.name in history for one in task.windowed):
        return history
    if missing := _missing(definition, history):
        raise ValueError(
            f"the task's history has no column {', '.join(missing)}, which its windowed features "
            "need"
        )
    known = "truth" in definition.topics.values()
    found = of_history(
        definition,
        _columns(definition, history, prefix=""),
        _millis(history[EVENT_TIME]),
        _millis(history[KNOWN_AT]) if known else None,
        history[task.target.name].to_numpy() if known else np.zeros(0),
    )
    values = {}
    for windowed in task.windowed:
        if windowed.name in history:
            continue
        column = found[windowed.name]
        numbers = column.values.astype(np.float64)
        values[windowed.name] = (
            numbers if column.valid is None else np.where(column.valid, numbers, np.nan)
        )
    return history.assign(**values)


@dataclass(frozen=True, slots=True)
class Past:
    """What one part of a history has to count. times: int64 (n,), ms. columns: the features' and,
    of truths, ``truth``."""

    times: Ints
    columns: Columns


def parts(definition: Definition, history: pd.DataFrame) -> dict[str, Past]:
    """A history's rows as the sources that they are counted as, by name.

    Empty where the history lacks a column for it: one that brings its windowed features itself may.
    """
    if not definition.history_sources or _missing(definition, history):
        return {}
    columns = _columns(definition, history, prefix="features.")
    truth = Column(history[definition.task.target.name].to_numpy())
    found = {}
    for source, kind in definition.history_sources.items():
        if kind == "truth":
            found[source] = Past(_millis(history[KNOWN_AT]), {**columns, "truth": truth})
        else:
            found[source] = Past(_millis(history[EVENT_TIME]), columns)
    return found


def seed(definition: Definition, history: pd.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of ``<task>.features`` that a history makes, each with its key, in order.

    With them the first version is served by the windows that it was trained on, and not by windows
    that begin with the stream. They are the same whenever they are made, and what they hold leaves
    the windows as anything does that is old.
    """
    for source, past in parts(definition, history).items():
        if not len(past.times):
            continue
        newest = int(past.times.max())
        truths = past.columns["truth"].values if "truth" in past.columns else None
        kind = definition.kind_of(source)
        n = len(past.times)
        (cells,) = grouped(
            definition, kind, past.columns, past.times, truths, np.array([newest], np.int64), [n]
        )
        now = Reached(n, newest)
        yield from updates(definition, f"{definition.id}|{source}", source, cells, now)


def _missing(definition: Definition, history: pd.DataFrame) -> list[str]:
    needed = [EVENT_TIME]
    if "truth" in definition.topics.values():
        needed += [KNOWN_AT, definition.task.target.name]
    if any(ENTITY in series.by for series in definition.series):
        needed.append(ENTITY)
    return [name for name in needed if name not in history]


def _columns(definition: Definition, history: pd.DataFrame, prefix: str) -> Columns:
    columns = columns_of(definition.task.features, history, prefix=prefix)
    if ENTITY in history and ENTITY not in columns:
        entities = history[ENTITY]
        valid = entities.notna().to_numpy(bool)
        columns[ENTITY] = Column(entities.astype(object).to_numpy(object), valid)
    return columns


def _millis(times: pd.Series) -> Ints:
    moments = pd.to_datetime(times, utc=True).dt.tz_localize(None)
    found: Ints = moments.to_numpy("datetime64[ms]").astype(np.int64)
    return found
