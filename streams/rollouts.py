"""The stage of rollout: versions and comparisons in; decisions and roles out.

Its topics have one partition each, so one worker has them all. What it decides hangs on which of
them was read first, so its state is a record of ``<task>.rollouts`` in the transaction that commits
a batch's offsets, its decisions and the roles (`streams.triggers.changelog` says why): nothing is
decided twice, and a lost disk loses nothing.

Others write roles too, and a record of theirs may come between what is decided here and where it
comes to stand in the topic. Every reader takes the topic in its order, so the stage sees to it that
this is the order of its decisions: its roles hold where they were decided and are not taken again
when they are read, and what others wrote while some of them were on their way is written once more,
behind them. So whatever the batches, each version's last record is what was decided last, and the
last champion is the champion, also where the topic is compacted.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
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
from streams.transport.batch import Headers, Output, RecordBatch, Result
from streams.triggers.changelog import Last, state_of

log = logging.getLogger(__name__)

STAGE = "rollout"
KEY = b"0"
NUMBER = "rollout-number"
"""The header of the stage's own records of roles: the how manieth it is, from 1."""

DECISIONS = Counter("weir_rollout_decisions", "Decisions about roles", ["action"])
RUNNING = Gauge("weir_rollout_running", "1 while an experiment runs")


class RolloutStage:
    """The stage. last: the last committed state record. clock: milliseconds since 1970."""

    def __init__(
        self,
        task: Task,
        codecs: dict[str, Codec],
        clock: Callable[[], int],
        last: Last,
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
        self._sent = self._returned = 0

    def open(self) -> None:
        """Go on from what was committed, as the worker gets the partition."""
        self.close()
        nothing = Rollouts.of(self._task, {}), (0, 0), dict[str, Any]()
        # Own records of roles that were written, and those of them that were read back.
        self._rollouts, counted, record = self._last(self._resumed) or nothing
        self._sent, self._returned = counted
        self._offsets = dict(record.get("offsets", {}))
        self._written = record.get("state", "")

    def _resumed(self, value: bytes) -> tuple[Rollouts, tuple[int, int], dict[str, Any]]:
        """The state that a record holds, the counts beside it, and the record."""
        record = self._codecs["rollout"].read(value)
        state = state_of(record)
        rollouts = Rollouts.of(self._task, state)
        rollouts.state()  # raises where it is none
        return rollouts, (int(state.get("sent", 0)), int(state.get("returned", 0))), record

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
        moved: dict[bytes | None, bytes | None] = {}
        for position in range(known, len(batch)):
            number = _number(batch.headers.get(position, []))
            if batch.topic == self._models and 0 < number <= self._sent:
                self._returned = max(self._returned, number)
                continue  # it holds since it was decided
            try:
                read = self._read(batch, position)
            except (ValueError, KeyError, TypeError) as error:
                # Only Weir writes here, and this is not Weir's.
                letters.append(DeadLetter(position, "undecodable", f"not of a rollout: {error!r}"))
                continue
            if batch.topic == self._models and (moved or self._returned < self._sent):
                _put(moved, batch.keys[position], batch.values[position])
            for decision in self._decided(rollouts, read):
                outputs.append(self._told(rollouts, decision, moved))
        if moved:
            outputs.append(self._roles(moved))
        self._offsets[batch.topic] = max(self._offsets.get(batch.topic, 0), batch.next_offset)
        counted = {"sent": self._sent, "returned": self._returned}
        state = json.dumps(rollouts.state() | counted, separators=(",", ":"))
        if state != self._written:
            self._written = state
            outputs.append(self._state_of(rollouts, state))
        if letters:
            outputs.append(self._dead.output(batch, letters, self._clock()))
        RUNNING.set(rollouts.experiment is not None)
        return Result(batch, outputs)

    def _read(
        self, batch: RecordBatch, position: int
    ) -> ModelRecord | str | tuple[dict[str, Sums], int]:
        """A version's record, the version that an operator deleted, or what was compared."""
        value = batch.values[position]
        if batch.topic == self._models:
            if value is None:
                return (batch.keys[position] or b"").decode(errors="replace")
            return ModelRecord.of(self._codecs["model"].read(value))
        record = self._codecs["comparison"].read(value)
        return records.unpacked(record["sums"]), record["event_time"]

    def _decided(
        self, rollouts: Rollouts, read: ModelRecord | str | tuple[dict[str, Sums], int]
    ) -> list[Decision]:
        if isinstance(read, tuple):
            return rollouts.compared(*read)
        return rollouts.deleted(read) if isinstance(read, str) else rollouts.models([read])

    def _roles(self, moved: Mapping[bytes | None, bytes | None]) -> Output:
        """Records of roles, numbered as the stage's own."""
        first, self._sent = self._sent + 1, self._sent + len(moved)
        numbers = range(first, self._sent + 1)
        headers: dict[int, Headers] = {
            position: [(NUMBER, str(number).encode())] for position, number in enumerate(numbers)
        }
        return Output(self._models, list(moved), list(moved.values()), headers)

    def _told(
        self, rollouts: Rollouts, made: Decision, moved: dict[bytes | None, bytes | None]
    ) -> Output:
        """A decision's record; ``moved`` gets the roles that follow."""
        DECISIONS.labels(made.action).inc()
        log.info("decision %s (%s): %s", made.id, made.action, made.reason)
        now = self._clock()
        policy = self._task.rollout
        record = records.decision(made, policy.strategy, policy.facts(), now)
        known = rollouts.roles.records
        for move in made.moves:  # in this order: there is a champion at every moment
            value = self._codecs["model"].write(records.model(known[move.version], move, made, now))
            _put(moved, move.version.encode(), value)
        return Output(self._decisions, [made.id.encode()], [self._codecs["decision"].write(record)])

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


def _put(moved: dict[bytes | None, bytes | None], key: bytes | None, value: bytes | None) -> None:
    """Let a version's record be its only one, and the last of all."""
    moved.pop(key, None)
    moved[key] = value


def _number(headers: Headers) -> int:
    """The number of one of the stage's own records; 0 where it is another's."""
    text = dict(headers).get(NUMBER, b"")
    return int(text) if text.isdigit() else 0
