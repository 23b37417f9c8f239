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

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
IDLE_MS = 60_000

_PACKED = struct.Struct(">5q")
NEVER = -(1 << 62)  # before all times: nothing was seen yet
_FIRST_HOUR = -(1 << 61)


@dataclass(slots=True)
class Horizon:
    """Event time in one partition. Times are in milliseconds, hours count from 1970.

    predictions, truths, signals: the newest event time of each topic so far.
    predictions_from, truths_from: the first hour whose entries have not left yet.
    heard_predictions, heard_truths, heard_signals: the worker's clock at their last batch.
    follows_signals: whether predictions wait for signals.
    """

    horizon_ms: int
    heard_predictions: int
    heard_truths: int
    heard_signals: int
    follows_signals: bool = False
    predictions: int = NEVER
    truths: int = NEVER
    signals: int = NEVER
    predictions_from: int = _FIRST_HOUR
    truths_from: int = _FIRST_HOUR

    @classmethod
    def begin(
        cls, horizon_ms: int, now_ms: int, packed: bytes | None = None, *, signals: bool = False
    ) -> Horizon:
        """At the start of the worker's work on the partition; packed: as `pack` left it."""
        kept = _PACKED.unpack(packed) if packed else ()
        return cls(horizon_ms, now_ms, now_ms, now_ms, signals, *kept)

    def pack(self) -> bytes:
        """What is to be known after a restart."""
        seen = self.predictions, self.truths, self.signals
        return _PACKED.pack(*seen, self.predictions_from, self.truths_from)

    def saw_predictions(self, newest: int, now_ms: int) -> None:
        """Take note of a batch of predictions."""
        self.heard_predictions = now_ms
        self.predictions = max(self.predictions, newest)

    def saw_truths(self, newest: int, now_ms: int) -> None:
        """Take note of a batch of truths."""
        self.heard_truths = now_ms
        self.truths = max(self.truths, newest)

    def saw_signals(self, newest: int, now_ms: int) -> None:
        """Take note of a batch of signals."""
        self.heard_signals = now_ms
        self.signals = max(self.signals, newest)

    def prediction_hour(self, event_time: int) -> int:
        """The hour in which a prediction leaves.

        One that arrives later than that leaves with the next hour that does.
        """
        return max(event_time // HOUR_MS, self.predictions_from)

    def prediction_hours(self, event_times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """`prediction_hour` of many, int64 (n,)."""
        hours: npt.NDArray[np.int64] = np.maximum(event_times // HOUR_MS, self.predictions_from)
        return hours

    def truth_hour(self, known_at: int) -> int:
        """The hour in which a truth or signal leaves whose prediction does not come."""
        return max(known_at // HOUR_MS, self.truths_from)

    def predictions_leave(self, now_ms: int) -> tuple[int, int]:
        """The hours, from first to before last, whose predictions are past the horizon now."""
        reached = self.predictions
        if now_ms - self.heard_truths < IDLE_MS:
            reached = min(reached, self.truths)
        if self.follows_signals and now_ms - self.heard_signals < IDLE_MS:
            reached = min(reached, self.signals)
        grace = min(self.horizon_ms, DAY_MS)
        first = self.predictions_from
        if reached > NEVER:
            hour = (reached - self.horizon_ms - grace) // HOUR_MS
            self.predictions_from = max(first, hour)
        return first, self.predictions_from

    def truths_leave(self, now_ms: int) -> tuple[int, int]:
        """The same of truths that wait for a prediction: predictions decide, which come first."""
        reached = self.predictions
        if now_ms - self.heard_predictions >= IDLE_MS:
            reached = max(reached, self.truths)
        first = self.truths_from
        if reached > NEVER:
            self.truths_from = max(first, (reached - self.horizon_ms) // HOUR_MS)
        return first, self.truths_from
