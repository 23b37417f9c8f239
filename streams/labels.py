"""Which truths and signals make sense: the rules over columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schemas.codec import MAX_ID_BYTES
from schemas.columns import Columns
from streams.dead_letters import DeadLetter
from streams.horizon import NEVER
from streams.task import Task, millis

DAY_MS = 86_400_000


def bad_truths(
    task: Task, columns: Columns, index: npt.NDArray[np.int64], now_ms: int
) -> list[DeadLetter]:
    """What is wrong with decoded truths; index: of each, its position in the batch."""
    letters = []
    high = now_ms + DAY_MS
    rows = zip(
        index.tolist(),
        columns["request_id"].values,
        columns["known_at"].values.tolist(),
        columns["truth"].values.tolist(),
        strict=True,
    )
    for position, id_, known_at, truth in rows:
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
    return letters


def newest_truth(task: Task, known_at: npt.NDArray[np.int64]) -> int:
    """How far good truths move event time; NEVER where not at all.

    One that could be in time for no request that the task takes says nothing of event time.
    """
    _, latest = task.event_times
    if latest is not None:
        known_at = known_at[known_at <= millis(latest) + task.horizon_ms]
    return int(known_at.max()) if len(known_at) else NEVER


def bad_signals(task: Task, columns: Columns, index: npt.NDArray[np.int64]) -> list[DeadLetter]:
    """What is wrong with decoded signals."""
    letters = []
    ids, kinds = columns["request_id"].values, columns["kind"].values
    for position, id_, kind in zip(index.tolist(), ids, kinds, strict=True):
        if wrong := _bad_id(position, id_):
            letters.append(wrong)
        elif kind not in task.signals:
            declared = ", ".join(task.signals) or "none"
            message = f"kind {kind[:64]!r} is not declared; the task's signals are: {declared}"
            letters.append(DeadLetter(position, "unknown-signal", message, id_))
    return letters


def _bad_id(position: int, id_: str) -> DeadLetter | None:
    if id_ and len(id_) * 4 <= MAX_ID_BYTES:
        return None
    size = len(id_.encode())
    if 0 < size <= MAX_ID_BYTES:
        return None
    message = f"request_id has {size} bytes; it must have 1 to {MAX_ID_BYTES}"
    return DeadLetter(position, "invalid-id", message)
