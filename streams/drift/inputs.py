"""Inputs, answers, scores and truths: how their bins are filled, how many are null or unknown.

Looked at every `STEP` records, so that the work a record is little in small batches too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.drift import evidence, seasons
from streams.drift.counts import Counts
from streams.drift.finding import Finding
from streams.drift.levels import Levels, level
from streams.drift.packing import packed, unpacked
from streams.drift.policy import Drift
from streams.drift.reference import Block, Reference
from streams.drift.shares import HORIZONS, Shares, sampling_error
from streams.drift.tilts import STEPS, Tilts

Floats = npt.NDArray[np.float64]
Span = tuple[int, int]
"""First and last event time, milliseconds."""

STEP = 128
"""Records between two looks, at least."""
LABELS = 512
"""Truths after which there is a look without as many records: most come beside them."""
MOST_TOLERANCE = 0.9
LEAST_SHARE = 0.5  # records that a bin counts for which the reference had none in
FROM_THE_START = 8
"""Looks: what shifted within the first so many was so from the version's first record on."""
HELD = 8
"""Looks for which a shift of inputs jointly is held back: one of them may prove to have shifted by
itself, and that is the simpler word for it."""
SHAPES, NULLS = 0.7, 0.3
"""How the false alarms are divided between bins, and nulls with unknown names."""


class Inputs:
    """Detectors of all blocks of the reference, side by side in arrays.

    every: records between two false alarms of all together.
    """

    def __init__(self, reference: Reference, policy: Drift, every: float) -> None:
        self._reference, self._blocks = reference, reference.blocks
        m = len(self._blocks)
        self._width = max((block.bins for block in self._blocks), default=1)
        self._places = _places(self._blocks, reference.starts, self._width)
        self._season = policy.seasonality if reference.slots else ()
        self._usual_shares = _usual_shares(reference, self._width, seasons.slots(self._season))
        inflation = np.array([block.inflation for block in self._blocks])
        size = np.array([block.size * (1 - block.missing) for block in self._blocks])
        # A slot's shares are of its rows alone.
        of_slot = size / len(self._usual_shares)
        error = sampling_error(self._usual_shares.mean(0), of_slot / inflation)
        tolerance = np.minimum(policy.tolerance + error, MOST_TOLERANCE)
        # exp(h) looks at least, of STEP records at least, of each CUSUM.
        ordered = _ordered(self._blocks)
        cusums = m * len(HORIZONS) + int(ordered.sum()) * 2 * len(STEPS)
        looks = every / SHAPES * cusums / STEP
        self._shares = Shares(
            tolerance,
            inflation,
            float(np.log(max(looks, 2.0))),
            Tilts(self._usual_shares, ordered, policy.shift),
            of_slot,
        )
        self._nulls = self._levels(policy, every / NULLS * 2 * max(m, 1))
        self._on = np.array(
            [evidence.KIND[block.kind] in policy.kinds for block in self._blocks], bool
        )
        self._schema = "schema" in policy.kinds
        self._skew = "skew" in policy.kinds
        self._cells = np.zeros((m, self._width + 2))
        self._usual = np.zeros((m, self._width))
        self._early: int | None = None  # event time at the end of the first looks
        self._records = self._looks = 0
        # Of predictions and of labels since the last look.
        self._times: list[Span | None] = [None, None]
        self._late = np.array([block.kind == "target" for block in self._blocks], bool)
        self.wild = np.zeros(m, np.int64)
        self._over = np.zeros(m, np.int64)  # looks for which a row has been beyond its threshold

    def _levels(self, policy: Drift, every: float) -> Levels:
        """Missing values of each block, then unknown names of each."""
        size = np.array([float(block.size) for block in self._blocks])
        missing = np.array([block.missing for block in self._blocks])
        inflation = np.array([block.missing_inflation for block in self._blocks])
        one = np.ones(len(self._blocks))
        limits = level(missing, size, policy.share_tolerance, inflation)
        unknown = level(0 * one, size, policy.share_tolerance, one)
        return Levels(every, np.concatenate([limits, unknown]), np.concatenate([inflation, one]))

    def update(self, counts: Counts) -> list[Finding]:
        """Take in a batch; what is found, at most once every `STEP` records."""
        if counts.first is None or counts.last is None:
            return []
        cells = np.append(counts.cells, 0)[self._places]
        self._cells += cells
        slot = seasons.slot_of(np.array([counts.bucket]), self._season)[0] if self._season else 0
        self._usual += cells[:, : self._width].sum(1, keepdims=True) * self._usual_shares[slot]
        self.wild += counts.wild
        # Labels come late: their event times are no time of an input.
        place = 0 if counts.records else 1
        first, last = self._times[place] or (counts.first, counts.last)
        self._times[place] = min(first, counts.first), max(last, counts.last)
        self._records += counts.records
        if self._records < STEP and self._cells[self._late].sum() < LABELS:
            return []
        found = list(self._look())
        self._cells[:] = 0
        self._usual[:] = 0
        return found

    def _look(self) -> Iterator[Finding]:
        predicted, labelled = self._times
        seen = predicted or labelled
        assert seen is not None
        first, last = seen
        if self._looks == FROM_THE_START:
            self._early = last
        of_labels = labelled or seen
        began, until = (np.where(self._late, of_labels[end], seen[end]) for end in (0, 1))
        self._records, self._looks = 0, self._looks + 1
        self._times = [None, None]
        width = self._width
        for at in self._to_tell(self._shares.look(self._cells[:, :width], self._usual, began)):
            told = self._shares.told(at)
            if self._on[at]:
                yield self._shifted(at, told, int(until[at]))
        known = self._cells[:, :width].sum(1)
        unknown, missing = self._cells[:, width], self._cells[:, width + 1]
        n = np.concatenate([known + unknown + missing, known + unknown])
        for passed in self._nulls.update(n, np.concatenate([missing, unknown]), first):
            of, at = divmod(passed.row, len(self._blocks))
            if self._schema and self._blocks[at].kind == "data":
                yield evidence.nulls(
                    self._reference.version,
                    self._blocks[at],
                    bool(of),
                    passed,
                    last,
                    self._cost(self._nulls.s.size),
                )

    def _to_tell(self, rows: Sequence[int]) -> Iterator[int]:
        """Of the rows that shifted those to tell of, each once: the caller tells between two.

        Inputs jointly are told of where none of them is told of otherwise: a shift of one input is
        one of every projection that it has a part in.
        """
        over = self._over + 1
        self._over[:] = 0
        self._over[rows] = over[rows]
        parts = self._reference.parts
        yield from (at for at in rows if self._blocks[at].kind != "joint")
        for at in (at for at in rows if self._blocks[at].kind == "joint"):
            told = np.flatnonzero(self._shares.latched).tolist()
            if any(parts[at] & parts[other] for other in told):
                self._shares.told(at)  # to nobody
            elif self._over[at] >= HELD:
                yield at

    def _shifted(self, at: int, told: tuple[float, int, Floats, Floats], last: int) -> Finding:
        block, early = self._blocks[at], self._early
        from_start = block.kind == "data" and self._skew and (early is None or told[1] <= early)
        return evidence.shift(
            self._reference.version, block, told, self._shares.threshold, last, from_start,
            int(self.wild[at]), self._cost(self._shares.s.size),
        )  # fmt: skip

    def _cost(self, detectors: int) -> float:
        looks = float(self._looks)
        return detectors * looks * (looks + 1)

    def state(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "shares": self._shares.state(),
            "nulls": self._nulls.state(),
            **packed({
                "cells": self._cells, "usual": self._usual, "wild": self.wild, "over": self._over,
                "at": _numbers([self._early, self._records, self._looks]),
                "times": _numbers([time for span in self._times for time in span or (None, None)]),
            }),
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same reference."""
        self._shares.restore(state["shares"])
        self._nulls.restore(state["nulls"])
        self._cells = unpacked(state, "cells", self._cells)
        self._usual = unpacked(state, "usual", self._usual)
        early, records, looks = _times(unpacked(state, "at", np.zeros(3, np.int64)))
        self._early, self._records, self._looks = early, records or 0, looks or 0
        times = _times(unpacked(state, "times", np.zeros(4, np.int64)))
        self._times = [
            None if first is None or last is None else (first, last)
            for first, last in zip(times[::2], times[1::2], strict=True)
        ]
        self.wild = unpacked(state, "wild", self.wild)
        self._over = unpacked(state, "over", self._over)


def _numbers(times: Sequence[int | None]) -> npt.NDArray[np.int64]:
    """Times, and numbers, as a state has them: −1 where there is none."""
    return np.array([-1 if time is None else time for time in times], np.int64)


def _times(numbers: npt.NDArray[np.int64]) -> list[int | None]:
    """What `_numbers` made."""
    return [None if number < 0 else number for number in numbers.tolist()]


def _ordered(blocks: Sequence[Block]) -> npt.NDArray[np.bool_]:
    """Whose bins have an order: numbers', and what is one of two. A mixture of numbers moves with
    each of them, which tells it better."""
    return np.array(
        [block.kind != "joint" and (block.names is None or block.bins == 2) for block in blocks],
        bool,
    )


def _places(blocks: Sequence[Block], starts: Sequence[int], width: int) -> npt.NDArray[np.int64]:
    """(blocks, width + 2): which of the counts' cells is each bin, unknown, missing; the one behind
    all where a block has fewer bins."""
    places = np.full((len(blocks), width + 2), starts[-1], np.int64)
    for at, block in enumerate(blocks):
        places[at, : block.bins] = starts[at] + np.arange(block.bins)
        places[at, width:] = starts[at] + block.bins + np.arange(2)
    return places


def _usual_shares(reference: Reference, width: int, slots: int) -> Floats:
    """(slots, blocks, width) shares of the reference, none of a block's bins at 0."""
    found = np.zeros((slots, len(reference.blocks), width))
    for at, block in enumerate(reference.blocks):
        by_slot = reference.slots.get(f"{block.kind} {block.subject}")
        table = block.shares[None] if by_slot is None else np.array(by_slot, np.float64)
        table = np.maximum(table, LEAST_SHARE / max(block.size, 1))
        found[:, at, : block.bins] = table / table.sum(1, keepdims=True)
    return found
