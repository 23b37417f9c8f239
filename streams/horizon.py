"""How far event time has come in a partition of the join, and what is past the label horizon.

Two topics are joined, and either may be read ahead of the other: after a stop, one batch of
predictions may span weeks of event time. A prediction that left as soon as *its* topic is past the
horizon would leave its truth, which waits in the other topic, without a partner, and whether it
does would hang on how the topics took turns. So a prediction stays until the truths, too, are past
its horizon by their own times, plus a grace for truths that are out of order among themselves.

Where a task reads signals as weak labels, their topic is a third one that predictions wait for.

A topic in which nothing arrives holds nobody up: after IDLE_MS without a record of it (by the
worker's clock) the others decide alone. Labels may come never; the state stays bounded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streams.event_time import from_number, latest, to_number

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
IDLE_MS = 60_000


_PACKED = struct.Struct(">5q")
_NO_HOUR = -(1 << 61)  # in what is packed: no hour has left yet

Hours = tuple[int | None, int]
"""Hours from the first, inclusive, to the last, exclusive; None: from the beginning."""


@dataclass(slots=True)
class Horizon:
    """Event time in one partition. Times are in milliseconds, hours count from 1970.

    predictions, truths, signals: the newest event time of each topic so far; None: not known yet.
    predictions_from, truths_from: the first hour whose entries have not left yet; None: of all.
    heard_predictions, heard_truths, heard_signals: the worker's clock at their last batch.
    follows_signals: whether predictions wait for signals.
    """

    horizon_ms: int
    heard_predictions: int
    heard_truths: int
    heard_signals: int
    follows_signals: bool = False
    predictions: int | None = None
    truths: int | None = None
    signals: int | None = None
    predictions_from: int | None = None
    truths_from: int | None = None

    @classmethod
    def begin(
        cls, horizon_ms: int, now_ms: int, packed: bytes | None = None, *, signals: bool = False
    ) -> Horizon:
        """At the start of the worker's work on the partition; packed: as `pack` left it."""
        found = cls(horizon_ms, now_ms, now_ms, now_ms, signals)
        if packed:
            *seen, predictions_from, truths_from = _PACKED.unpack(packed)
            found.predictions, found.truths, found.signals = map(from_number, seen)
            found.predictions_from = None if predictions_from == _NO_HOUR else predictions_from
            found.truths_from = None if truths_from == _NO_HOUR else truths_from
        return found

    def pack(self) -> bytes:
        """What is to be known after a restart."""
        seen = map(to_number, (self.predictions, self.truths, self.signals))
        hours = self.predictions_from, self.truths_from
        return _PACKED.pack(*seen, *(_NO_HOUR if hour is None else hour for hour in hours))

    def saw_predictions(self, newest: int | None, now_ms: int) -> None:
        """Take note of a batch of predictions; newest: None where it tells no event time."""
        self.heard_predictions = now_ms
        self.predictions = latest(self.predictions, newest)

    def saw_truths(self, newest: int | None, now_ms: int) -> None:
        """Take note of a batch of truths."""
        self.heard_truths = now_ms
        self.truths = latest(self.truths, newest)

    def saw_signals(self, newest: int | None, now_ms: int) -> None:
        """Take note of a batch of signals."""
        self.heard_signals = now_ms
        self.signals = latest(self.signals, newest)

    def prediction_hour(self, event_time: int) -> int:
        """The hour in which a prediction leaves.

        One that arrives later than that leaves with the next hour that does.
        """
        return _not_before(event_time // HOUR_MS, self.predictions_from)

    def prediction_hours(self, event_times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """`prediction_hour` of many, int64 (n,)."""
        hours: npt.NDArray[np.int64] = event_times // HOUR_MS
        first = self.predictions_from
        return hours if first is None else np.maximum(hours, first)

    def truth_hour(self, known_at: int) -> int:
        """The hour in which a truth or signal leaves whose prediction does not come."""
        return _not_before(known_at // HOUR_MS, self.truths_from)

    def predictions_leave(self, now_ms: int) -> Hours | None:
        """The hours whose predictions are past the horizon now; None: no event time tells yet."""
        waited_for = [self.predictions]
        if now_ms - self.heard_truths < IDLE_MS:
            waited_for.append(self.truths)
        if self.follows_signals and now_ms - self.heard_signals < IDLE_MS:
            waited_for.append(self.signals)
        known = [time for time in waited_for if time is not None]
        if len(known) < len(waited_for):
            return None
        grace = min(self.horizon_ms, DAY_MS)
        first, hour = self.predictions_from, (min(known) - self.horizon_ms - grace) // HOUR_MS
        self.predictions_from = _not_before(hour, first)
        return first, self.predictions_from

    def truths_leave(self, now_ms: int) -> Hours | None:
        """The same of truths that wait for a prediction: predictions decide, which come first."""
        reached = self.predictions
        if now_ms - self.heard_predictions >= IDLE_MS:
            reached = latest(reached, self.truths)
        if reached is None:
            return None
        first = self.truths_from
        self.truths_from = _not_before((reached - self.horizon_ms) // HOUR_MS, first)
        return first, self.truths_from


def _not_before(hour: int, first: int | None) -> int:
    return hour if first is None else max(hour, first)
