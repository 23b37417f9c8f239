"""Triggers of every kind, whatever of their topics is read first, with restarts in between."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.codecs import codecs
from streams.task import (
    AllOf,
    AnyOf,
    Budget,
    Checks,
    Drifted,
    MetricAbove,
    MetricBelow,
    NewLabels,
    PerformanceDrop,
    Schedule,
    Task,
    Trigger,
)
from streams.transport.batch import Output, RecordBatch
from streams.triggers.agent import KEY, Triggers
from streams.triggers.changelog import last_readable
from streams.triggers.declare import DRIFTS, leaves, ms
from streams.triggers.policies import Policies
from tests.streams.orders import Fed, Play, Row, Step, histories, without_restarts
from tests.streams.tasks import START, by_topic
from tests.streams.triggers.test_agent import drift, key_of, metric, model
from tests.streams.triggers.world import DAY, at, task

CODECS = codecs(task())
VERSIONS = ["v1", "v1", "v1", "v2"]
NONE = Checks(labels=0, of_class=0, rejected=1.0, settle=timedelta(0))
NAMES = ["one", "two", "three"]
EVENTS = ["first-x", "manual-1", "http-2", "gone-v0-3"]

windowed: dict[str, st.SearchStrategy[Any]] = {
    "windows": st.sampled_from([1, 1, 2]),
    "bound": st.booleans(),
    "least": st.sampled_from([1, 100]),
}
places = st.sampled_from([("", ""), ("", ""), ("colour", "red")])
figures = st.sampled_from(["accuracy", "log_loss"])


def placed(kind: Any, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda place, **given: kind(segment=place[0], value=place[1], **given),
        places,
        **windowed,
        **arguments,
    )


conditions = st.recursive(
    st.one_of(
        st.builds(
            Schedule,
            st.sampled_from(["30 6 * * *", "0 0 1 * *", "*/10 * * * *"]),
            st.sampled_from(["UTC", "America/New_York"]),
        ),
        st.builds(NewLabels, st.sampled_from([1, 500, 1500])),
        placed(MetricBelow, metric=figures, threshold=st.sampled_from([0.1, 0.7])),
        placed(MetricAbove, metric=figures, threshold=st.sampled_from([0.1, 0.7])),
        placed(
            PerformanceDrop,
            metric=figures,
            by=st.sampled_from([0.01, 0.3]),
            estimated=st.booleans(),
        ),
        st.builds(
            Drifted,
            st.sampled_from([(), (), ("concept",), ("data", "schema"), DRIFTS]),
            hurts=st.booleans(),
            subject=st.sampled_from(["", "", "size"]),
            subjects=st.sampled_from([1, 1, 2]),
        ),
    ),
    lambda parts: st.builds(
        lambda kind, found: kind(*found),
        st.sampled_from([AnyOf, AllOf]),
        st.lists(parts, min_size=1, max_size=3),
    ),
    max_leaves=4,
)
days = st.sampled_from([0.25, 1.0, 5.0]).map(lambda n: n * DAY)
triggers = st.lists(
    st.builds(
        lambda when, cooldown, events, period, checked, train_on: (
            (when, cooldown, Budget(events, period), checked, train_on)
        ),
        conditions,
        st.just(timedelta(0)) | days,
        st.integers(1, 3),
        days,
        st.sampled_from([NONE, NONE, NONE, Checks(labels=100, of_class=5)]),
        st.none() | days,
    ),
    min_size=1,
    max_size=3,
).map(
    lambda found: tuple(
        Trigger(name=name, when=when, cooldown=c, budget=b, checks=k, train_on=t)
        for name, (when, c, b, k, t) in zip(NAMES, found, strict=False)
    )
)
tasks = triggers.map(lambda declared: task(*declared))

numbers = st.integers(0, 20)
BAD = {"accuracy": 0.05, "accuracy_high": 0.06, "log_loss": 0.9, "log_loss_low": 0.8}
FIGURES = [BAD, BAD, {"estimated_accuracy": 0.05, "estimated_accuracy_high": 0.06}, {}]
metrics = st.builds(
    lambda number, dated, place, figures, **more: metric(
        number,
        segment=place[0],
        value=place[1],
        **figures,
        **more,
        **({} if dated else {"watermark": None}),
    ),
    numbers,
    st.sampled_from([True, True, False]),
    places,
    st.sampled_from(FIGURES),
    version=st.sampled_from(VERSIONS),
    role=st.sampled_from(["champion", "champion", "champion", "shadow", "none"]),
    complete=st.sampled_from([True, True, False]),
    revision=st.integers(1, 3),
    outcomes=st.sampled_from([1000, 1000, 50, 0]),
    rejected=st.sampled_from([0, 0, 300]),
    estimate_trusted=st.sampled_from([None, True, False]),
).map(lambda record: Row(CODECS["metric"].write(record), key_of(record)))
drifts = st.builds(
    lambda id_, number, **more: drift(f"d{id_}", window_to=at(number), **more),
    st.integers(0, 5),
    numbers,
    kind=st.sampled_from(["concept", "concept", "data", *DRIFTS]),
    version=st.sampled_from(VERSIONS),
    hurts=st.sampled_from([True, True, False, None]),
    subject=st.sampled_from(["", "size"]),
).map(lambda record: Row(CODECS["drift"].write(record)))
models = st.builds(
    lambda version, event_id, role: Row(
        CODECS["model"].write(model(version, event_id, role)), version.encode()
    ),
    st.sampled_from(VERSIONS),
    st.sampled_from(EVENTS),
    st.sampled_from(["champion", "champion", "shadow", "rejected", "archived"]),
)


def asked(event_id: str, status: str, policy: str, event_time: int | None) -> Row:
    record = {
        "event_id": event_id,
        "requested_at": START,
        "trigger": "first",
        "reason": "",
        "requested_by": "",
        "status": status,
        "policy": policy,
        "event_time": event_time,
    }
    return Row(CODECS["retrain"].write(record), event_id.encode())


retrain = st.builds(
    asked,
    st.sampled_from(EVENTS),
    st.sampled_from(["asked", "asked", "failed", "refused"]),
    st.sampled_from(["", "one"]),
    st.none() | numbers.map(at),
)


@dataclass(frozen=True)
class Answered:
    """The trainer answers what waits the longest, if anything does."""

    status: str


FIRST = Fed("models", (Row(CODECS["model"].write(model("v1", "first-x")), b"v1"),))
TOPICS = {"metrics": metrics, "drifts": drifts, "models": models, "retrain": retrain}
answers = st.builds(Answered, st.sampled_from(["champion", "rejected", "failed"]))
# Where no version comes first, little can happen.
lives = st.builds(
    lambda begin, rest: [*begin, *rest],
    st.sampled_from([(), (FIRST,)]),
    histories(TOPICS, [answers, answers]),
)


class Life:
    """The stage with what it has committed, and what was asked for, by whom and when."""

    def __init__(self, declared: Task) -> None:
        self.task = declared
        self.committed: list[bytes] = []
        self.play = Play(declared.name, CODECS["dead_letter"], self.take, self.begin)
        self.known: set[str] = set()
        self.events: list[dict[str, Any]] = []
        self.began: int | None = None
        # What was asked for: when, and whether by a trigger; and the latter before any time.
        self.before: list[tuple[int, bool]] = []
        self.undated: list[bool] = []
        self.begin()

    def begin(self) -> None:
        self.stage = Triggers(
            self.task,
            CODECS,
            lambda: START,
            lambda: [7],
            lambda read: last_readable(self.committed, read),
        )
        self.stage.open()

    def policies(self) -> Policies:
        """What was committed last, as ``weir triggers`` reads it."""
        state = CODECS["trigger"].read(self.committed[-1])["state"] if self.committed else "{}"
        return Policies.of(self.task, json.loads(state))

    def take(self, batch: RecordBatch) -> Sequence[Output]:
        outputs = self.stage(batch).outputs
        found = by_topic(outputs)
        self.committed += [value for key, value, _ in found.get("triggers", []) if key == KEY]
        policies = self.policies()
        if self.began is None and policies.now is not None:
            self.began = policies.now
            self.before += [(self.began, ours) for ours in self.undated]
        assert (self.began is None) == (policies.now is None), "time is forgotten"
        for _, value, _ in found.get("retrain", []):
            self.told(CODECS["retrain"].read(value))
        for each in policies.standing():
            assert policies.now is not None or each["next"] is None
        return outputs

    def told(self, record: dict[str, Any]) -> None:
        """What is promised of each event and refusal."""
        assert record["event_id"] not in self.known
        self.known.add(record["event_id"])
        now = record["event_time"]
        assert now is not None
        if record["status"] == "refused":
            return
        assert self.stage.waiting == [record["event_id"]], "nothing was waited for"
        self.events.append(record)
        declared = next(t for t in self.task.triggers or () if t.name == record["policy"])
        assert all(now - then >= ms(declared.cooldown) for then, _ in self.before)
        recent = [then for then, ours in self.before if ours]
        recent = [then for then in recent if now - then < ms(declared.budget.period)]
        assert len(recent) < declared.budget.events
        self.before.append((now, True))

    def live(self, history: Sequence[Step]) -> list[bytes]:
        for step in history:
            done = self.answer(step.status) if isinstance(step, Answered) else step
            if isinstance(done, Fed) and done.topic == "retrain":
                for row in done.rows:
                    self.hear(row)
            if done is not None:
                self.play.step(done)
        return self.play.of("retrain")

    def hear(self, row: Row) -> None:
        """An event is in the topic; one without a time is of when it is read."""
        record = CODECS["retrain"].read(row.value) if row.good else {"status": ""}
        if record["status"] != "asked" or record["event_id"] in self.known:
            return
        self.known.add(record["event_id"])
        then = record["event_time"] or self.policies().now
        if then is None:
            self.undated.append(bool(record["policy"]))
        else:
            self.before.append((then, bool(record["policy"])))

    def answer(self, status: str) -> Step:
        if not self.stage.waiting:
            return None
        event_id = self.stage.waiting[0]
        if status == "failed":
            return Fed("retrain", (asked(event_id, "failed", "", None),))
        value = CODECS["model"].write(model("v2", event_id, status))
        return Fed("models", (Row(value, b"v2"),))


@given(tasks, lives)
def test_whatever_comes_first_the_promises_hold_and_a_restart_changes_nothing(
    declared: Task, history: list[Step]
) -> None:
    whole, once = Life(declared), Life(declared)
    assert whole.live(history) == once.live(without_restarts(history))
    assert whole.policies().state() == once.policies().state()


@given(tasks, st.lists(st.builds(Fed, st.just("retrain"), st.tuples(retrain)), max_size=4), metrics)
def test_no_moment_before_the_first_known_time_is_served(
    declared: Task, before: list[Step], first: Row
) -> None:
    life = Life(declared)
    life.live([*before, FIRST])
    assert life.events == []
    life.live([Fed("metrics", (first,))])
    for event in life.events:
        assert "schedule" not in event["evidence"]
    for trigger, each in zip(life.task.triggers or (), life.policies().standing(), strict=True):
        schedules = [one for one in leaves(trigger.when) if isinstance(one, Schedule)]
        if life.began is not None and schedules:
            assert each["next"] == min(one.next(life.began) for one in schedules)
