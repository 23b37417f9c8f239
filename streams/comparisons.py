"""Comparisons: what one batch adds to the sums by which versions are compared; without state."""

from __future__ import annotations

import numpy as np

from schemas.codec import Codec
from schemas.columns import Columns
from schemas.topics import BY_NAME
from streams.rollout.records import packed
from streams.rollout.sums import Sums, add, of_latency, of_outcomes, of_predictions
from streams.task import Task
from streams.transport.batch import Output, RecordBatch, Result

STAGE = "compare"
LATENCY_FROM = 0
"""The partition whose predictions tell of latency: a batch that is served has requests of all
partitions, and must count once."""


class Comparisons:
    """The stage that sums: any worker can sum any partition's batches.

    What is not readable is set aside by the tally and by the profiles.
    """

    def __init__(self, task: Task, codecs: dict[str, Codec]) -> None:
        self._task = task
        self._comparison = codecs["comparison"]
        self._topic = BY_NAME["comparisons"].topic(task.name)
        names = ("predictions", "shadows", "outcomes")
        self._predictions, self._shadows, self._outcomes = (
            BY_NAME[name].topic(task.name) for name in names
        )
        prediction = codecs["prediction"]
        self._read = {self._predictions: prediction, self._outcomes: codecs["outcome"]}
        if task.rollout.guardrails.latency_ms is not None:
            self._read[self._shadows] = prediction

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that the agent reads."""
        return tuple(self._read)

    def __call__(self, batch: RecordBatch) -> Result:
        """Sum one batch."""
        columns = batch.decoded(self._read[batch.topic]).columns
        rows = np.flatnonzero(columns["experiment"].values != "")
        if not len(rows):
            return Result(batch, [])
        record = {
            "source": f"{batch.topic}/{batch.partition}",
            "event_time": int(columns["event_time"].values[rows].max()),
            "records": len(rows),
            "sums": packed(self._sums(batch, columns)),
        }
        key = str(batch.partition).encode()
        return Result(batch, [Output(self._topic, [key], [self._comparison.write(record)])])

    def _sums(self, batch: RecordBatch, columns: Columns) -> Sums:
        if batch.topic == self._outcomes:
            return of_outcomes(self._task, columns)
        sums = of_predictions(self._task, columns) if batch.topic == self._predictions else {}
        limit = self._task.rollout.guardrails.latency_ms
        if limit is not None and batch.partition == LATENCY_FROM:
            add(sums, of_latency(columns, limit))
        return sums
