"""Small tasks of each kind, and their records, for tests of the worker's stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression

from schemas.features import Boolean, Category, Integer, Number
from streams.task import Binary, MultiClass, Regression, Target, Task, Window
from streams.transport.batch import Headers, Output, RecordBatch

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START = 1_700_006_400_000  # a midnight, UTC
HORIZON = timedelta(days=2)

FEATURES = [
    Number("size", unit="m", low=0, high=100),
    Integer("age", nullable=True),
    Boolean("fresh", nullable=True),
    Category("colour", values=["red", "green", "blue"], unknown="missing", nullable=True),
    Category("shop"),
]
KINDS = ("binary", "multiclass", "regression")
_TARGETS: dict[str, tuple[Target, Any, Any]] = {
    "binary": (Binary("late"), LogisticRegression(), False),
    "multiclass": (MultiClass("kind", classes=["a", "b", "c"]), LogisticRegression(), "a"),
    "regression": (Regression("price", unit="EUR"), LinearRegression(), 0),
}


def task_of(kind: str = "binary", **changes: Any) -> Task:
    target, candidate, fallback = _TARGETS[kind]
    declared: dict[str, Any] = {
        "name": f"{kind}_task",
        "features": FEATURES,
        "target": target,
        "candidates": {"linear": candidate},
        "fallback": fallback,
        "segments": ["fresh", "colour"],
        "horizon": HORIZON,
        "signals": ["liked"],
        "windows": [Window(timedelta(days=1)), Window(timedelta(days=3), timedelta(days=1))],
        "partitions": 1,
    }
    return Task(**{**declared, **changes})


def batch_of(
    topic: str,
    values: Sequence[bytes | None],
    *,
    first: int = 0,
    partition: int = 0,
    keys: Sequence[bytes | None] | None = None,
    headers: Mapping[int, Headers] | None = None,
    timestamps: Sequence[int] | None = None,
) -> RecordBatch:
    """A batch as the transport would make it, its offsets counting from `first`."""
    n = len(values)
    times = np.full(n, START) if timestamps is None else np.array(timestamps)
    return RecordBatch(
        topic,
        partition,
        np.arange(first, first + n, dtype=np.int64),
        times.astype(np.int64),
        list(keys) if keys is not None else [None] * n,
        list(values),
        dict(headers or {}),
    )


def by_topic(outputs: Sequence[Output]) -> dict[str, list[tuple[bytes | None, bytes, Headers]]]:
    """Outputs as (key, value, headers) by the topic's name without the task's."""
    found: dict[str, list[tuple[bytes | None, bytes, Headers]]] = {}
    for output in outputs:
        name = output.topic.partition(".")[2]
        for i, (key, value) in enumerate(zip(output.keys, output.values, strict=True)):
            found.setdefault(name, []).append((key, value, output.headers.get(i, [])))
    return found
