"""Outcomes: predictions joined with their truths, as records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from schemas.codec import Codec
from schemas.columns import Column, Columns, constant
from streams.join import Chain, KnownTruth, in_time


@dataclass(slots=True)
class Joined:
    """Pairs that meet in one batch, as rows of outcomes to be.

    numbers: which truth of its request each is, from 0. previous: the truth that it replaces in
    an outcome told of before. late: truths that came after the label horizon.
    """

    predictions: list[bytes] = field(default_factory=list)
    truths: list[KnownTruth] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    previous: list[bytes | None] = field(default_factory=list)
    late: list[KnownTruth] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.predictions)

    def add(self, prediction: bytes, chain: Chain, previous: KnownTruth | None) -> None:
        """The prediction meets the last truth of a chain."""
        self.predictions.append(prediction)
        self.truths.append(chain[-1])
        self.numbers.append(len(chain) - 1)
        self.previous.append(None if previous is None else previous.value)

    def take(self, rows: Sequence[int]) -> Joined:
        """Some of the pairs, without those that are late."""
        return Joined(
            [self.predictions[row] for row in rows],
            [self.truths[row] for row in rows],
            [self.numbers[row] for row in rows],
            [self.previous[row] for row in rows],
        )


class Outcomes:
    """Makes the columns of outcome records."""

    def __init__(self, predictions: Codec, truths: Codec, horizon_ms: int) -> None:
        self._predictions = predictions
        self._truths = truths
        self._horizon_ms = horizon_ms

    def columns(self, joined: Joined, now_ms: int) -> tuple[Columns, list[KnownTruth]]:
        """The outcomes of pairs, in order, and the truths that came after the horizon."""
        decoded = self._predictions.decode(joined.predictions)
        if decoded.failures:
            raise ValueError(f"a pending prediction does not decode: {decoded.failures[0].message}")
        times = decoded.columns["event_time"].values.tolist()
        on_time = [
            in_time((truth,), time, self._horizon_ms) == 1
            for truth, time in zip(joined.truths, times, strict=True)
        ]
        rows = [row for row, good in enumerate(on_time) if good]
        late = [truth for truth, good in zip(joined.truths, on_time, strict=True) if not good]
        columns = decoded.columns
        if late:
            joined = joined.take(rows)
            columns = {path: column.take(np.array(rows, int)) for path, column in columns.items()}
        truths = self._truths.decode([truth.value for truth in joined.truths]).columns
        columns |= {
            "known_at": truths["known_at"],
            "joined_at": constant(now_ms, len(rows)),
            "revision": Column(np.array(joined.numbers, np.int64)),
            "truth": truths["truth"],
            "previous_truth": self._previous(joined.previous),
            "source": truths["source"],
            "previous_source": constant(None, len(rows)),
            "label": constant("true", len(rows)),
            "weight": constant(1.0, len(rows)),
            "previous_weight": constant(None, len(rows)),
            **{
                name: constant(None, len(rows)) for name in ("position", "propensity", "shown_role")
            },
        }
        return columns, late

    def _previous(self, old: Sequence[bytes | None]) -> Column:
        there = [value for value in old if value is not None]
        if not there:
            return constant(None, len(old))
        truths = self._truths.decode(there).columns["truth"].values
        valid = np.array([value is not None for value in old], bool)
        values = np.zeros(len(old), truths.dtype)
        values[valid] = truths
        return Column(values, valid)
