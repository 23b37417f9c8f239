"""What triggers promise, whatever comes in whatever order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.task import AnyOf, Budget, Checks, Drifted, MetricBelow, NewLabels, Schedule, Trigger
from streams.triggers.decided import Refusal, Retrain
from streams.triggers.declare import ms
from streams.triggers.inputs import Answer, Asked, Inputs
from streams.triggers.policies import Policies
from tests.streams.tasks import DAY_MS
from tests.streams.triggers.world import DAY, at, champion, day, drift, task

HOUR = DAY / 24
NONE = Checks(labels=0, of_class=0)
TRIGGERS = (
    Trigger(
        name="worse",
        when=AnyOf(Drifted(), MetricBelow("accuracy", 0.7, windows=2)),
        cooldown=2 * DAY,
        budget=Budget(2, 9 * DAY),
        checks=NONE,
    ),
    Trigger(
        name="labels",
        when=NewLabels(500),
        cooldown=12 * HOUR,
        budget=Budget(4, 10 * DAY),
        checks=Checks(labels=100, of_class=5),
    ),
    Trigger(
        name="daily",
        when=Schedule("30 6 * * *"),
        cooldown=DAY,
        budget=Budget(3, 7 * DAY),
        checks=NONE,
    ),
)
BY_NAME = {trigger.name: trigger for trigger in TRIGGERS}
TASK = task(*TRIGGERS)

VERSIONS = ["v1", "v2", "v3"]
windows = st.builds(
    lambda number, outcomes, version, revision, accuracy, rejected: day(
        number,
        outcomes,
        version,
        revision=revision,
        rejected=rejected,
        figures={"accuracy": accuracy, "accuracy_high": accuracy},
    ),
    st.integers(0, 25),
    st.integers(0, 900),
    st.sampled_from(VERSIONS),
    st.integers(0, 3),
    st.sampled_from([0.5, 0.9]),
    st.sampled_from([0, 0, 500]),
)
drifts = st.builds(
    lambda id_, number, version, kind, hurts: drift(
        f"d{id_}", number, version=version, kind=kind, hurts=hurts
    ),
    st.integers(0, 40),
    st.integers(0, 25),
    st.sampled_from(VERSIONS),
    st.sampled_from(["concept", "data", "schema"]),
    st.sampled_from([True, True, False, None]),
)
asked = st.builds(lambda id_: Asked(f"manual-{id_}"), st.integers(0, 5))
# A step: hours that pass, what is read, and what the trainer says of what is asked for, if at all.
steps = st.tuples(
    st.floats(0, 40),
    st.one_of(
        st.lists(windows, max_size=4).map(lambda found: Inputs(metrics=found)),
        st.lists(drifts, max_size=3).map(lambda found: Inputs(drifts=found)),
        st.lists(asked, max_size=1).map(lambda found: Inputs(asked=found)),
    ),
    st.sampled_from(["champion", "rejected", "failed", None]),
)
histories = st.lists(steps, max_size=40)


def answer(event_id: str, said: str, number: int) -> Inputs:
    if said == "failed":
        return Inputs(asked=[Asked(event_id, "x", "failed")])
    return Inputs(answers=[Answer(event_id, VERSIONS[number % 3], said, {})])


def run(
    history: Sequence[tuple[float, Inputs, str | None]], restarts: bool = False
) -> tuple[list[Retrain | Refusal], list[tuple[str, Any]]]:
    """All that is decided, and in order what was asked for and answered."""
    policies, now = Policies(TASK), at(0)
    policies.update(now, champion("v1"))
    decided: list[Retrain | Refusal] = []
    told: list[tuple[str, Any]] = []
    waiting: list[str] = []

    def update(inputs: Inputs) -> None:
        found = policies.update(now, inputs)
        decided.extend(found)
        for each in found:
            if isinstance(each, Retrain):
                told.append(("asked", each))
                waiting.append(each.event_id)

    for number, (hours, inputs, said) in enumerate(history):
        now += round(hours * DAY_MS / 24)
        for each in inputs.asked:
            if ("manual", each.event_id) not in told:
                told.append(("manual", each.event_id))
                waiting.append(each.event_id)
        update(inputs)
        if restarts:
            policies = Policies.of(TASK, json.loads(json.dumps(policies.state())))
        if said is not None and waiting:
            event_id = waiting.pop(0)
            told.append(("answered", event_id))
            update(answer(event_id, said, number))
    return decided, told


@given(histories)
def test_cool_downs_and_budgets_hold(history: Any) -> None:
    decided, _ = run(history)
    events = [each for each in decided if isinstance(each, Retrain)]
    for i, event in enumerate(events):
        trigger = BY_NAME[event.policy]
        before = [earlier.at for earlier in events[:i]]
        assert all(event.at - earlier >= ms(trigger.cooldown) for earlier in before)
        period = [earlier for earlier in before if event.at - earlier < ms(trigger.budget.period)]
        assert len(period) < trigger.budget.events


@given(histories)
def test_an_episode_gives_one_event_and_waits_for_its_answer(history: Any) -> None:
    _, told = run(history)
    open_: list[str] = []
    episodes = []
    for what, about in told:
        if what == "asked":
            assert not open_, f"{about.event_id} while {open_} are not answered"
            open_.append(about.event_id)
            episodes.append(about.episode)
        elif what == "manual":
            open_.append(about)
        else:
            open_ = open_[open_.index(about) + 1 :] if about in open_ else open_
    assert len(set(episodes)) == len(episodes)


@given(histories)
def test_the_same_inputs_give_the_same_whether_or_not_it_restarts(history: Any) -> None:
    assert run(history) == run(history) == run(history, restarts=True)


@given(histories)
def test_ids_stand_for_one_thing_each_and_say_why(history: Any) -> None:
    decided, _ = run(history)
    ids = [each.event_id for each in decided]
    assert len(set(ids)) == len(ids)
    for each in decided:
        assert each.evidence
        assert each.reason.startswith(each.policy)


@given(st.lists(st.one_of(windows, drifts), max_size=15), st.randoms(use_true_random=False))
def test_what_is_promised_does_not_hang_on_the_order_of_topics(found: Any, random: Any) -> None:
    """All that is read by one moment, in any order and in any batches: at most one event."""
    for _ in range(2):
        policies = Policies(TASK)
        policies.update(at(0), champion("v1"))
        shuffled = list(found)
        random.shuffle(shuffled)
        published: list[Retrain] = []
        for each in shuffled:
            is_drift = hasattr(each, "hurts")
            inputs = Inputs(drifts=[each]) if is_drift else Inputs(metrics=[each])
            decided = policies.update(at(30), inputs)
            published += [one for one in decided if isinstance(one, Retrain)]
        assert len(published) <= 1
        assert all(event.episode == "v1-1" for event in published)
