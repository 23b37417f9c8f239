"""The stage of triggers: metrics, drifts, versions and events in; retrain events out.

Its topics have one partition each, so one worker has them all. Its state is a record of
``<task>.triggers`` in the transaction that commits a batch's offsets (`streams.triggers.changelog`
says why), and nowhere else: a lost disk loses nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import Counter, Gauge

from schemas.codec import Codec
from schemas.topics import BY_NAME
from streams.dead_letters import DeadLetter, DeadLetters
from streams.task import Task
from streams.transport.batch import Output, RecordBatch, Result
from streams.triggers import records
from streams.triggers.changelog import Last, state_of
from streams.triggers.decided import Retrain
from streams.triggers.inputs import Inputs
from streams.triggers.policies import Decided, Policies

log = logging.getLogger(__name__)

STAGE = "triggers"
READS = ("metrics", "drifts", "models", "retrain")
KEY = b"0"

PUBLISHED = Counter("weir_retrain_events", "Retrain events that triggers published", ["policy"])
REFUSED = Counter(
    "weir_retrain_refusals", "Triggers that held and published nothing", ["policy", "why"]
)
WAITING = Gauge("weir_retrain_waiting", "Retrain events that are not answered yet")


class Triggers:
    """The stage.

    ends: for each partition of the outcomes the offset at which it ends now. last: the last
    committed state record.
    """

    def __init__(
        self,
        task: Task,
        codecs: dict[str, Codec],
        clock: Callable[[], int],
        ends: Callable[[], Sequence[int]],
        last: Last,
    ) -> None:
        self._task = task
        self._codecs = {
            BY_NAME[name].topic(task.name): codecs[BY_NAME[name].record] for name in READS
        }
        self._retrain, self._state = codecs["retrain"], codecs["trigger"]
        self._dead = DeadLetters(task.name, codecs["dead_letter"], STAGE)
        self._clock, self._ends, self._last = clock, ends, last
        self._to = BY_NAME["retrain"].topic(task.name)
        self._changelog = BY_NAME["triggers"].topic(task.name)
        self.close()

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that the agent reads."""
        return tuple(self._codecs)

    @property
    def waiting(self) -> list[str]:
        """Ids of the events that are not answered yet."""
        return self._policies.waiting if self._policies else []

    def close(self) -> None:
        """The partition goes."""
        self._policies: Policies | None = None
        self._offsets: dict[str, int] = {}
        self._written = ""

    def open(self) -> None:
        """Go on from what was committed, as the worker gets the partition."""
        self.close()
        nothing = Policies.of(self._task, {}), dict[str, Any]()
        self._policies, record = self._last(self._resumed) or nothing
        self._offsets = dict(record.get("offsets", {}))
        self._written = record.get("state", "")
        WAITING.set(len(self.waiting))

    def _resumed(self, value: bytes) -> tuple[Policies, dict[str, Any]]:
        """The state that a record holds, and the record."""
        record = self._state.read(value)
        policies = Policies.of(self._task, state_of(record))
        policies.state()  # raises where it is none
        return policies, record

    def __call__(self, batch: RecordBatch) -> Result:
        """Take one batch in, and decide."""
        if self._policies is None:
            self.open()
        policies = self._policies
        assert policies is not None
        # Read before, where offsets are committed after the outputs (at_least_once).
        known = int((batch.offsets < self._offsets.get(batch.topic, 0)).sum())
        inputs, letters = self._read(batch, known, policies)
        decided = policies.update(records.time_of(inputs), inputs)
        outputs = self._outputs(decided)
        self._offsets[batch.topic] = max(self._offsets.get(batch.topic, 0), batch.next_offset)
        state = json.dumps(policies.state(), separators=(",", ":"))
        if state != self._written:
            self._written = state
            outputs.append(self._state_of(policies, state))
        if letters:
            outputs.append(self._dead.output(batch, letters, self._clock()))
        WAITING.set(len(self.waiting))
        return Result(batch, outputs)

    def _read(
        self, batch: RecordBatch, first: int, policies: Policies
    ) -> tuple[Inputs, list[DeadLetter]]:
        """What a batch tells from a position on; only Weir writes here: what it did not is set
        aside."""
        topic, codec = batch.topic.rpartition(".")[2], self._codecs[batch.topic]
        found: list[records.One] = []
        letters: list[DeadLetter] = []
        for position in range(first, len(batch)):
            try:
                key, value = batch.keys[position], batch.values[position]
                one = records.read(topic, key, value, codec, policies)
            except ValueError as error:
                letters.append(DeadLetter(position, "undecodable", str(error)))
                continue
            if one is not None:
                found.append(one)
        return records.inputs(found), letters

    def _outputs(self, decided: Sequence[Decided]) -> list[Output]:
        if not decided:
            return []
        now = self._clock()
        found = []
        for each in decided:
            event = isinstance(each, Retrain)
            ends = self._ends() if event else ()
            found.append(records.record(each, now, ends))
            if isinstance(each, Retrain):
                PUBLISHED.labels(each.policy).inc()
                log.info("retrain event %s: %s", each.event_id, each.reason)
            else:
                REFUSED.labels(each.policy, each.why).inc()
                log.warning("no retrain event: %s", each.reason)
        keys = [each.event_id.encode() for each in decided]
        return [Output(self._to, keys, self._retrain.write_many(found))]

    def _state_of(self, policies: Policies, state: str) -> Output:
        record = {
            "written_at": self._clock(),
            "event_time": policies.now,
            "champion": policies.champion,
            "offsets": self._offsets,
            "state": state,
        }
        return Output(self._changelog, [KEY], [self._state.write(record)])
