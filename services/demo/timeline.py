"""The order in which a year of flights happens: requests at departure, truths at landing.

Pure: the same frame always gives the same events at the same positions, so that a position says
what was published and what was not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.codec import Codec
from schemas.columns import Column, Columns, constant
from schemas.features import Boolean, Category, Feature, Integer
from schemas.moments import moment
from streams.task import Task

REQUEST, TRUTH = 0, 1
TOPICS = ("requests", "truth")
"""Topic of each kind of event."""


@dataclass(frozen=True, slots=True)
class Records:
    """Events ready to send: kind, key and framed value of each, in order."""

    kinds: list[int]
    keys: list[bytes]
    values: list[bytes]


class Timeline:
    """Requests and truths in order of event time; at one moment requests come first.

    ``times``: int64 (n,), milliseconds since 1970, ascending. ``kinds``: uint8 (n,), REQUEST or
    TRUTH. ``rows``: int64 (n,), the row of ``flights`` that the event is about.
    """

    def __init__(self, task: Task, flights: pd.DataFrame) -> None:
        """``flights``: request_id, event_time, known_at (UTC), the features and the target.

        Raises ValueError where ids repeat, or a truth is known before its request.
        """
        asked, known = millis(flights["event_time"]), millis(flights["known_at"])
        if not flights["request_id"].is_unique:
            raise ValueError("the flights' request ids repeat")
        if (known <= asked).any():
            row = int(np.argmax(known <= asked))
            raise ValueError(f"{flights['request_id'].iloc[row]}: known before it is asked")
        n = len(flights)
        times = np.concatenate([asked, known])
        kinds = np.repeat(np.array([REQUEST, TRUTH], np.uint8), n)
        rows = np.tile(np.arange(n), 2)
        order = np.lexsort((rows, kinds, times))
        self.times, self.kinds, self.rows = times[order], kinds[order], rows[order]
        self._truths = np.flatnonzero(self.kinds == TRUTH)
        self.keys = [id_.encode() for id_ in flights["request_id"]]
        schemas = task.schemas()
        self._codecs = (Codec(schemas["request"]), Codec(schemas["truth"]))
        ids = Column(flights["request_id"].to_numpy(object))
        request = {"request_id": ids, "event_time": Column(asked), "entity": constant(None, n)}
        request |= {f"features.{f.name}": _column(f, flights[f.name]) for f in task.features}
        truth = {
            "request_id": ids,
            "known_at": Column(known),
            "truth": Column(flights[task.target.name].to_numpy()),
            "source": constant("system", n),
            "selection_probability": constant(None, n),
        }
        self._columns: tuple[Columns, Columns] = (request, truth)

    def __len__(self) -> int:
        return len(self.times)

    def next_truth_ms(self, position: int) -> int | None:
        """Time of the first truth at a position or after it; None if there is none."""
        at = int(np.searchsorted(self._truths, position))
        return int(self.times[self._truths[at]]) if at < len(self._truths) else None

    def encode(self, start: int, stop: int) -> Records:
        """The events at the positions from ``start`` up to ``stop``."""
        kinds, rows = self.kinds[start:stop], self.rows[start:stop]
        values = np.empty(len(rows), object)
        for kind, codec in enumerate(self._codecs):
            here = kinds == kind
            chosen = rows[here]
            columns = {path: column.take(chosen) for path, column in self._columns[kind].items()}
            values[here] = codec.encode(columns, len(chosen))
        return Records(kinds.tolist(), [self.keys[row] for row in rows], values.tolist())

    def positions(self, kind: int) -> dict[bytes, int]:
        """Position by key of all events of a kind."""
        at = np.flatnonzero(self.kinds == kind)
        return {self.keys[self.rows[i]]: i for i in at.tolist()}

    def months(self, zone: str, every: int = 1) -> list[tuple[int, datetime]]:
        """Where months begin in ``zone``: (position of the first event after, the moment).

        ``every``: months from one to the next, counted from the month of the first event, which
        itself is left out. None where ``every`` is 0.
        """
        if every <= 0 or not len(self):
            return []
        first = moment(self.times[0]).astimezone(ZoneInfo(zone))
        found: list[tuple[int, datetime]] = []
        month = first.year * 12 + first.month - 1 + every
        while True:
            begins = datetime(month // 12, month % 12 + 1, 1, tzinfo=ZoneInfo(zone))
            if begins.timestamp() * 1000 > self.times[-1]:
                return found
            found.append((int(np.searchsorted(self.times, begins.timestamp() * 1000)), begins))
            month += every


def millis(times: pd.Series) -> npt.NDArray[np.int64]:
    """Times as milliseconds since 1970 UTC."""
    values: npt.NDArray[np.int64] = times.dt.as_unit("ms").astype("int64").to_numpy()
    return values


def _column(feature: Feature, series: pd.Series) -> Column:
    """A feature as the encoder wants it: its type, and null where nothing is known."""
    null = series.isna().to_numpy()
    valid = ~null if null.any() else None
    if isinstance(feature, Category):
        return Column(series.to_numpy(object), valid)
    dtype = {Integer: np.int64, Boolean: np.bool_}.get(type(feature), np.float64)
    return Column(series.where(~null, 0).to_numpy(dtype), valid)
