"""A batch's requests by client and bucket of event time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.columns import Columns
from streams.drift.rejections import THROTTLED
from streams.event_time import from_number, to_number

BUCKET_MS = 10_000
"""A bucket of event time: a jump is to be told within a minute, and a bucket is looked at when it
is over."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """Requests (all of them, and those that the gate held back) by bucket and client.

    clients: names; "" stands for requests that name none. buckets: event time in `BUCKET_MS`, None
    (as `event_time.to_number` writes it) where the batch has told none before: they belong to the
    time that the stream had then. newest: the newest event time in milliseconds.
    """

    clients: list[str]
    buckets: Ints
    requests: Ints
    held: Ints
    newest: int | None


def count(columns: Columns) -> Counts | None:
    """The counts of decoded predictions; None where there are none.

    An event time that lies before one that came earlier in the batch counts as that one: nobody
    spreads a burst over the past. So does a refused request, whose own may be anything, its
    record's time too; but one whose client is throttled is good, and tells the time.
    """
    times = columns["event_time"].values
    if not len(times):
        return None
    none = to_number(None)
    newest = np.maximum.accumulate(np.where(_tell_time(columns), times, none))
    buckets = np.where(newest == none, none, newest // BUCKET_MS)
    entity = columns["entity"]
    decision = columns["gate_decision"].values
    held = (decision == "defer") | (decision == "explore")
    if entity.valid is not None and not entity.valid.any():
        codes, names = np.zeros(len(times), np.int64), np.array([""], object)
    else:
        values = entity.values
        if entity.valid is not None:
            values = np.where(entity.valid, values, "")
        codes, names = pd.factorize(values)
    different, place = np.unique(buckets, return_inverse=True)
    cells, cell = np.unique(place * len(names) + codes, return_inverse=True)
    return Counts(
        [str(name) for name in names[cells % len(names)]],
        different[cells // len(names)],
        np.bincount(cell, minlength=len(cells)),
        np.bincount(cell, held, minlength=len(cells)).astype(np.int64),
        from_number(int(newest[-1])),
    )


def _tell_time(columns: Columns) -> npt.NDArray[np.bool_]:
    """The predictions whose event time is one."""
    tell: npt.NDArray[np.bool_] = columns["status"].values != "rejected"
    reason = columns["reason"]
    for row in np.flatnonzero(~tell).tolist():
        there = reason.valid is None or reason.valid[row]
        tell[row] = there and reason.values[row].startswith(f"{THROTTLED}:")
    return tell
