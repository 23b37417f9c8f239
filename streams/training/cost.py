"""What gate and model cost: measured, since whether a gate pays depends on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pandas as pd

from streams.training.fitting import one_thread
from streams.version import Version

BATCH = 500
"""Rows of the measured batch: a usual micro-batch of serving."""
REPEATS = 7
"""Timings; the smallest counts, as everything else that runs only adds."""


def measure(version: Version, frame: pd.DataFrame) -> dict[str, Any]:
    """Microseconds a row that gate and model take, and their ratio (f/i).

    These are the only numbers of a training that differ from run to run.
    """
    batch = frame.head(BATCH).reset_index(drop=True)
    with one_thread():
        model = _seconds(lambda: version.predict(batch))
        gate = _seconds(lambda: version.gate_scores(batch))
    per_row = 1e6 / len(batch)
    return {
        "batch": len(batch),
        "gate_us": gate * per_row,
        "model_us": model * per_row,
        "ratio": gate / model,
    }


def _seconds(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
