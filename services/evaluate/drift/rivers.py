"""river's detectors at their defaults: on the errors where there are any, else on every number.

One is not at its defaults: ``river_ADWIN_at_weir_rate``, whose delta gives it as few false alarms
among labels as Weir has.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from river import drift
from river.drift import binary

from services.evaluate.drift.judge import Seen
from services.evaluate.drift.streams import Made

OF_ERRORS: dict[str, Callable[[], Any]] = {
    "river_ADWIN": drift.ADWIN,
    "river_ADWIN_at_weir_rate": partial(drift.ADWIN, delta=0.0014),
    "river_PageHinkley": drift.PageHinkley,
    "river_DDM": binary.DDM,
    "river_EDDM": binary.EDDM,
    "river_HDDM_A": binary.HDDMA,
    "river_HDDM_W": binary.HDDMW,
    "river_KSWIN": lambda: drift.KSWIN(seed=0),
}
OF_NUMBERS = ("river_ADWIN", "river_PageHinkley", "river_KSWIN")
QUICK = ("river_ADWIN", "river_ADWIN_at_weir_rate")
"""Given every draw of every stream: they come the closest."""
SLOW = {"river_KSWIN": 190e-6}
"""Seconds an update, of those that are not given every draw of every stream."""


def watch(name: str, made: Made) -> Seen:
    """One detector on the errors and on every number, each an instance of its own."""
    columns: list[Any] = [] if made.wrong is None else [made.wrong.astype(np.int64)]
    if name in OF_NUMBERS:
        columns += list(made.numbers.values())
    detectors = [OF_ERRORS[name]() for _ in columns]
    alarms: set[int] = set()
    spent = 0.0
    for detector, column in zip(detectors, columns, strict=True):
        values = column.tolist()
        began = time.process_time()
        update = detector.update
        for at, value in enumerate(values):
            update(value)
            if detector.drift_detected:
                alarms.add(at)
        spent += time.process_time() - began
    kept = tuple(sorted(at for at in alarms if at >= made.reference))
    n = len(made)
    share = (n - made.reference) / n  # of the time, the reference's is left out
    return Seen(n - made.reference, made.reference, made.changes, kept, spent * share)
