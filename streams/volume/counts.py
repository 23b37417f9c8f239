"""A batch's requests by client and bucket of event time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.columns import Columns

BUCKET_MS = 10_000
"""A bucket of event time: a jump is to be told within a minute, and a bucket is looked at when it
is over."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """Requests (all of them, and those that the gate held back) by bucket and client.

    clients: names; "" stands for requests that name none. buckets: event time in `BUCKET_MS`.
    newest: the newest event time in milliseconds.
    """

    clients: list[str]
    buckets: Ints
    requests: Ints
    held: Ints
    newest: int


def count(columns: Columns) -> Counts | None:
    """The counts of decoded predictions; None where there are none.

    An event time that lies before one that came earlier in the batch counts as that one: nobody
    spreads a burst over the past.
    """
    times = columns["event_time"].values
    if not len(times):
        return None
    buckets = np.maximum.accumulate(times) // BUCKET_MS
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
    first = int(buckets[0])  # the smallest: they only grow
    cells, cell = np.unique((buckets - first) * len(names) + codes, return_inverse=True)
    return Counts(
        [str(name) for name in names[cells % len(names)]],
        cells // len(names) + first,
        np.bincount(cell, minlength=len(cells)),
        np.bincount(cell, held, minlength=len(cells)).astype(np.int64),
        int(times.max()),
    )
