"""Windowed features of a task's history: computed as serving would have, had it been there."""

from __future__ import annotations

import numpy as np
import pandas as pd

from schemas.columns import Column
from streams.frame import columns_of
from streams.task import Task
from streams.windowed.declare import ENTITY
from streams.windowed.definition import Definition, Ints
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
    of_truths = any(series.of == "truth" for series in definition.series)
    needed = [EVENT_TIME, *([KNOWN_AT, task.target.name] if of_truths else [])]
    if any(ENTITY in series.by for series in definition.series):
        needed.append(ENTITY)
    missing = [name for name in needed if name not in history]
    if missing:
        raise ValueError(
            f"the task's history has no column {', '.join(missing)}, which its windowed features "
            "need"
        )
    columns = columns_of(task.features, history, prefix="")
    if ENTITY in history and ENTITY not in columns:
        entities = history[ENTITY]
        valid = entities.notna().to_numpy(bool)
        columns[ENTITY] = Column(entities.astype(object).to_numpy(object), valid)
    found = of_history(
        definition,
        columns,
        _millis(history[EVENT_TIME]),
        _millis(history[KNOWN_AT]) if of_truths else None,
        history[task.target.name].to_numpy() if of_truths else np.zeros(0),
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


def _millis(times: pd.Series) -> Ints:
    moments = pd.to_datetime(times, utc=True).dt.tz_localize(None)
    found: Ints = moments.to_numpy("datetime64[ms]").astype(np.int64)
    return found
