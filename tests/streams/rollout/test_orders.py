"""Rollouts of every strategy, whatever of their topics is read first, with restarts in between."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle
from typing import Any

import numpy as np
from hypothesis import example, given
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
from streams.triggers.changelog import last_readable
from tests.streams.orders import RESTART, Fed, Play, Row, Step, histories, without_restarts
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
deleted = st.sampled_from(VERSIONS).map(lambda version: Row(None, version.encode()))
TOPICS = {
    "models": st.integers(0, 9).flatmap(lambda n: deleted if n == 0 else models),
    "comparisons": st.builds(compared, sums, days),
}
lives = st.builds(
    lambda begin, rest: [*begin, *rest],
    st.sampled_from([(), (FIRST,)]),
    histories(TOPICS, [outcomes, outcomes]),
)


class Life:
    """The stage with what it has committed; what it writes to ``models`` it reads again.

    topic: the records of ``models``; at: how many of them the stage has read; others: up to where
    there are such that others wrote; own: how many the stage wrote; roles: what they say.
    raced: whether others write before the stage has read all.
    """

    def __init__(self, declared: Task, raced: bool = False) -> None:
        self.task = declared
        self.committed: list[bytes] = []
        self.ids: list[str] = []
        self.topic: list[Row] = []
        self.at = self.others = self.own = 0
        self.roles = Roles()
        self.raced = raced
        self.play = Play(declared.name, CODECS["dead_letter"], self.take, self.begin)
        self.draw = np.random.default_rng(0)
        self.begin()

    def begin(self) -> None:
        self.stage = RolloutStage(
            self.task,
            CODECS,
            lambda: START,
            lambda read: last_readable(self.committed, read),
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

    def live(
        self, history: Sequence[Step], batches: Iterator[int] | None = None
    ) -> tuple[list[bytes], Roles]:
        """The decisions, and the roles as every other reader of the topic has them in the end.

        batches: how many records of ``models`` are read after each step; without them all that are
        there, so that what is decided comes before anything that others write.
        """
        for step in history:
            if isinstance(step, Fed) and step.topic == "models":
                self.write(step.rows)
                self.read(len(self.topic) - self.at if batches is None else next(batches))
            elif step is RESTART:
                self.play.step(step)
            else:
                self.read(self.others - self.at)  # what others wrote before it
                done = self.outcomes(step) if isinstance(step, Outcomes) else step
                if done is not None:
                    self.play.step(done)
                    self.catch()
            while batches is None and self.at < len(self.topic):
                self.read(len(self.topic) - self.at)
        while self.at < len(self.topic):
            self.read(1)
        return self.play.of("decisions"), self.roles

    def write(self, rows: Sequence[Row]) -> None:
        self.topic += rows
        self.others = len(self.topic)
        for row in rows:
            with contextlib.suppress(ValueError):
                self.roles = self.roles.told(row.key, row.value, CODECS["model"])

    def read(self, n: int) -> None:
        rows = tuple(self.topic[self.at : self.at + max(n, 0)])
        self.at += len(rows)
        if rows:
            self.play.step(Fed("models", rows))
            self.catch()

    def catch(self) -> None:
        """What the stage wrote comes behind what others have written by now."""
        own = by_topic(self.play.outputs).get("models", [])[self.own :]
        self.own += len(own)
        led = self.roles.champion is not None
        for key, value, headers in own:
            self.topic.append(Row(value, key, headers=headers))
            self.roles = self.roles.told(key, value, CODECS["model"])
            assert self.roles.champion is not None or not led or self.raced, "nobody answers"

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


batches = st.lists(st.integers(0, 3), min_size=1).map(cycle)


def one_by_one(history: Sequence[Step]) -> list[Step]:
    """In one life, each record of ``models`` read before the next one is written."""
    steps: list[Step] = []
    for step in without_restarts(history):
        if isinstance(step, Fed) and step.topic == "models":
            steps += [Fed("models", (row,)) for row in step.rows]
        else:
            steps.append(step)
    return steps


def champion(version: str, by: str = BY_TRAINER, **more: Any) -> Fed:
    return Fed("models", (model(version, "champion", by, **more),))


WATCHING = rollout_task("binary", strategy="blue-green", watch=DAY)


@given(tasks, lives)
def test_whatever_comes_first_somebody_answers_and_a_restart_changes_nothing(
    declared: Task, history: list[Step]
) -> None:
    whole, once = Life(declared), Life(declared)
    assert whole.live(history) == once.live(without_restarts(history))
    assert whole.rollouts().state() == once.rollouts().state()


@given(tasks, lives, batches)
@example(WATCHING, [champion("v1"), champion("v2"), champion("v1")], cycle([1, 1, 0]))
@example(WATCHING, [champion("v1"), champion("v2", "ada"), champion("v1", "ada")], cycle([0, 0, 3]))
def test_however_records_are_read_the_roles_are_those_of_the_topics_order(
    declared: Task, history: list[Step], batches: Iterator[int]
) -> None:
    raced, serial = Life(declared, raced=True), Life(declared)
    decisions, roles = raced.live(history, batches)
    assert (decisions, roles) == serial.live(one_by_one(history))
    state = raced.rollouts()
    assert state.state() == serial.rollouts().state()
    assert (state.roles.champion is None) == (roles.champion is None)
    if roles.champion is not None and state.roles.champion is not None:
        assert state.roles.champion.version == roles.champion.version
    newest = {row.key: at for at, row in enumerate(raced.topic) if row.good or row.value is None}
    compacted = Life(declared)
    compacted.write([raced.topic[at] for at in sorted(newest.values())])
    assert list(compacted.roles.records.items()) == list(roles.records.items())


LEADS = st.builds(
    lambda version, role, by: (version, role, by),
    st.sampled_from(VERSIONS),
    st.sampled_from(["champion", "champion", "champion", "archived", "rejected", None]),
    st.sampled_from([BY_TRAINER, "ada"]),
)


@given(tasks, st.lists(LEADS, min_size=2, max_size=12), batches)
@example(WATCHING, [(v, "champion", BY_TRAINER) for v in ("v1", "v2", "v1")], cycle([1, 1, 0]))
def test_the_champion_is_the_one_that_others_made_last(
    declared: Task, moves: list[tuple[str, Any, str]], batches: Iterator[int]
) -> None:
    life, said = Life(declared, raced=True), Roles()
    for version, role, by in moves:
        row = Row(None, version.encode())
        if role is not None:
            leads = said.champion
            own = leads is not None and leads.version == version
            before = (leads.replaces if own else leads.version) if leads else ""
            row = model(version, role, by, replaces=before)
        said = said.told(row.key, row.value, CODECS["model"])
        life.write([row])
        life.read(next(batches))
    _, roles = life.live([])
    assert said.champion is None or roles.champion is not None
    if said.champion is not None and roles.champion is not None:
        assert roles.champion.version == said.champion.version
