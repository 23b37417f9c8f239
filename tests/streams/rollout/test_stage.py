"""The stage: records in; decisions, roles and its state out; what was committed is where it goes
on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.codecs import codecs
from streams.comparisons import Comparisons
from streams.roles import ModelRecord
from streams.rollout.records import packed
from streams.rollouts import RolloutStage
from streams.triggers.changelog import last_readable
from tests.streams.rollout.world import World, record
from tests.streams.tasks import START, batch_of, by_topic

POLICY: dict[str, Any] = {"strategy": "canary", "tolerance": 0.01, "min_outcomes": 100}
TOPICS = {"models": "model", "decisions": "decision", "rollouts": "rollout"}


class Stage:
    """The stage with what it has committed, beside the same rollouts without it."""

    def __init__(self) -> None:
        self.world = World(**POLICY)
        self.task = self.world.task
        self.codecs = codecs(self.task)
        self.committed: list[bytes] = []
        self.offsets: dict[str, int] = {}
        self.begin()

    def begin(self) -> None:
        """As a worker that has just got the partition, of whatever folder."""
        self.stage = RolloutStage(
            self.task,
            self.codecs,
            lambda: START,
            lambda read: last_readable(self.committed, read),
        )
        self.stage.open()

    def batch(self, topic: str, values: Sequence[bytes]) -> Any:
        first = self.offsets.get(topic, 0)
        self.offsets[topic] = first + len(values)
        return batch_of(f"{self.task.name}.{topic}", values, first=first)

    def take(self, batch: Any, commit: bool = True) -> dict[str, list[dict[str, Any]]]:
        outputs = by_topic(self.stage(batch).outputs)
        if commit:
            self.committed += [value for _, value, _ in outputs.get("rollouts", [])]
        return {
            name: [self.codecs[TOPICS[name]].read(value) for _, value, _ in rows]
            for name, rows in outputs.items()
            if name in TOPICS
        }

    def models(self, *records: ModelRecord) -> Any:
        return self.batch("models", [self.codecs["model"].write(r.record()) for r in records])

    def compared(self, worse: float, n: int) -> Any:
        (sums,) = self.world.losses(worse, n).values()
        one = {"source": "t/0", "event_time": START, "records": n, "sums": packed(sums)}
        return self.batch("comparisons", [self.codecs["comparison"].write(one)])


def test_a_decision_and_the_roles_that_follow_leave_together_and_once() -> None:
    stage = Stage()
    versions = (record("v1"), record("v2", "shadow"))
    stage.world.models(*versions)
    started = stage.take(stage.models(*versions))
    assert [d["action"] for d in started["decisions"]] == ["started"]
    (own,) = started["models"]
    assert (own["version"], own["role"], own["changed_by"]) == ("v2", "shadow", "rollout")
    assert own["experiment"] == started["decisions"][0]["experiment"] != ""

    batch = stage.compared(0.3, 400)
    lost = stage.take(batch, commit=False)  # the worker dies before its commit
    stage.begin()
    found = stage.take(batch)
    assert found["models"] == lost["models"]
    assert found["decisions"] == lost["decisions"]
    (decision,), (model,) = found["decisions"], found["models"]
    assert (decision["action"], decision["from_role"], decision["to_role"]) == (
        "refused",
        "shadow",
        "rejected",
    )
    assert decision["low"] > decision["bound"] == 0.01
    assert (decision["outcomes"], decision["champion"]) == (400, "v1")
    assert (model["role"], model["decision"]) == ("rejected", decision["decision_id"])
    assert model["reason"] == decision["reason"]

    stage.begin()  # read once more, as where offsets are committed after the outputs
    assert stage.take(batch) == {}


def test_what_is_not_a_rollouts_is_set_aside() -> None:
    stage = Stage()
    outputs = by_topic(stage.stage(stage.batch("comparisons", [b"?"])).outputs)
    assert len(outputs["dead-letters"]) == 1


def test_batches_outside_experiments_add_nothing() -> None:
    stage = Stage()
    comparisons = Comparisons(stage.task, stage.codecs)
    assert [topic.rpartition(".")[2] for topic in comparisons.topics] == [
        "predictions",
        "outcomes",
    ]
    empty = batch_of(comparisons.topics[0], [])
    assert comparisons(empty).outputs == []
