"""What the versions in service say of the flights, as batches of predictions and outcomes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schemas.columns import Column, Columns, constant
from services.evaluate.loop_world import Floats, World
from streams.estimates.measures import SPREAD
from streams.training.fitting import one_thread
from streams.version import Version

Rows = npt.NDArray[np.int64]

CHUNK = 50_000
"""Rows that are predicted at once."""


class Said:
    """Answers by row of the world, by whoever was in service when it was asked.

    probability: (n,) P(late) as Weir answered. batch, before, expected: by the batch-trained
    champion, by the one before it (the champion where there is none), and what the champion's
    estimator makes of it (NaN where it has none). alone, together: by what learns from each
    outcome, alone and on top of the champion; NaN where the task has none. NaN, all, where there
    was no champion.
    """

    def __init__(self, world: World) -> None:
        n = len(world)
        self._world = world
        self.version = np.full(n, "", object)
        self.probability, self.batch, self.before, self.expected, self.alone, self.together = (
            np.full(n, np.nan) for _ in range(6)
        )
        self._spread = np.zeros((n, len(SPREAD[world.task.kind])))
        self._outside = np.zeros(n, bool)

    def serve(self, version: Version, at: int) -> None:
        """From an event time (ms) on the version answers.

        That of all flights to come is made at once: a row's answer does not depend on its batch.
        """
        first = int(np.searchsorted(self._world.asked, at))
        if first and self.version[first - 1] != "":
            self.before[first:] = self.batch[first:]
        for start in range(first, len(self._world), CHUNK):
            self._answer(version, slice(start, start + CHUNK))
        if np.isnan(self.before[first:]).any():
            self.before[first:] = self.batch[first:]
        self.probability[first:] = self.batch[first:]
        self.version[first:] = version.id

    def _answer(self, version: Version, rows: slice) -> None:
        frame = version.frame(self._world.rows(rows))
        with one_thread():
            answers = version.predict(frame)
            assert answers.probability is not None
            self.batch[rows] = answers.probability
            self.expected[rows] = np.nan
            if version.estimates is not None:
                expected = version.estimates.expect(frame, answers)
                self.expected[rows] = expected.values[:, 0]
                self._spread[rows] = expected.spread
                self._outside[rows] = expected.outside

    def learned(self, rows: Rows, alone: Floats, together: Floats, leads: bool) -> None:
        """What has learned from each outcome says of some rows. leads: Weir answers so too."""
        self.alone[rows], self.together[rows] = alone, together
        if leads:
            self.probability[rows] = together

    def predictions(self, rows: Rows) -> Columns:
        """A batch of predictions: what counting and measuring need of it."""
        n, there = len(rows), ~np.isnan(self.expected[rows])
        known = self.expected[rows][:, None]
        spread = self._spread[rows]
        texts = {"status": "answered", "role": "champion", "gate_decision": "none"}
        return {
            **{path: column.take(rows) for path, column in self._world.columns.items()},
            **{name: constant(text, n) for name, text in texts.items()},
            "version": Column(self.version[rows]),
            "event_time": Column(self._world.asked[rows]),
            "answer": Column(self.probability[rows] >= 0.5),
            "probability": Column(self.probability[rows]),
            "gate_score": constant(None, n),
            "expected": Column(known if there.all() else np.zeros((n, 0))),
            "expected_spread": Column(spread if there.all() else np.zeros((n, 0))),
            "outside_region": Column(self._outside[rows]),
        }

    def outcomes(self, rows: Rows) -> Columns:
        """A batch of outcomes: predictions with their truths."""
        return self.predictions(rows) | {
            "truth": Column(self._world.truth[rows]),
            "label": constant("true", len(rows)),
            "source": constant("system", len(rows)),
            "previous_truth": constant(None, len(rows)),
        }
