"""Rollouts of every strategy, whatever of their topics is read first, with restarts in between."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.codecs import codecs
from streams.roles import BY_LEARNER, BY_ROLLOUT, BY_TRAINER, Roles
from streams.rollout.experiment import Experiment
from streams.rollout.policy import Guardrails
from streams.rollout.records import packed
from streams.rollout.rollouts import Rollouts
from streams.rollout.sums import About, Sums
from streams.rollouts import RolloutStage
from streams.task import Task
from streams.transport.batch import Output, RecordBatch
from tests.streams.orders import Fed, Play, Row, Step, histories, without_restarts
from tests.streams.rollout.world import record, rollout_task
from tests.streams.tasks import DAY_MS, START, by_topic, task_of

CODECS = codecs(task_of())
VERSIONS = ["v1", "v2", "v3"]
DAY = timedelta(days=1)

tasks = st.builds(
    lambda kind, strategy, guardrails, **policy: rollout_task(
        kind, strategy=strategy, guardrails=Guardrails(**guardrails), min_outcomes=50, **policy
    ),
    st.sampled_from(["binary", "multiclass", "regression"]),
    st.sampled_from(["blue-green", "canary", "ab", "bandit"]),
    st.sampled_from([{}, {"latency_ms": 5.0}, {"unanswered": None, "segment": None}]),
    tolerance=st.sampled_from([0.0, 0.05]),
    patience=st.sampled_from([DAY, 3 * DAY]),
    watch=st.sampled_from([None, DAY]),
    every=st.just(50),
)


def model(version: str, role: Any, by: str, **more: Any) -> Row:
    value = CODECS["model"].write(record(version, role, by, **more).record())
    return Row(value, version.encode())


models = st.builds(
    model,
    st.sampled_from(VERSIONS),
    st.sampled_from(
        ["champion", "shadow", "shadow", "candidate", "canary", "archived", "rejected"]
    ),
    st.sampled_from([BY_TRAINER, BY_TRAINER, BY_LEARNER, BY_ROLLOUT, "ada", ""]),
    experiment=st.sampled_from(["", "of-before"]),
    share=st.sampled_from([0.0, 0.1]),
)
sums = st.dictionaries(
    st.builds(
        About,
        st.just("of-before"),
        st.sampled_from(["pair", "arm"]),
        st.sampled_from(["loss", "unanswered"]),
        st.sampled_from(VERSIONS),
        st.sampled_from(VERSIONS),
    ),
    st.just([100.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    max_size=2,
)


def compared(of: Sums, day: int) -> Row:
    one = {"source": "t/0", "event_time": START + day * DAY_MS, "records": 1, "sums": packed(of)}
    return Row(CODECS["comparison"].write(one))


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of the experiment that runs, if one does: how much worse its challengers are."""

    worse: float
    n: int
    day: int


days = st.integers(0, 9)
outcomes = st.builds(
    Outcomes, st.sampled_from([-0.3, 0.0, 0.3]), st.sampled_from([1, 60, 400]), days
)
FIRST = Fed("models", (model("v1", "champion", BY_TRAINER),))
TOPICS = {"models": models, "comparisons": st.builds(compared, sums, days)}
lives = st.builds(
    lambda begin, rest: [*begin, *rest],
    st.sampled_from([(), (FIRST,)]),
    histories(TOPICS, [outcomes, outcomes], together=1),
)


class Life:
    """The stage with what it has committed; what it writes to ``models`` it reads again."""

    def __init__(self, declared: Task) -> None:
        self.task = declared
        self.committed: list[bytes] = []
        self.ids: list[str] = []
        self.play = Play(declared.name, CODECS["dead_letter"], self.take, self.begin)
        self.draw = np.random.default_rng(0)
        self.begin()

    def begin(self) -> None:
        self.stage = RolloutStage(
            self.task,
            CODECS,
            lambda: START,
            lambda: self.committed[-1] if self.committed else None,
        )
        self.stage.open()

    def rollouts(self) -> Rollouts:
        state = CODECS["rollout"].read(self.committed[-1])["state"] if self.committed else "{}"
        return Rollouts.of(self.task, json.loads(state))

    def take(self, batch: RecordBatch) -> Sequence[Output]:
        outputs = self.stage(batch).outputs
        found = by_topic(outputs)
        self.committed += [value for _, value, _ in found.get("rollouts", [])]
        made = [CODECS["decision"].read(value) for _, value, _ in found.get("decisions", [])]
        self.ids += [decision["decision_id"] for decision in made]
        assert len(set(self.ids)) == len(self.ids)
        running = self.rollouts().experiment
        if running is not None:
            assert running.challengers
            assert running.reference not in running.challengers
            assert abs(sum(running.shares.values()) - bool(running.shares)) < 1e-9
        return outputs

    def live(self, history: Sequence[Step]) -> list[bytes]:
        roles = Roles()
        for step in history:
            done = self.outcomes(step) if isinstance(step, Outcomes) else step
            if done is None:
                continue
            made = self.play.step(done)
            if isinstance(done, Fed) and done.topic == "models":
                for row in done.rows:
                    if row.good:
                        roles = roles.told(row.key, row.value, CODECS["model"])
            led = roles.champion is not None
            own = by_topic(made).get("models", [])
            for key, value, _ in own:
                roles = roles.told(key, value, CODECS["model"])
                assert roles.champion is not None or not led, "nobody answers"
            if own:
                self.play.step(Fed("models", tuple(Row(value, key) for key, value, _ in own)))
        return self.play.of("decisions") + self.play.of("models")

    def outcomes(self, step: Outcomes) -> Step:
        running = self.rollouts().experiment
        return running and Fed("comparisons", (compared(self.sums(running, step), step.day),))

    def sums(self, running: Experiment, step: Outcomes) -> Sums:
        n = float(step.n)
        found: Sums = {}
        values = self.draw.normal(step.worse, 0.1, step.n).clip(-1, 1)
        total, squares = float(values.sum()), float(values @ values)
        for version in running.challengers:
            if running.paired:
                about = About(running.id, "pair", "loss", running.reference, version)
                found[about] = [n, total, squares, 0.2 * n, 0.2 * n + total]
        for version, share in running.shares.items():
            if not running.paired and share > 0:
                level = 0.4 + (step.worse if version in running.challengers else 0.0)
                w, v = n / share, max(level, 0.0)
                about = About(running.id, "arm", "loss", version)
                found[about] = [n, w, w / share, w * v, w / share * v, w / share * v * v]
        return found


@given(tasks, lives)
def test_whatever_comes_first_somebody_answers_and_a_restart_changes_nothing(
    declared: Task, history: list[Step]
) -> None:
    whole, once = Life(declared), Life(declared)
    assert whole.live(history) == once.live(without_restarts(history))
    assert whole.rollouts().state() == once.rollouts().state()
