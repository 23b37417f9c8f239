"""Which truths and signals make sense: the rules over columns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from schemas.codec import MAX_ID_BYTES
from schemas.columns import Columns
from streams.dead_letters import DeadLetter
from streams.task import Task, millis

DAY_MS = 86_400_000
MOST_ROLE = 64
"""Characters of the role that an impression names: they are kept until the horizon."""


def bad_truths(
    task: Task, columns: Columns, index: npt.NDArray[np.int64], now_ms: int
) -> list[DeadLetter]:
    """What is wrong with decoded truths; index: of each, its position in the batch."""
    letters: list[DeadLetter] = []
    high = now_ms + DAY_MS
    if _all_good(task, columns, high):
        return letters
    rows = zip(
        index.tolist(),
        columns["request_id"].values,
        columns["known_at"].values.tolist(),
        columns["truth"].values.tolist(),
        columns["source"].values,
        strict=True,
    )
    sources = ", ".join(task.truth_sources)
    for position, id_, known_at, truth, source in rows:
        if wrong := _bad_id(position, id_):
            letters.append(wrong)
        elif not 0 <= known_at <= high:
            message = f"known_at {known_at} is not between 1970 and a day from now"
            letters.append(DeadLetter(position, "invalid", message, id_))
        elif not task.target.fits(truth):
            message = f"truth {truth!r} is not a value of the {task.kind} target"
            letters.append(DeadLetter(position, "invalid", message, id_))
        elif task.kind == "regression" and not np.isfinite(truth):
            message = f"truth {truth!r} must be finite"
            letters.append(DeadLetter(position, "invalid", message, id_))
        elif source not in task.truth_sources:
            message = f"source {source[:64]!r} is not declared; the task's truth_sources: {sources}"
            letters.append(DeadLetter(position, "unknown-source", message, id_))
    return letters


def _all_good(task: Task, columns: Columns, high: int) -> bool:
    """Whether all truths are plainly good, as they mostly are: told without looking at each."""
    ids, sources = columns["request_id"].values, columns["source"].values
    known_at, truths = columns["known_at"].values, columns["truth"].values
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    good = bool(((lengths > 0) & (lengths * 4 <= MAX_ID_BYTES)).all())
    good = good and bool(((known_at >= 0) & (known_at <= high)).all())
    good = good and set(sources) <= set(task.truth_sources)
    if task.kind == "regression":
        return good and bool(np.isfinite(truths).all())
    return good and (task.kind == "binary" or set(truths) <= set(task.classes))


def newest_label(task: Task, known_at: npt.NDArray[np.int64]) -> int | None:
    """How far good truths or signals move event time; None where not at all.

    One that could be in time for no request that the task takes says nothing of event time.
    """
    _, latest = task.event_times
    if latest is not None:
        known_at = known_at[known_at <= millis(latest) + task.horizon_ms]
    return int(known_at.max()) if len(known_at) else None


def bad_signals(
    task: Task, columns: Columns, index: npt.NDArray[np.int64], now_ms: int
) -> list[DeadLetter]:
    """What is wrong with decoded signals; index: of each, its position in the batch."""
    letters = []
    declared = ", ".join(task.signals) or "none"
    numbers = _bad_numbers(columns)
    correction = task.weak_labels.correction if task.weak_labels else None
    truths = columns["truth"]
    answered = np.ones(len(index), bool) if truths.valid is None else truths.valid
    rows = zip(
        index.tolist(),
        columns["request_id"].values,
        columns["kind"].values,
        columns["event_time"].values.tolist(),
        strict=True,
    )
    for row, (position, id_, kind, event_time) in enumerate(rows):
        if wrong := _bad_id(position, id_):
            letters.append(wrong)
        elif kind not in task.signals:
            message = f"kind {kind[:64]!r} is not declared; the task's signals are: {declared}"
            letters.append(DeadLetter(position, "unknown-signal", message, id_))
        elif not 0 <= event_time <= now_ms + DAY_MS:
            message = f"event_time {event_time} is not between 1970 and a day from now"
            letters.append(DeadLetter(position, "invalid", message, id_))
        elif row in numbers:
            letters.append(DeadLetter(position, "invalid", numbers[row], id_))
        elif kind == correction and not answered[row]:
            message = "truth is null: a correction says what the answer should have been"
            letters.append(DeadLetter(position, "invalid", message, id_))
    return letters


def _bad_numbers(columns: Columns) -> dict[int, str]:
    """Of each row whose numbers make no sense, why."""
    rules: dict[str, tuple[str, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.bool_]]]] = {
        "value": ("finite", np.isfinite),
        "position": ("0 or more", lambda given: given >= 0),
        "propensity": ("above 0 to 1", lambda given: (given > 0) & (given <= 1)),
    }
    found: dict[int, str] = {}
    for name, (what, good) in rules.items():
        column = columns[name]
        wrong = ~good(column.values.astype(np.float64))
        if column.valid is not None:
            wrong &= column.valid
        for row in np.flatnonzero(wrong).tolist():
            found.setdefault(row, f"{name} {column.values[row]} must be {what}")
    roles = columns["role"]
    if roles.valid is None or roles.valid.any():
        for row, role in enumerate(roles.values.tolist()):
            if role and len(role) > MOST_ROLE:
                found.setdefault(row, f"role has {len(role)} characters; at most {MOST_ROLE}")
    return found


def _bad_id(position: int, id_: str) -> DeadLetter | None:
    if id_ and len(id_) * 4 <= MAX_ID_BYTES:
        return None
    size = len(id_.encode())
    if 0 < size <= MAX_ID_BYTES:
        return None
    message = f"request_id has {size} bytes; it must have 1 to {MAX_ID_BYTES}"
    return DeadLetter(position, "invalid-id", message)
