"""The stage of rollout: versions and comparisons in; decisions and roles out.

Its topics have one partition each, so one worker has them all. What it decides hangs on which of
them was read first, so its state is a record of ``<task>.rollouts`` in the transaction that commits
a batch's offsets, its decisions and the roles (`streams.triggers.changelog` says why): nothing is
decided twice, and a lost disk loses nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from prometheus_client import Counter, Gauge

from schemas.codec import Codec
from schemas.topics import BY_NAME
from streams.dead_letters import DeadLetter, DeadLetters
from streams.roles import ModelRecord
from streams.rollout import records
from streams.rollout.rollouts import Decision, Rollouts
from streams.rollout.sums import Sums
from streams.task import Task
from streams.transport.batch import Output, RecordBatch, Result

log = logging.getLogger(__name__)

STAGE = "rollout"
KEY = b"0"

DECISIONS = Counter("weir_rollout_decisions", "Decisions about roles", ["action"])
RUNNING = Gauge("weir_rollout_running", "1 while an experiment runs")


class RolloutStage:
    """The stage. last: the last committed state record. clock: milliseconds since 1970."""

    def __init__(
        self,
        task: Task,
        codecs: dict[str, Codec],
        clock: Callable[[], int],
        last: Callable[[], bytes | None],
    ) -> None:
        self._task, self._clock, self._last = task, clock, last
        self._models, self._comparisons, self._decisions, self._changelog = (
            BY_NAME[name].topic(task.name)
            for name in ("models", "comparisons", "decisions", "rollouts")
        )
        self._codecs = codecs
        self._dead = DeadLetters(task.name, codecs["dead_letter"], STAGE)
        self.close()

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that the agent reads."""
        return self._models, self._comparisons

    def close(self) -> None:
        """The partition goes."""
        self._rollouts: Rollouts | None = None
        self._offsets: dict[str, int] = {}
        self._written = ""

    def open(self) -> None:
        """Go on from what was committed, as the worker gets the partition."""
        self.close()
        value = self._last()
        nothing: dict[str, Any] = {"state": "{}", "offsets": {}}
        record = nothing if value is None else self._codecs["rollout"].read(value)
        self._rollouts = Rollouts.of(self._task, json.loads(record["state"]))
        self._offsets = dict(record["offsets"])
        self._written = record["state"]

    def __call__(self, batch: RecordBatch) -> Result:
        """Take one batch in, and decide."""
        if self._rollouts is None:
            self.open()
        rollouts = self._rollouts
        assert rollouts is not None
        # Read before, where offsets are committed after the outputs (at_least_once).
        known = int((batch.offsets < self._offsets.get(batch.topic, 0)).sum())
        letters: list[DeadLetter] = []
        outputs: list[Output] = []
        for position in range(known, len(batch)):
            value = batch.values[position]
            if value is None:
                continue  # a version that an operator deleted
            try:
                read = self._read(batch.topic, value)
            except (ValueError, KeyError, TypeError) as error:
                # Only Weir writes here, and this is not Weir's.
                letters.append(DeadLetter(position, "undecodable", f"not of a rollout: {error!r}"))
                continue
            decided = (
                rollouts.models([read])
                if isinstance(read, ModelRecord)
                else rollouts.compared(*read)
            )
            for decision in decided:
                outputs += self._told(rollouts, decision)
        self._offsets[batch.topic] = max(self._offsets.get(batch.topic, 0), batch.next_offset)
        state = json.dumps(rollouts.state(), separators=(",", ":"))
        if state != self._written:
            self._written = state
            outputs.append(self._state_of(rollouts, state))
        if letters:
            outputs.append(self._dead.output(batch, letters, self._clock()))
        RUNNING.set(rollouts.experiment is not None)
        return Result(batch, outputs)

    def _read(self, topic: str, value: bytes) -> ModelRecord | tuple[dict[str, Sums], int]:
        if topic == self._models:
            return ModelRecord.of(self._codecs["model"].read(value))
        record = self._codecs["comparison"].read(value)
        return records.unpacked(record["sums"]), record["event_time"]

    def _told(self, rollouts: Rollouts, made: Decision) -> list[Output]:
        """A decision's record and the roles that follow."""
        DECISIONS.labels(made.action).inc()
        log.info("decision %s (%s): %s", made.id, made.action, made.reason)
        now = self._clock()
        policy = self._task.rollout
        record = records.decision(made, policy.strategy, policy.facts(), now)
        found = [
            Output(self._decisions, [made.id.encode()], [self._codecs["decision"].write(record)])
        ]
        if made.moves:
            # In this order: there is a champion at every moment.
            known = rollouts.roles.records
            values = [
                self._codecs["model"].write(records.model(known[m.version], m, made, now))
                for m in made.moves
            ]
            keys = [move.version.encode() for move in made.moves]
            found.append(Output(self._models, keys, values))
        return found

    def _state_of(self, rollouts: Rollouts, state: str) -> Output:
        running = rollouts.experiment
        record = {
            "written_at": self._clock(),
            "event_time": rollouts.now,
            "experiment": running.id if running else "",
            "offsets": self._offsets,
            "state": state,
        }
        return Output(self._changelog, [KEY], [self._codecs["rollout"].write(record)])
