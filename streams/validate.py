"""Which requests can be served: the task's rules over columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.codec import MAX_ID_BYTES
from schemas.columns import Column, Columns
from schemas.features import Category, Feature, Integer, Number
from streams.task import Task, millis

Mask = npt.NDArray[np.bool_]

# A name longer than this is no category and no entity but a mistake; the limit also bounds the
# size of a prediction, and with it the state of the join.
MAX_CATEGORY_BYTES = 1024
DAY_MS = 86_400_000
_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True, slots=True)
class Checked:
    """What validation found in n requests.

    columns: the requests', with unknown categories made missing where the task says so.
    good: bool (n,). reasons: for each bad row why, all its problems, by row.
    bad_ids: rows whose request id itself is not valid, so that nobody can be answered.
    bad_times: rows whose event time cannot be right, so that nothing can be placed by it.
    """

    columns: Columns
    good: Mask
    reasons: dict[int, str]
    bad_ids: frozenset[int] = frozenset()
    bad_times: frozenset[int] = frozenset()


def validate(task: Task, columns: Columns, now_ms: int) -> Checked:
    """Check decoded requests against the task; `now_ms` is the worker's clock."""
    n = len(columns["request_id"])
    problems: dict[int, list[str]] = defaultdict(list)
    bad_ids = _check_ids(columns["request_id"], problems)
    bad_times = _check_event_times(task, columns["event_time"].values, now_ms, problems)
    _check_entities(columns["entity"], problems)
    cleaned = dict(columns)
    looked_at = (Integer, Category) if _all_in_range(task, columns) else (Feature,)
    for feature in task.features:
        if isinstance(feature, looked_at):
            path = f"features.{feature.name}"
            cleaned[path] = _check_feature(feature, columns[path], problems)
    good = np.ones(n, bool)
    if problems:
        good[list(problems)] = False
    reasons = {row: "; ".join(found) for row, found in problems.items()}
    return Checked(cleaned, good, reasons, bad_ids, bad_times)


def _check_ids(ids: Column, problems: dict[int, list[str]]) -> frozenset[int]:
    bad = set()
    for row, id_ in enumerate(ids.values):
        # A character has at most four bytes: most ids need no encoding to be judged.
        if id_ and len(id_) * 4 <= MAX_ID_BYTES:
            continue
        size = len(id_.encode())
        if not 0 < size <= MAX_ID_BYTES:
            bad.add(row)
            problems[row].append(f"request_id has {size} bytes; it must have 1 to {MAX_ID_BYTES}")
    return frozenset(bad)


def event_time_bounds(task: Task, now_ms: int) -> tuple[int, int]:
    """The earliest and the latest event time that a request may have; now_ms: the clock."""
    earliest, latest = task.event_times
    low = 0 if earliest is None else millis(earliest)
    return low, now_ms + DAY_MS if latest is None else millis(latest)


def _check_event_times(
    task: Task, times: npt.NDArray[np.int64], now_ms: int, problems: dict[int, list[str]]
) -> frozenset[int]:
    low, high = event_time_bounds(task, now_ms)
    bad = np.flatnonzero((times < low) | (times > high)).tolist()
    for row in bad:
        problems[row].append(
            f"event_time {_iso(int(times[row]))} is not between {_iso(low)} and {_iso(high)}"
        )
    return frozenset(bad)


def _check_entities(entities: Column, problems: dict[int, list[str]]) -> None:
    if entities.valid is not None and not entities.valid.any():
        return
    for row in np.flatnonzero(_present(entities)).tolist():
        if _too_long(entities.values[row]):
            size = len(entities.values[row].encode())
            problems[row].append(f"entity has {size} bytes; at most {MAX_CATEGORY_BYTES}")


def _present(column: Column) -> Mask:
    return column.present


def _too_long(name: str) -> bool:
    return len(name) * 4 > MAX_CATEGORY_BYTES and len(name.encode()) > MAX_CATEGORY_BYTES


def _iso(time_ms: int) -> str:
    try:
        return str(np.datetime64(time_ms, "ms")) + "Z"
    except (OverflowError, ValueError):
        return f"{time_ms} ms"


def _check_feature(feature: Feature, column: Column, problems: dict[int, list[str]]) -> Column:
    present = _present(column)
    if isinstance(feature, Number | Integer):
        _check_range(feature, column, present, problems)
    elif isinstance(feature, Category):
        return _check_category(feature, column, present, problems)
    return column


def _all_in_range(task: Task, columns: Columns) -> bool:
    """Whether every Number of a batch is there, finite and in its range.

    One comparison for all of them, as it is nearly always so; where it is not, each feature is
    looked at by itself. Integers are not among them: a float64 does not hold them all.
    """
    numbers = [f for f in task.features if isinstance(f, Number)]
    if not numbers:
        return True
    found = [columns[f"features.{feature.name}"] for feature in numbers]
    if any(column.valid is not None for column in found):
        return False
    # The largest finite number bounds what has no bound: infinity is beyond it, and NaN no number.
    low = [-_LARGEST if f.low is None else f.low for f in numbers]
    high = [_LARGEST if f.high is None else f.high for f in numbers]
    block = np.array([column.values for column in found], np.float64).T
    return bool(((block >= low) & (block <= high)).all())


def _check_range(
    feature: Number | Integer, column: Column, present: Mask, problems: dict[int, list[str]]
) -> None:
    values = column.values
    rules: list[tuple[Mask, Callable[[object], str]]] = []
    if isinstance(feature, Number):
        rules.append((~np.isfinite(values), lambda value: f"is {value}; it must be finite"))
    # A comparison with NaN is false, so that it is told of once, as not finite.
    if feature.low is not None:
        rules.append(
            (values < feature.low, lambda value: f"is {value}, below {feature.low} {feature.unit}")
        )
    if feature.high is not None:
        rules.append(
            (
                values > feature.high,
                lambda value: f"is {value}, above {feature.high} {feature.unit}",
            )
        )
    for broken, say in rules:
        for row in np.flatnonzero(broken & present):
            problems[int(row)].append(f"{feature.name} {say(values[row])}".rstrip())


def _check_category(
    feature: Category, column: Column, present: Mask, problems: dict[int, list[str]]
) -> Column:
    allowed = None if feature.values is None else frozenset(feature.values)
    missing: list[int] = []
    for row in np.flatnonzero(present).tolist():
        name = column.values[row]
        if _too_long(name):
            size = len(name.encode())
            problems[row].append(f"{feature.name} has {size} bytes; at most {MAX_CATEGORY_BYTES}")
        elif allowed is not None and name not in allowed:
            if feature.unknown == "missing":
                missing.append(row)
            else:
                known = ", ".join(sorted(allowed)[:8]) + (", …" if len(allowed) > 8 else "")
                problems[row].append(f"{feature.name} is {name!r}; known are {known}")
    if not missing:
        return column
    valid = present.copy()
    valid[missing] = False
    return Column(column.values, valid)
