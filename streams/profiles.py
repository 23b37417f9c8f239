"""Profiles: what one batch adds to the counts that drift is found in; a stage without state."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from prometheus_client import Counter

from schemas.codec import Codec
from schemas.columns import Columns
from schemas.topics import BY_NAME
from streams.dead_letters import DeadLetter, DeadLetters
from streams.drift.counts import count_outcomes, count_predictions, parts
from streams.drift.rejections import refused
from streams.references import References
from streams.task import Task
from streams.transport.batch import Output, RecordBatch, Result
from streams.validate import event_time_bounds

STAGE = "profile"

UNPROFILED = Counter("weir_drift_unprofiled", "Records in which no drift is looked for", ["why"])


class Profiles:
    """The stage that counts: predictions, shadows' too, and outcomes, by version and hour.

    references: what to count against. What a version without one served is not looked at.
    """

    def __init__(
        self,
        task: Task,
        codecs: dict[str, Codec],
        references: References,
        clock: Callable[[], int],
    ) -> None:
        self._task = task
        self._references = references
        self._clock = clock
        self._profile = codecs["profile"]
        self._dead = DeadLetters(task.name, codecs["dead_letter"], STAGE)
        self._topic = BY_NAME["profiles"].topic(task.name)
        self._predictions = BY_NAME["predictions"].topic(task.name)
        self._shadows = BY_NAME["shadows"].topic(task.name)
        self._read = {
            self._predictions: (codecs["prediction"], count_predictions),
            self._shadows: (codecs["prediction"], count_predictions),
            BY_NAME["outcomes"].topic(task.name): (codecs["outcome"], count_outcomes),
        }

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that the agent reads."""
        return tuple(self._read)

    def __call__(self, batch: RecordBatch) -> Result:
        """Count one batch."""
        codec, count = self._read[batch.topic]
        decoded = batch.decoded(codec)
        columns = decoded.columns
        keys: list[bytes | None] = []
        records = []
        for version, _, rows in parts(self._task.drift, columns):
            reference = self._references.of(version)
            if reference is None:
                UNPROFILED.labels("reference").inc(len(rows))
                continue
            counts = count(self._task, reference, columns, rows)
            keys.append(version.encode())
            records.append(
                {
                    "version": version,
                    "role": columns["role"].values[rows[-1]],
                    "source": f"{batch.topic}/{batch.partition}",
                    "records": len(rows),
                    "event_from": counts.first,
                    "event_to": counts.last,
                    "counts": json.dumps(counts.plain(), separators=(",", ":")),
                }
            )
        if batch.topic == self._predictions and (rejected := self._rejected(batch, columns)):
            keys.append(b"")
            records.append(rejected)
        outputs = []
        if records:
            outputs.append(Output(self._topic, keys, self._profile.write_many(records)))
        # Of predictions and outcomes the tally tells already.
        if decoded.failures and batch.topic == self._shadows:
            letters = [DeadLetter(f.position, f.reason, f.message) for f in decoded.failures]
            outputs.append(self._dead.output(batch, letters, self._clock()))
        return Result(batch, outputs)

    def _rejected(self, batch: RecordBatch, columns: Columns) -> dict[str, Any] | None:
        """What tells of the refused requests of a batch; None where there are none."""
        rows = np.flatnonzero(columns["status"].values == "rejected")
        if not len(rows):
            return None
        # One that was refused for its event time has that of its record, which may be anything.
        times = columns["event_time"].values[rows]
        low, high = event_time_bounds(self._task, self._clock())
        times = times[(times >= low) & (times <= high)]
        reasons = columns["reason"].take(rows)
        there = reasons.values if reasons.valid is None else reasons.values[reasons.valid]
        return {
            "version": "",
            "role": "none",
            "source": f"{batch.topic}/{batch.partition}",
            "records": 0,
            "event_from": int(times.min()) if len(times) else None,
            "event_to": int(times.max()) if len(times) else None,
            "counts": "",
            "rejected": len(rows),
            "rejected_by": refused([feature.name for feature in self._task.features], there),
        }
