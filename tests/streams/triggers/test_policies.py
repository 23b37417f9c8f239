"""Triggers as plain functions of inputs and event time."""

from __future__ import annotations

import json
from typing import Any

import pytest

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
    Trigger,
)
from streams.triggers.decided import Refusal, Retrain
from streams.triggers.inputs import Answer, Asked, Inputs
from streams.triggers.policies import Policies
from tests.streams.triggers.world import (
    DAY,
    VERSION,
    at,
    champion,
    day,
    drift,
    events,
    ready,
    refusals,
    task,
)

HURTS = Trigger(name="hurts", when=Drifted(), cooldown=2 * DAY)


def test_a_drift_that_hurts_publishes_one_event_with_its_evidence() -> None:
    policies = ready(HURTS)
    (event,) = policies.update(at(1.5), Inputs(drifts=[drift("d7", words="errors 10 to 20 %")]))
    assert isinstance(event, Retrain)
    assert (event.policy, event.trigger, event.champion) == ("hurts", "drift", VERSION)
    assert event.event_id == f"hurts-{event.episode}"
    assert (event.at, event.data_from, event.data_to) == (at(1.5), None, at(1.5))
    assert event.ids == ("d7",)
    assert "concept drift, which hurts (errors 10 to 20 %)" in event.evidence["drift"]
    assert event.reason.startswith("hurts: ")
    # Until it is answered, and within the cool-down after that, all that fires belongs to it.
    assert policies.update(at(1.6), Inputs(drifts=[drift("d8", kind="data")])) == []
    assert policies.update(at(30), Inputs(drifts=[drift("d9", kind="data")])) == []
    answer = Answer(event.event_id, "v2", "champion")
    assert policies.update(at(30), Inputs(answers=[answer])) == []
    assert policies.champion == "v2"
    assert policies.update(at(31), Inputs()) == []  # d9 was of the version before


def test_after_a_rejected_version_a_drift_that_stays_asks_again_once_labels_have_come() -> None:
    policies = ready(HURTS)
    (event,) = policies.update(at(1.5), Inputs(drifts=[drift()]))
    rejected = Answer(event.event_id, "v2", "rejected")
    (cooling,) = policies.update(at(1.6), Inputs(answers=[rejected]))
    assert isinstance(cooling, Refusal)
    assert cooling.why == "cool-down"
    assert policies.update(at(3.4), Inputs()) == []  # it has been said
    (few,) = policies.update(at(3.5), Inputs())
    assert isinstance(few, Refusal)
    assert (few.why, few.policy) == ("labels", "hurts")
    assert policies.update(at(4), Inputs()) == []
    (again,) = policies.update(at(5), Inputs(metrics=[day(4)]))
    assert isinstance(again, Retrain)
    assert again.event_id != event.event_id


@pytest.mark.parametrize("hurts", [False, None])
def test_a_drift_that_is_not_known_to_hurt_asks_for_nothing(hurts: bool | None) -> None:
    policies = ready(HURTS)
    assert policies.update(at(2), Inputs(drifts=[drift(hurts=hurts)])) == []
    anyhow = ready(Trigger(name="any", when=Drifted(["concept"], hurts=False)))
    assert events(anyhow.update(at(2), Inputs(drifts=[drift(hurts=hurts)])))


def test_drifts_are_chosen_by_kind_subject_and_number() -> None:
    policies = ready(Trigger(name="two", when=Drifted(["data"], subjects=2)))
    one = [drift("a", kind="data", subject="wind"), drift("b", subject="dest")]
    assert policies.update(at(2), Inputs(drifts=one)) == []
    assert policies.update(at(2), Inputs(drifts=[drift("c", kind="data", subject="wind")])) == []
    assert policies.update(at(2), Inputs(drifts=[drift("d", kind="data", version="old")])) == []
    assert events(policies.update(at(2), Inputs(drifts=[drift("e", kind="data", subject="x")])))


def test_a_schedule_fires_at_its_moments_in_event_time() -> None:
    policies = ready(Trigger(name="weekly", when=Schedule("0 0 * * 1"), cooldown=0 * DAY))
    fired = []
    for number in range(2, 31):
        inputs = Inputs(metrics=[day(number - 1)])
        for event in events(policies.update(at(number), inputs)):
            fired.append((event.at - at(0)) // (at(1) - at(0)))
            assert event.trigger == "schedule"
            answer = Answer(event.event_id, f"v{number}", "champion")
            policies.update(at(number), Inputs(answers=[answer]))
    assert fired == [5, 12, 19, 26]  # START is a Wednesday's midnight


SCHEDULED = Trigger(name="daily", when=Schedule("0 12 * * *"), cooldown=0 * DAY)


def test_an_event_before_any_event_time_serves_no_schedule() -> None:
    """As on a fresh system: the first training is asked for before there are metrics."""
    policies = Policies(task(SCHEDULED))
    assert policies.update(None, Inputs(asked=[Asked("first-x")])) == []
    assert [each["next"] for each in policies.standing()] == [None]
    assert policies.update(None, champion()) == []
    assert policies.update(at(1), Inputs(metrics=[day(0)])) == []
    assert [each["next"] for each in policies.standing()] == [at(1.5)]
    assert policies.update(at(1.4), Inputs()) == []
    assert events(policies.update(at(1.5), Inputs()))


def test_a_cool_down_after_an_event_before_any_event_time_begins_with_it() -> None:
    policies = Policies(task(HURTS))
    policies.update(None, Inputs(asked=[Asked("manual-1")]))
    policies.update(None, champion(event_id="manual-1"))
    first = Inputs(metrics=[day(0)], drifts=[drift()])
    assert [each.why for each in refusals(policies.update(at(1), first))] == ["cool-down"]
    assert policies.update(at(2.9), Inputs(metrics=[day(1)])) == []
    assert events(policies.update(at(3), Inputs(metrics=[day(2)])))


def test_a_number_that_stood_for_no_time_is_restored_as_not_known() -> None:
    """Older versions wrote -2**62, and ended when a schedule made a date of it."""
    policies = Policies(task(SCHEDULED))
    policies.update(None, champion())
    old = policies.state()
    never = -(2**62)
    old["state"].update(now=never, served={"daily": never}, events=[never], seen=["first-x"])
    again = Policies.of(task(SCHEDULED), json.loads(json.dumps(old)))
    assert again.now is None
    assert again.update(at(1), Inputs(metrics=[day(0)])) == []
    assert events(again.update(at(1.5), Inputs()))


def test_moments_that_an_unanswered_event_covers_are_not_made_up_for() -> None:
    policies = ready(Trigger(name="daily", when=Schedule("0 12 * * *"), cooldown=0 * DAY))
    (event,) = policies.update(at(2), Inputs(metrics=[day(1)]))
    for number in range(3, 10):
        assert policies.update(at(number + 0.6), Inputs(metrics=[day(number)])) == []
    rejected = Answer(event.event_id, "v2", "rejected")
    assert policies.update(at(9.7), Inputs(answers=[rejected])) == []
    assert policies.update(at(10.4), Inputs()) == []
    assert events(policies.update(at(10.5), Inputs()))


def test_new_labels_are_counted_since_the_last_event_whoever_asked() -> None:
    policies = ready(Trigger(name="labels", when=NewLabels(1500)), labels=1000)
    asked = Asked("manual-1")
    policies.update(at(1.1), Inputs(asked=[asked], metrics=[day(1, 400)]))
    policies.update(at(1.2), Inputs(answers=[Answer("manual-1", "v2", "champion")]))
    assert policies.update(at(2.5), Inputs(metrics=[day(1, 1499, version="v2")])) == []
    more = day(1, 1900, version="v2", revision=1)
    (event,) = policies.update(at(2.6), Inputs(metrics=[more]))
    assert event.evidence["labels"].startswith("1,900 labels")


def test_a_window_counts_once_however_often_it_is_told() -> None:
    policies = ready(Trigger(name="labels", when=NewLabels(1500)), labels=1000)
    for revision in range(20):
        assert policies.update(at(1.5), Inputs(metrics=[day(0, 1000, revision=revision)])) == []
    late = [day(0, 1000, version="other"), day(0, 5, revision=1)]  # another version, an old news
    assert events(policies.update(at(1.5), Inputs(metrics=late)))


def bad(number: int, auc: float = 0.6, spread: float = 0.02, **more: Any) -> Any:
    figures = {"roc_auc": auc, "roc_auc_low": auc - spread, "roc_auc_high": auc + spread}
    return day(number, figures=figures, **more)


def test_a_metric_must_be_bad_in_windows_in_a_row() -> None:
    policies = ready(Trigger(name="auc", when=MetricBelow("roc_auc", 0.7, windows=3)))
    windows = [bad(1), bad(2), bad(3, 0.8), bad(4), bad(5), bad(6, outcomes=50)]
    for number, window in enumerate(windows, 2):
        assert policies.update(at(number), Inputs(metrics=[window])) == []
    (event,) = policies.update(at(9), Inputs(metrics=[bad(7)]))
    assert event.trigger == "metric"
    assert "roc_auc below 0.7 in 3 windows in a row: 0.6 [0.58, 0.62]" in event.reason
    assert [id_.split("|")[1] for id_ in event.ids] == [str(at(n)) for n in (7, 5, 4)]


def test_a_single_bad_window_between_good_ones_is_set_aside() -> None:
    policies = ready(Trigger(name="auc", when=MetricBelow("roc_auc", 0.7)))
    for number in range(1, 20):
        auc = 0.3 if number % 2 else 0.8
        assert policies.update(at(number + 1), Inputs(metrics=[bad(number, auc)])) == []


def test_the_whole_confidence_interval_must_be_bad_where_the_bound_is_looked_at() -> None:
    wide = [bad(1, 0.6, 0.2), bad(2, 0.6, 0.2)]
    bound = ready(Trigger(name="auc", when=MetricBelow("roc_auc", 0.7)))
    assert bound.update(at(3), Inputs(metrics=wide)) == []
    value = ready(Trigger(name="auc", when=MetricBelow("roc_auc", 0.7, bound=False)))
    assert events(value.update(at(3), Inputs(metrics=wide)))
    above = ready(Trigger(name="up", when=MetricAbove("roc_auc", 0.5, windows=1)))
    assert above.update(at(3), Inputs(metrics=wide)) == []
    assert events(above.update(at(4), Inputs(metrics=[bad(3)])))


def test_metrics_of_other_versions_roles_and_unfinished_windows_do_not_count() -> None:
    policies = ready(Trigger(name="auc", when=MetricBelow("roc_auc", 0.7, windows=1)))
    others = [bad(1, version="v0"), bad(1, role="shadow"), bad(1, complete=False)]
    assert policies.update(at(2), Inputs(metrics=others)) == []
    assert policies.update(at(2), Inputs(metrics=[bad(1, segment="fresh", value="true")])) == []
    # The record that names a champion may be read after its metrics.
    (event,) = policies.update(at(2), Inputs(answers=[Answer("x", "v0", "champion")]))
    assert event.champion == "v0"


def test_a_segment_can_be_watched_alone() -> None:
    when = MetricBelow("roc_auc", 0.7, windows=1, segment="fresh", value="true")
    policies = ready(Trigger(name="fresh", when=when))
    assert policies.update(at(2), Inputs(metrics=[bad(1)])) == []
    (event,) = policies.update(
        at(2), Inputs(metrics=[bad(1, segment="fresh", value="true", classes={})])
    )
    assert "where fresh is true" in event.reason


def test_a_drop_is_measured_from_the_champions_own_held_out_metric() -> None:
    estimated = {"estimated_roc_auc": 0.7, "estimated_roc_auc_high": 0.74}
    drop = PerformanceDrop("roc_auc", by=0.05, windows=1)
    policies = ready(Trigger(name="drop", when=drop))  # the champion had 0.8
    doubtful = day(1, figures=estimated, trusted=False)
    assert policies.update(at(2), Inputs(metrics=[doubtful])) == []
    unlabelled = day(2, outcomes=0, predictions=500, figures=estimated)
    (event,) = policies.update(at(3), Inputs(metrics=[unlabelled]))
    assert event.trigger == "estimate"
    assert "0.05 worse than the 0.8 of v1" in event.reason
    loss = PerformanceDrop("log_loss", by=0.05, windows=1, estimated=False)
    realised = ready(Trigger(name="loss", when=loss))
    worse = {"log_loss": 0.5, "log_loss_low": 0.46}
    assert events(realised.update(at(2), Inputs(metrics=[day(1, figures=worse)])))
    other = ready(Trigger(name="loss", when=PerformanceDrop("accuracy", by=0.05, windows=1)))
    assert other.update(at(2), Inputs(metrics=[day(1, figures=worse)])) == []


def test_conditions_combine() -> None:
    both = AllOf(Drifted(), NewLabels(1500))
    policies = ready(Trigger(name="both", when=both), labels=1000)
    assert policies.update(at(1.5), Inputs(drifts=[drift()])) == []
    (event,) = policies.update(at(2), Inputs(metrics=[day(1, 500)]))
    assert set(event.evidence) == {"drift", "labels"}
    either = ready(Trigger(name="either", when=AnyOf(Drifted(), NewLabels(1500))), labels=1000)
    (event,) = either.update(at(2), Inputs(metrics=[day(1, 500)]))
    assert set(event.evidence) == {"labels"}


def test_several_triggers_at_once_are_one_event_with_all_the_evidence() -> None:
    labels = Trigger(name="labels", when=NewLabels(100))
    policies = Policies(task(HURTS, labels))
    policies.update(at(0), champion())
    both = Inputs(metrics=[day(0)], drifts=[drift()])
    (event,) = policies.update(at(1), both)
    assert event.policy == "hurts"
    assert set(event.evidence) == {"drift", "labels"}


def test_the_first_trigger_that_may_publish_does() -> None:
    strict = Trigger(name="strict", when=Drifted(), checks=Checks(labels=10_000))
    policies = ready(strict, HURTS)
    (event,) = policies.update(at(2), Inputs(drifts=[drift()]))
    assert isinstance(event, Retrain)
    assert event.policy == "hurts"


def test_a_trigger_may_train_on_the_newest_time_alone() -> None:
    policies = ready(Trigger(name="newest", when=Drifted(), train_on=60 * DAY))
    (event,) = policies.update(at(2), Inputs(drifts=[drift()]))
    assert isinstance(event, Retrain)
    assert (event.data_from, event.data_to) == (at(-58), at(2))


@pytest.mark.parametrize(
    ("metrics", "drifts", "why", "said"),
    [
        ([day(0, 100)], [], "labels", "100 labels since the last event, and 200 are needed"),
        ([day(0, 500, classes={"true": 495, "false": 5})], [], "classes", "5 of false"),
        ([day(0, 500, classes={"true": 500})], [], "classes", "0 of false"),
        ([day(0, predictions=900, rejected=100)], [], "rejected", "100 of 1,000 requests"),
        ([day(0)], [drift("s", 1, kind="schema", subject="wind")], "schema", "drift of wind"),
        ([day(0)], [drift("s", 1, kind="volume", hurts=None)], "volume", "volume drift"),
    ],
)
def test_what_would_teach_wrong_things_is_refused_with_the_reason(
    metrics: Any, drifts: Any, why: str, said: str
) -> None:
    policies = Policies(task(HURTS))
    policies.update(at(0), champion())
    inputs = Inputs(metrics=metrics, drifts=[drift(), *drifts])
    decided = policies.update(at(1), inputs)
    (refusal,) = refusals(decided)
    assert events(decided) == []
    assert refusal.why == why
    assert said in refusal.reason
    assert refusal.ids[0] == "d1"
    assert policies.update(at(1.1), Inputs()) == []


def test_a_drift_of_the_schema_refuses_until_it_has_settled() -> None:
    policies = ready(HURTS)
    spoilt = Inputs(drifts=[drift(), drift("s", 1, kind="schema", hurts=None)])
    assert [r.why for r in refusals(policies.update(at(1.5), spoilt))] == ["schema"]
    assert events(policies.update(at(2.01), Inputs()))
    wanted = ready(Trigger(name="new", when=Drifted(["schema"], hurts=False)))
    assert events(wanted.update(at(1.5), spoilt))


def test_a_regression_task_has_no_classes_to_want() -> None:
    policies = Policies(task(HURTS, kind="regression"))
    policies.update(at(0), champion())
    inputs = Inputs(metrics=[day(0, classes={})], drifts=[drift()])
    assert events(policies.update(at(1), inputs))


def test_a_budget_counts_the_events_of_all_triggers_but_not_of_people() -> None:
    budget = Budget(2, 10 * DAY)
    one = Trigger(name="one", when=Schedule("0 12 * * *"), cooldown=0 * DAY, budget=budget)
    policies = ready(one)
    policies.update(at(1.1), Inputs(asked=[Asked("manual-1")]))
    policies.update(at(1.2), Inputs(answers=[Answer("manual-1", "m", "rejected")]))
    fired, refused = [], []
    for number in range(2, 20):
        decided = policies.update(at(number), Inputs(metrics=[day(number - 1)]))
        refused += refusals(decided)
        for event in events(decided):
            fired.append(number)
            answer = Answer(event.event_id, f"v{number}", "champion")
            policies.update(at(number), Inputs(answers=[answer]))
    assert fired == [2, 3, 12, 13]
    # A moment that is refused for its budget stays due, and is told of once.
    assert [r.why for r in refused] == ["budget", "budget"]
    assert "2 events of triggers since 2023-11-17 00:00 UTC" in refused[0].reason


def test_an_event_that_failed_is_answered() -> None:
    policies = ready(HURTS)
    (event,) = policies.update(at(2), Inputs(drifts=[drift()]))
    policies.update(at(2), Inputs(asked=[Asked(event.event_id, "hurts", "failed")]))
    assert events(policies.update(at(5), Inputs(metrics=[day(4)])))


def test_its_own_events_and_refusals_in_the_topic_change_nothing() -> None:
    policies = ready(HURTS)
    (event,) = policies.update(at(2), Inputs(drifts=[drift()]))
    before = policies.state()
    own = [Asked(event.event_id, "hurts", "asked", event.at), Asked("r", "hurts", "refused")]
    assert policies.update(at(2), Inputs(asked=own)) == []
    assert policies.state() == before


def test_an_answer_may_be_read_before_the_event() -> None:
    policies = ready(HURTS)
    policies.update(at(1), Inputs(answers=[Answer("manual-1", "v2", "rejected")]))
    policies.update(at(1), Inputs(asked=[Asked("manual-1", at=at(1))]))
    assert events(policies.update(at(4), Inputs(metrics=[day(3)], drifts=[drift()])))


def test_one_answer_answers_all_events_before_it() -> None:
    policies = ready(HURTS)
    policies.update(at(1), Inputs(asked=[Asked("a"), Asked("b"), Asked("c")]))
    policies.update(at(1), Inputs(answers=[Answer("b", "v2", "rejected")]))
    inputs = Inputs(metrics=[day(3)], drifts=[drift()])
    assert policies.update(at(4), inputs) == []
    assert events(policies.update(at(4), Inputs(answers=[Answer("c", "v3", "rejected")])))


def test_state_goes_through_json_and_back() -> None:
    triggers = (
        HURTS,
        Trigger(name="auc", when=MetricBelow("roc_auc", 0.5)),
        Trigger(name="weekly", when=Schedule("0 0 * * 1")),
    )
    policies = ready(*triggers)
    policies.update(at(2), Inputs(metrics=[bad(1)], drifts=[drift()]))
    data = json.loads(json.dumps(policies.state()))
    again = Policies.of(task(*triggers), data)
    assert again.state() == policies.state()


def test_without_triggers_nothing_is_asked_for_and_without_a_word_the_default_is() -> None:
    none = ready()
    assert none.update(at(5), Inputs(drifts=[drift()])) == []
    default = ready(triggers=None)
    (event,) = default.update(at(5), Inputs(drifts=[drift()]))
    assert isinstance(event, Retrain)
    assert event.policy == "hurts"
