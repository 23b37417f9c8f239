"""The join: each request counts once, whatever comes first, twice, late or never."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schemas.topics import INPUT_MAX_BYTES
from streams.codecs import codecs
from streams.feedback import REROUTED, Feedback
from streams.horizon import IDLE_MS
from streams.join import MOST_TRUTHS
from streams.partitioner import partitions_of
from streams.transport.batch import joined as joined_batches
from streams.weak_labels import WeakLabels
from tests.streams.joining import NOW, Joining, Topic, held, net, prediction, signal, truth
from tests.streams.orders import Row, Step, histories, lives
from tests.streams.tasks import DAY_MS, HOUR_MS, START, by_topic, task_of

H = 2 * DAY_MS  # the tasks' label horizon


@pytest.fixture
def joining(tmp_path: Path) -> Iterator[Joining]:
    joining = Joining(tmp_path)
    yield joining
    joining.close()


def test_a_truth_meets_its_prediction(joining: Joining) -> None:
    joining.all(
        joining.predictions([prediction("a", START, entity="e", gate_score=0.25)]),
        joining.truths([truth("a", START + 5, False)]),
    )
    (outcome,) = joining.outcomes()
    assert outcome == {
        "request_id": "a",
        "event_time": START,
        "predicted_at": START,
        "known_at": START + 5,
        "joined_at": NOW,
        "revision": 0,
        "truth": False,
        "previous_truth": None,
        "source": "system",
        "previous_source": None,
        "label": "true",
        "weight": 1.0,
        "previous_weight": None,
        "position": None,
        "propensity": None,
        "shown_role": None,
        "selection_probability": None,
        "status": "answered",
        "answer": True,
        "probability": 0.75,
        "probabilities": [],
        "gate_decision": "admit",
        "gate_score": 0.25,
        "explored": False,
        "model_propensity": None,
        "version": "v1",
        "role": "champion",
        "dataset_id": "d1",
        "experiment": "",
        "arm_propensity": None,
        "shadow_versions": "",
        "shadow_values": [],
        "entity": "e",
        "features": {"size": 1.0, "age": 3, "fresh": True, "colour": "red", "shop": "x"},
    }
    ((key, _, _),) = by_topic(joining.outputs)["outcomes"]
    assert key == b"a"
    assert joining.dead() == []


def test_a_truth_that_arrives_first_still_joins(joining: Joining) -> None:
    joining.all(joining.truths([truth("a", START)]))
    assert joining.outputs == []
    joining.all(joining.predictions([prediction("a", START)]))
    assert net(joining.outcomes()) == {"a": True}


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_other_kinds_of_targets_join_as_well(kind: str, tmp_path: Path) -> None:
    first, second, answer = ("a", "b", "c") if kind == "multiclass" else (1.5, -2.0, 0.5)
    joining = Joining(tmp_path, task_of(kind))
    joining.all(
        joining.predictions([prediction("a", START, answer=answer)]),
        joining.truths([truth("a", START, first), truth("a", START + 1, second)]),
    )
    assert [o["truth"] for o in joining.outcomes()] == [first, second]
    assert net(joining.outcomes()) == {"a": second}
    joining.close()


@pytest.mark.parametrize("cut", [[10], [1] * 10, [2, 3, 1, 4]])
def test_a_correction_takes_back_what_held_before(joining: Joining, cut: list[int]) -> None:
    joining.all(joining.predictions([prediction("a", START)]))
    said = [(5, True), (5, True), (6, True), (7, False), (7, True), (2, True), (9, True)]
    joining.run(joining.truths([truth("a", START + t, v) for t, v in said]).cut(cut))
    found = [
        (o["revision"], o["known_at"] - START, o["truth"], o["previous_truth"])
        for o in joining.outcomes()
    ]
    # Repeated at 5 and 6; at 7 a correction; of two at the same time the greater value holds,
    # whichever comes first; one that is older is stale; at 9 it is said again.
    assert found == [(0, 5, True, None), (1, 7, False, True), (2, 7, True, False)]
    assert joining.dead() == []


def test_a_truth_that_was_said_again_later_is_not_undone_by_one_in_between(
    joining: Joining,
) -> None:
    joining.all(joining.predictions([prediction("a", START)]))
    said = [(1, True), (5, True), (3, False)]
    joining.all(joining.truths([truth("a", START + t, v) for t, v in said]))
    assert net(joining.outcomes()) == {"a": True}


def test_corrections_that_arrive_first_count_once(joining: Joining) -> None:
    joining.all(joining.truths([truth("a", START + 1, True), truth("a", START + 2, False)]))
    joining.all(joining.predictions([prediction("a", START)]))
    (outcome,) = joining.outcomes()
    assert (outcome["revision"], outcome["truth"], outcome["previous_truth"]) == (1, False, None)


def test_the_first_of_two_predictions_counts(joining: Joining) -> None:
    twice = [prediction("a", START, version="v1"), prediction("a", START, version="v2")]
    joining.all(joining.predictions(twice), joining.truths([truth("a", START)]))
    joining.all(joining.predictions([prediction("a", START, version="v3")]))
    (outcome,) = joining.outcomes()
    assert outcome["version"] == "v1"


def test_a_rejected_requests_truth_is_expected_and_makes_no_outcome(joining: Joining) -> None:
    rejected = prediction(
        "a", START, status="rejected", answer=None, features=None, gate_decision="none"
    )
    joining.all(
        joining.truths([truth("a", START)]),
        joining.predictions([prediction("b", START), rejected]),
        joining.truths([truth("a", START + 1, False)]),
    )
    assert joining.outputs == []
    move_on(joining, START + 10 * DAY_MS)
    assert joining.dead() == []
    assert joining.waiting() == {b"pon"}


@pytest.mark.parametrize("cut", [[1, 1], [2]])
def test_a_request_that_was_rejected_and_sent_again_counts(
    joining: Joining, cut: list[int]
) -> None:
    joining.all(joining.predictions([prediction("x", START)]), joining.truths([truth("a", START)]))
    rejected = prediction("a", START, status="rejected", answer=None, features=None)
    joining.run(joining.predictions([rejected, prediction("a", START)]).cut(cut))
    joining.all(joining.truths([truth("a", START + 1, False)]))
    assert net(joining.outcomes()) == {"a": False}
    move_on(joining, START + 10 * DAY_MS)
    assert joining.waiting() == {b"pon"}
    assert joining.dead() == []


def test_a_rejected_requests_own_time_does_not_keep_it(joining: Joining) -> None:
    """A request whose time cannot be read has its record's, which may be years off the others."""
    rejected = {"status": "rejected", "answer": None, "features": None}
    joining.all(
        joining.predictions(
            [
                prediction("before", START, **rejected),  # nothing is known of event time yet
                prediction("a", START),
                prediction("years-ahead", NOW, **rejected),
            ]
        )
    )
    assert joining.waiting() == {b"pa", b"ryears-ahead"}
    move_on(joining, START + 10 * DAY_MS)
    assert joining.waiting() == {b"pon"}


def test_a_prediction_without_features_makes_no_outcome(joining: Joining) -> None:
    """Weir writes none such; somebody else might, and must not stop the partition."""
    joining.all(
        joining.predictions([prediction("b", START), prediction("a", START, features=None)]),
        joining.truths([truth("a", START)]),
    )
    assert joining.outputs == []


def test_a_deferred_inputs_truth_makes_an_outcome(joining: Joining) -> None:
    deferred = prediction("a", START, status="deferred", answer=False, probability=None)
    joining.all(joining.predictions([deferred]), joining.truths([truth("a", START)]))
    (outcome,) = joining.outcomes()
    assert (outcome["status"], outcome["probability"]) == ("deferred", None)


def move_on(joining: Joining, event_time: int) -> None:
    """Event time moves on in both topics."""
    on = prediction("on", event_time)
    joining.all(joining.predictions([on]), joining.truths([truth("?", event_time)]))
    joining.all(joining.truths([truth("??", event_time)]))
    store = joining.stores.get("feedback", 0)
    for key in (b"p?", b"p??"):
        store.delete(key)


@pytest.mark.parametrize("order", ["prediction first", "truth first"])
def test_a_truth_is_in_time_up_to_the_horizon(joining: Joining, order: str) -> None:
    predictions = joining.predictions([prediction("a", START), prediction("b", START)])
    truths = joining.truths([truth("a", START + H), truth("b", START + H + 1)])
    joining.all(*((predictions, truths) if order == "prediction first" else (truths, predictions)))
    assert net(joining.outcomes()) == {"a": True}
    (letter,) = joining.dead()
    assert (letter["reason"], letter["request_id"]) == ("late-truth", "b")
    assert letter["message"] == (
        "known more than the label horizon (2 days, 0:00:00) after its request"
    )
    assert (letter["topic"], letter["partition"], letter["offset"]) == (truths.name, 0, 1)
    assert letter["record_time"] == START
    assert letter["value"] == truths.values[1]
    assert letter["stage"] == "feedback"


@pytest.mark.parametrize("order", ["prediction first", "truth first"])
def test_a_late_correction_does_not_take_the_truth_in_time_with_it(
    joining: Joining, order: str
) -> None:
    predictions = joining.predictions([prediction("a", START)])
    truths = joining.truths(
        [truth("a", START + 1, True), truth("a", START + 2, False), truth("a", START + H + 1)]
    )
    joining.all(*((predictions, truths) if order == "prediction first" else (truths, predictions)))
    assert net(joining.outcomes()) == {"a": False}
    assert [(x["reason"], x["offset"]) for x in joining.dead()] == [("late-truth", 2)]


def test_a_truth_whose_prediction_never_comes_is_told_of_at_the_horizon(joining: Joining) -> None:
    truths = joining.truths([truth("nobody", START, True), truth("nobody", START + 1, False)])
    joining.all(truths, joining.predictions([prediction("a", START + H)]))
    assert joining.dead() == []
    joining.all(joining.predictions([prediction("b", START + H + 2 * HOUR_MS)]))
    assert [(x["reason"], x["offset"], x["value"]) for x in joining.dead()] == [
        ("unknown-request", 0, truths.values[0]),
        ("unknown-request", 1, truths.values[1]),
    ]
    assert b"tnobody" not in joining.waiting()


def test_a_truth_that_is_said_again_waits_longer(joining: Joining) -> None:
    joining.all(
        joining.predictions([prediction("x", START)]),
        joining.truths([truth("a", START), truth("a", START + H)]),
        joining.predictions([prediction("y", START + H + 2 * HOUR_MS)]),
    )
    assert joining.dead() == []
    joining.all(joining.predictions([prediction("a", START + H)]))
    assert net(joining.outcomes()) == {"a": True}


def test_predictions_that_are_read_far_ahead_wait_for_their_truths(joining: Joining) -> None:
    """As after a stop: a batch of predictions spans weeks, their truths are in the next batch."""
    days = range(0, 60, 3)
    joining.all(joining.predictions([prediction(f"r{d}", START + d * DAY_MS) for d in days]))
    joining.all(joining.truths([truth(f"r{d}", START + d * DAY_MS + H) for d in days]))
    assert set(net(joining.outcomes())) == {f"r{d}" for d in days}
    assert joining.dead() == []


def test_truths_that_are_read_far_ahead_wait_for_their_predictions(joining: Joining) -> None:
    days = range(0, 60, 3)
    joining.all(joining.truths([truth(f"r{d}", START + d * DAY_MS + H) for d in days]))
    joining.all(joining.predictions([prediction(f"r{d}", START + d * DAY_MS) for d in days]))
    assert set(net(joining.outcomes())) == {f"r{d}" for d in days}
    assert joining.dead() == []


def test_what_is_past_the_horizon_leaves_the_store(joining: Joining) -> None:
    ids = [f"r{i}" for i in range(20)]
    joining.all(
        joining.predictions([prediction(id_, START + i) for i, id_ in enumerate(ids)]),
        joining.truths([truth(id_, START + H) for id_ in ids[::2]]),
        joining.truths([truth(f"unknown-{i}", START) for i in range(9)]),
    )
    assert len(joining.waiting()) == 20 + 10 + 9
    move_on(joining, START + 10 * DAY_MS)
    assert joining.waiting() == {b"pon"}
    # Of the index, nothing that is past is left either.
    assert len(joining.state()) <= 5


def test_labels_that_never_come_keep_nothing(joining: Joining) -> None:
    """Where no truth arrives at all, predictions leave by their own event time."""
    joining.all(joining.predictions([prediction("a", START)]))
    joining.all(joining.predictions([prediction("b", START + 10 * DAY_MS)]))
    assert joining.waiting() == {b"pa", b"pb"}  # truths may be behind: not yet
    joining.now += IDLE_MS
    joining.all(joining.predictions([prediction("c", START + 10 * DAY_MS)]))
    assert joining.waiting() == {b"pb", b"pc"}


def test_truths_without_any_prediction_keep_nothing(joining: Joining) -> None:
    joining.all(joining.truths([truth("a", START)]))
    joining.all(joining.truths([truth("b", START + 10 * DAY_MS)]))
    assert joining.waiting() == {b"ta", b"tb"}
    joining.now += IDLE_MS
    joining.all(joining.truths([truth("c", START + 10 * DAY_MS)]))
    assert joining.waiting() == {b"tb", b"tc"}
    assert [(x["reason"], x["request_id"]) for x in joining.dead()] == [("unknown-request", "a")]


def test_one_record_from_the_future_does_not_stop_the_join(joining: Joining) -> None:
    """A clock that is off moves event time; the others still join and still leave, later."""
    future = START + 200 * DAY_MS
    joining.all(
        joining.predictions([prediction("future", future)]),
        joining.truths([truth("future", future)]),
    )
    for day in range(5):
        at = START + day * DAY_MS
        joining.all(joining.predictions([prediction(f"p{day}", at)]))
        joining.all(joining.truths([truth(f"p{day}", at + 5), truth(f"t{day}", at)]))
        joining.all(joining.predictions([prediction(f"t{day}", at)]))
    assert len(net(joining.outcomes())) == 11
    move_on(joining, future + 10 * DAY_MS)
    assert joining.waiting() == {b"pon"}


def test_a_truth_beyond_all_requests_does_not_move_event_time(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    bounds = (None, datetime.fromtimestamp((START + DAY_MS) / 1000, UTC))
    joining = Joining(tmp_path, task_of(event_times=bounds))
    joining.all(
        joining.predictions([prediction("a", START)]),
        joining.truths([truth("far", START + 100 * DAY_MS)]),
    )
    assert joining.feedback._pending[0].horizon.truths is None
    joining.all(joining.truths([truth("a", START + 5)]))
    assert joining.feedback._pending[0].horizon.truths == START + 5
    joining.close()


BAD_TRUTHS: list[tuple[Any, str, str]] = [
    (truth("", START), "invalid-id", "request_id has 0 bytes; it must have 1 to 128"),
    (truth("x" * 129, START), "invalid-id", "request_id has 129 bytes"),
    (truth("a", -1), "invalid", "known_at -1 is not between 1970 and a day from now"),
    (truth("a", NOW + DAY_MS + 1), "invalid", "known_at "),
    (truth("a", 2**63 - 1), "invalid", "known_at "),
    (b"\x07", "undecodable", "the value starts with 07"),
    (None, "empty", "has no value"),
]


@pytest.mark.parametrize(("bad", "reason", "said"), BAD_TRUTHS, ids=lambda x: str(x)[:30])
def test_a_truth_that_makes_no_sense_is_set_aside(
    joining: Joining, bad: Any, reason: str, said: str
) -> None:
    truths = joining.truths([truth("a", START), bad, truth("b", START)])
    joining.all(joining.predictions([prediction(x, START) for x in "ab"]), truths)
    assert set(net(joining.outcomes())) == {"a", "b"}
    (letter,) = joining.dead()
    assert (letter["reason"], letter["offset"], letter["value"]) == (reason, 1, truths.values[1])
    assert letter["key"] == b"key"
    assert letter["message"].startswith(said) or said in letter["message"]


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("multiclass", "d", "truth 'd' is not a value of the multiclass target"),
        ("multiclass", "x" * 10_000, "truth 'xxx"),
        ("regression", float("nan"), "truth nan must be finite"),
        ("regression", float("inf"), "truth inf must be finite"),
    ],
)
def test_a_truth_that_is_no_value_of_the_target_is_set_aside(
    tmp_path: Path, kind: str, value: Any, said: str
) -> None:
    joining = Joining(tmp_path, task_of(kind))
    joining.all(joining.truths([truth("a", START, value)]))
    (letter,) = joining.dead()
    assert (letter["reason"], letter["request_id"]) == ("invalid", "a")
    assert letter["message"].startswith(said)
    assert joining.waiting() == set()
    joining.close()


@pytest.mark.parametrize("first", ["prediction", "truths"])
def test_no_more_truths_than_a_bound_are_taken_of_a_request(joining: Joining, first: str) -> None:
    truths = joining.truths([truth("a", START + i, i % 2 == 0) for i in range(MOST_TRUTHS + 2)])
    predictions = joining.predictions([prediction("a", START)])
    joining.all(*((predictions, truths) if first == "prediction" else (truths, predictions)))
    assert net(joining.outcomes()) == {"a": False}
    assert joining.outcomes()[-1]["revision"] == MOST_TRUTHS - 1
    letters = [(letter["reason"], letter["offset"]) for letter in joining.dead()]
    assert letters == [("invalid", MOST_TRUTHS), ("invalid", MOST_TRUTHS + 1)]
    assert "1000 truths already" in joining.dead()[0]["message"]


def test_a_truth_of_an_undeclared_source_is_set_aside(joining: Joining) -> None:
    joining.all(
        joining.predictions([prediction("a", START)]),
        joining.truths([truth("a", START, True, "hearsay"), truth("a", START, True)]),
    )
    (letter,) = joining.dead()
    assert (letter["reason"], letter["offset"]) == ("unknown-source", 0)
    assert letter["message"] == (
        "source 'hearsay' is not declared; the task's truth_sources: system, labeller, user"
    )
    assert held(joining.outcomes(), "true") == {"a": (True, "system", 1.0)}


def test_a_less_trusted_source_never_replaces_a_more_trusted_one(joining: Joining) -> None:
    joining.all(joining.predictions([prediction("a", START)]))
    said = [(9, True, "user"), (7, False, "labeller"), (8, True, "labeller"), (1, False, "system")]
    truths = [truth("a", START + at, value, source) for at, value, source in said]
    joining.all(joining.truths([*truths, truth("a", START + 99, True, "labeller")]))
    told = [
        (o["revision"], o["truth"], o["source"], o["previous_truth"], o["previous_source"])
        for o in joining.outcomes()
    ]
    assert told == [
        (0, True, "user", None, None),
        (1, False, "labeller", True, "user"),
        (2, True, "labeller", False, "labeller"),
        (3, False, "system", True, "labeller"),
    ]


def test_signals_are_checked_and_change_nothing(joining: Joining) -> None:
    def signal(id_: str, kind: str) -> dict[str, Any]:
        return {"request_id": id_, "event_time": START, "kind": kind}

    topic = joining.signals(
        [signal("a", "liked"), signal("a", "hated"), signal("", "liked"), b"?", None]
    )
    joining.all(topic)
    assert [(x["offset"], x["reason"]) for x in joining.dead()] == [
        (1, "unknown-signal"),
        (2, "invalid-id"),
        (3, "undecodable"),
        (4, "empty"),
    ]
    assert joining.dead()[0]["message"] == (
        "kind 'hated' is not declared; the task's signals are: liked"
    )
    assert joining.waiting() == set()


# Truths in a partition that is not their request's.


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Joining]:
    joining = Joining(tmp_path, task_of(partitions=4))
    yield joining
    joining.close()


def test_misplaced_truths_are_sent_to_their_partition_once(four: Joining) -> None:
    ids = [f"r{i}" for i in range(30)]
    right = partitions_of([id_.encode() for id_ in ids], 4).tolist()
    truths = four.truths([truth(id_, START) for id_ in ids], partition=2)
    headers = {i: [("traceparent", b"t%d" % i)] for i in range(30)}
    outputs = four.run([truths.batch(0, 30, headers)])  # type: ignore[arg-type]
    moved = by_topic(outputs)["truth"]
    away = [i for i, partition in enumerate(right) if partition != 2]
    assert [(key, value) for key, value, _ in moved] == [
        (ids[i].encode(), truths.values[i]) for i in away
    ]
    assert [found for _, _, found in moved] == [
        [("traceparent", b"t%d" % i), (REROUTED, b"2")] for i in away
    ]
    assert four.dead() == []
    # Those at home wait; those that were moved do not, here.
    home = {b"t" + ids[i].encode() for i in range(30) if right[i] == 2}
    assert four.waiting(2) == home

    # Moved ones are not moved again, wherever they land.
    again = Topic(truths.name, four.codecs["truth"], [value for _, value, _ in moved], 2)
    marked = {i: [(REROUTED, b"2")] for i in range(len(moved))}
    assert four.run([again.batch(0, len(moved), marked)]) == []  # type: ignore[arg-type]
    assert len(four.waiting(2)) == 30


def test_a_misplaced_truth_joins_where_its_request_is(four: Joining) -> None:
    (at,) = partitions_of([b"a"], 4).tolist()
    elsewhere = (at + 1) % 4
    four.all(four.predictions([prediction("a", START)], at))
    moved = four.all(four.truths([truth("a", START)], elsewhere))
    ((_, value, found),) = by_topic(moved)["truth"]
    four.run([Topic(moved[0].topic, four.codecs["truth"], [value], at).batch(0, 1, {0: found})])
    assert net(four.outcomes()) == {"a": True}


def test_a_misplaced_truth_that_is_too_large_to_be_moved_is_set_aside(four: Joining) -> None:
    (at,) = partitions_of([b"a"], 4).tolist()
    truths = four.truths([truth("a", START)], (at + 1) % 4)
    huge = {0: [("note", b"x" * INPUT_MAX_BYTES)]}
    four.run([truths.batch(0, 1, huge)])  # type: ignore[arg-type]
    (letter,) = four.dead()
    assert letter["reason"] == "too-large"
    assert f"its request in {at}" in letter["message"]
    # In its own partition it is taken; a value beyond the topic's limit is not even read.
    home = four.truths([truth("a", START)], at)
    four.run([home.batch(0, 1, huge)])  # type: ignore[arg-type]
    four.all(four.predictions([prediction("a", START)], at))
    assert net(four.outcomes()) == {"a": True}
    four.all(four.truths([{**truth("a", START), "source": "x" * INPUT_MAX_BYTES}], at))
    assert four.dead()[-1]["reason"] == "too-large"


def test_bad_truths_are_not_moved(four: Joining) -> None:
    four.all(four.truths([truth("x" * 500_000, START), truth("", START), truth("y", -1)], 0))
    assert [x["reason"] for x in four.dead()] == ["invalid-id", "invalid-id", "invalid"]
    assert "truth" not in by_topic(four.outputs)


# Any interleaving, any batches.

TASK = task_of()
# All but the explanation of a failure, which takes minutes here.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]


@st.composite
def days(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Predictions and truths as their topics hold them: about in order of event time, with
    repetitions, corrections, truths that are late, and truths of nobody's request."""
    predictions: list[tuple[int, dict[str, Any]]] = []
    truths: list[tuple[int, dict[str, Any]]] = []
    disorder = st.integers(0, 12 * HOUR_MS)
    for number in range(draw(st.integers(1, 10))):
        id_, at = f"r{number}", START + draw(st.integers(0, 20 * 24)) * HOUR_MS
        if draw(st.integers(0, 9)) == 0:
            id_ = f"nobody{number}"
        else:
            rejected = draw(st.integers(0, 9)) == 0
            change = {"status": "rejected", "answer": None, "features": None} if rejected else {}
            if rejected:  # it counts as of the time of its neighbours: let it have one
                predictions.append((at, prediction(f"{id_}-neighbour", at)))
            predictions.append((at, prediction(id_, at, **change)))
            if draw(st.integers(0, 5)) == 0:
                sent = at + draw(disorder)
                predictions.append((sent, prediction(id_, at, version="again")))
        # An unknown request has one truth: whether two of them, far apart, are told of as one
        # and its correction hangs on whether the first has been told of when the second comes.
        for _ in range(draw(st.integers(0, 1 if id_.startswith("nobody") else 3))):
            known_at = at + draw(st.integers(0, H + 6 * HOUR_MS))
            sent = known_at + draw(disorder)
            source = draw(st.sampled_from(TASK.truth_sources))
            truths.append((sent, truth(id_, known_at, draw(st.booleans()), source)))
    return (
        [record for _, record in sorted(predictions, key=lambda pair: pair[0])],
        [record for _, record in sorted(truths, key=lambda pair: pair[0])],
    )


@st.composite
def turns(draw: st.DrawFn) -> tuple[list[int], list[int], list[bool]]:
    """How the topics are cut into batches, and whose turn it is."""
    lengths = st.lists(st.integers(1, 6), max_size=12)
    return draw(lengths), draw(lengths), draw(st.lists(st.booleans(), max_size=24))


def interleave(
    predictions: Topic, truths: Topic, how: tuple[list[int], list[int], list[bool]]
) -> Iterator[Any]:
    left, right = list(predictions.cut(how[0])), list(truths.cut(how[1]))
    for turn in how[2]:
        if (turn and left) or not right:
            if left:
                yield left.pop(0)
        else:
            yield right.pop(0)
    yield from left
    yield from right


def move_on_by_hours(joining: Joining, records: Any) -> None:
    """What came past the horizon leaves with the next hour: let that hour come."""
    times = [
        record.get("event_time", record.get("known_at")) for rows in records for record in rows
    ]
    newest = max(times, default=START)
    predictions = joining.predictions([prediction("next", newest + 2 * HOUR_MS)])
    truths = joining.truths([truth("next", newest + 2 * HOUR_MS)])
    joining.run([Rest(topic, 10_000, topic.values).batch(0, 1) for topic in (predictions, truths)])


def joined(joining: Joining, records: Any, how: Any) -> tuple[dict[bytes, bytes], Any, Any]:
    joining.empty()
    topics = joining.predictions(records[0]), joining.truths(records[1])
    joining.run(interleave(*topics, how))
    move_on_by_hours(joining, records)
    dead = sorted((x["reason"], x["offset"], x["value"]) for x in joining.dead())
    found = net(joining.outcomes())
    del found["next"]
    return joining.state(), found, dead


def expected(records: Any) -> dict[str, bool]:
    """The join as one would do it with everything at hand."""
    asked: dict[str, int] = {}
    for record in records[0]:
        if record["status"] == "answered":
            asked.setdefault(record["request_id"], record["event_time"])
    said: dict[str, list[tuple[int, int, bool]]] = {}
    for record in records[1]:
        id_, at = record["request_id"], record["known_at"]
        if id_ in asked and at - asked[id_] <= H:
            rank = TASK.truth_sources.index(record["source"])
            said.setdefault(id_, []).append((-rank, at, record["truth"]))
    return {id_: max(some)[2] for id_, some in said.items()}


@pytest.fixture(scope="module")
def reused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joining]:
    joining = Joining(tmp_path_factory.mktemp("join"), TASK)
    yield joining
    joining.close()


@settings(max_examples=50, deadline=None, phases=PHASES)
@given(records=days(), one=turns(), other=turns())
def test_state_outcomes_and_dead_letters_do_not_hang_on_turns_and_batches(
    records: Any, one: Any, other: Any, reused: Joining
) -> None:
    first = joined(reused, records, one)
    second = joined(reused, records, other)
    assert first[1] == second[1] == expected(records)
    assert first[2] == second[2]
    assert first[0] == second[0]


@settings(max_examples=30, deadline=None, phases=PHASES)
@given(records=days(), one=turns(), other=turns(), data=st.data())
def test_a_state_that_is_behind_is_brought_up_by_replay(
    records: Any, one: Any, other: Any, data: st.DataObject, reused: Joining
) -> None:
    """A crash leaves a state of earlier offsets; the inputs since then are read again, in turns of
    their own, and their outputs thrown away."""
    state, _, _ = joined(reused, records, one)
    store = reused.stores.get("feedback", 0)
    reached = store.offsets

    reused.empty()
    topics = reused.predictions(records[0]), reused.truths(records[1])
    batches = list(interleave(*topics, one))
    reused.run(batches[: data.draw(st.integers(0, len(batches)), label="crash")])
    reused.feedback.close()
    rest = [Rest(topic, store.offsets.get(topic.name, 0)) for topic in topics]
    reused.run(interleave(rest[0], rest[1], other))
    move_on_by_hours(reused, records)
    assert reused.state() == state
    assert store.offsets == reached


class Rest(Topic):
    """Records of a topic from an offset on."""

    def __init__(self, topic: Topic, first: int, values: Sequence[Any] | None = None) -> None:
        self.name, self.partition = topic.name, topic.partition
        self.first = first
        self.values = list(topic.values[first:] if values is None else values)

    def batch(self, first: int, end: int, headers: Any = None) -> Any:
        batch = super().batch(first, end, headers)
        batch.offsets += self.first
        return batch


@settings(max_examples=30, deadline=None, phases=PHASES)
@given(records=days(), how=turns(), random=st.randoms(use_true_random=False))
def test_in_no_order_at_all_does_a_request_count_twice(
    records: Any, how: Any, random: Any, reused: Joining
) -> None:
    # A request that was sent twice, further apart than its answer is kept, is two requests to a
    # state that is bounded; so here each is answered once.
    predictions = list({p["request_id"]: p for p in reversed(records[0])}.values())
    truths = list(records[1])
    random.shuffle(predictions)
    random.shuffle(truths)
    _, found, _ = joined(reused, (predictions, truths), how)  # asserts what `net` does
    answered = {p["request_id"] for p in predictions if p["status"] == "answered"}
    assert set(found) <= answered


def test_restarting_between_any_two_batches_changes_nothing(tmp_path: Path) -> None:
    records = (
        [prediction(f"r{i}", START + i * DAY_MS) for i in range(12)],
        [truth(f"r{i}", START + i * DAY_MS + 5, i % 2 == 0) for i in range(12)],
    )
    joining = Joining(tmp_path, TASK)
    straight = joined(joining, records, ([1] * 12, [1] * 12, [True, False] * 12))
    joining.empty()
    topics = joining.predictions(records[0]), joining.truths(records[1])
    for batch in interleave(*topics, ([1] * 12, [1] * 12, [True, False] * 12)):
        joining.run([batch])
        joining.close()
        joining.begin()
    joining.run([])
    assert net(joining.outcomes()) == straight[1]
    joining.close()


@settings(max_examples=30, deadline=None, phases=PHASES)
@given(how=turns(), data=st.data())
def test_any_order_of_the_same_truths_gives_the_same_outcomes(
    how: Any, data: st.DataObject, reused: Joining
) -> None:
    """Within a horizon, in which nothing leaves."""
    ids = [f"r{i}" for i in range(4)]
    said = st.tuples(
        st.sampled_from(ids),
        st.integers(0, 5),
        st.booleans(),
        st.sampled_from(TASK.truth_sources),
    )
    truths = [
        truth(id_, START + hour * HOUR_MS, value, source)
        for id_, hour, value, source in data.draw(st.lists(said, max_size=12))
    ]
    records = [prediction(id_, START) for id_ in ids], truths
    shuffled = data.draw(st.permutations(records[0])), data.draw(st.permutations(truths))
    ends = []
    for one in (records, shuffled):
        joined(reused, one, how)
        ends.append(held(reused.outcomes(), "true"))
        del ends[-1]["next"]
    assert ends[0] == ends[1]
    assert {id_: value for id_, (value, _, _) in ends[0].items()} == expected(records)


@pytest.mark.parametrize("order", ["predictions first", "truths first"])
def test_an_outcome_tells_how_its_request_was_chosen_for_labelling(
    joining: Joining, order: str
) -> None:
    chosen = {"source": "labeller", "selection_probability": 0.25}
    predictions = joining.predictions([prediction(id_, START) for id_ in "abc"])
    truths = joining.truths(
        [
            truth("a", START + 1) | chosen,
            truth("b", START + 1, True) | chosen,
            truth("b", START + 2, False),  # the system's, which is trusted more
            truth("c", START + 1, False),
            truth("c", START + 2, True) | chosen,  # the labeller's is outranked
        ]
    )
    topics = [predictions, truths]
    joining.all(*(topics if order == "predictions first" else reversed(topics)))
    last = {one["request_id"]: one["selection_probability"] for one in joining.outcomes()}
    assert last == {"a": 0.25, "b": None, "c": None}


RULES = WeakLabels(session=timedelta(hours=1), ignored=0.5, correction="fixed")
TOLD = task_of(
    signals=["impression", "click", "fixed"], weak_labels=RULES, truth_sources=["system", "user"]
)
TOLD_CODECS = codecs(TOLD)
IDS = st.sampled_from(["a", "b", "c"])
HOURS = st.integers(0, 200).map(lambda n: START + n * HOUR_MS)
# A request that is answered again when its first answer has left the bounded state is another one,
# and would count again: answers are within a horizon here.
ANSWERED = st.integers(0, H // HOUR_MS - 1).map(lambda n: START + n * HOUR_MS)


def row(record: str, made: dict[str, Any]) -> Row:
    return Row(TOLD_CODECS[record].write(made), made["request_id"].encode())


FIRSTS = {
    "predictions": st.builds(
        lambda id_, at, changes: row("prediction", prediction(id_, at, **changes)),
        IDS,
        ANSWERED,
        st.sampled_from(
            [
                {},
                {},
                {"status": "deferred"},
                {"status": "rejected", "features": None, "answer": None},
            ]
        ),
    ),
    "truth": st.builds(
        lambda *said: row("truth", truth(*said)),
        IDS,
        HOURS,
        st.booleans(),
        st.sampled_from(["system", "user"]),
    ),
    "signals": st.builds(
        lambda id_, at, kind: row(
            "signal", signal(id_, at, kind, **({"truth": True} if kind == "fixed" else {}))
        ),
        IDS,
        HOURS,
        st.sampled_from(["impression", "click", "fixed"]),
    ),
}


@settings(max_examples=30)
@given(histories(FIRSTS))
def test_whatever_comes_first_each_label_counts_once_and_a_restart_changes_nothing(
    history: list[Step],
) -> None:
    whole, once = lives(
        history,
        TOLD.name,
        TOLD_CODECS["dead_letter"],
        lambda stores: Feedback(TOLD, TOLD_CODECS, stores, lambda: NOW),
    )
    found = [TOLD_CODECS["outcome"].read(value) for value in whole.of("outcomes")]
    for label in ("true", "weak"):
        held(found, label)
    assert [TOLD_CODECS["outcome"].read(value) for value in once.of("outcomes")] == found
    assert whole.of("dead-letters") == once.of("dead-letters")


@settings(max_examples=30, deadline=None, phases=PHASES)
@given(
    sent=st.lists(
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60), st.booleans()), max_size=8),
        min_size=1,
        max_size=4,
    ),
    asked=st.sets(st.integers(0, 9)),
)
def test_truths_of_several_partitions_in_one_batch_are_joined_as_apart(
    sent: list[list[tuple[int, int, bool]]],
    asked: set[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    task = task_of(partitions=4)
    ids = [f"r{i}" for i in range(10)]
    places = dict(zip(ids, partitions_of([i.encode() for i in ids], 4).tolist(), strict=True))
    found = []
    for apart in (True, False):
        joining = Joining(tmp_path_factory.mktemp("parts"), task)
        for partition in range(4):
            mine = [prediction(ids[i], START) for i in sorted(asked) if places[ids[i]] == partition]
            if mine:
                joining.all(joining.predictions(mine, partition))
        ends: dict[int, int] = {}
        for some in sent:
            batches = []
            for partition in range(4):
                # Every fourth lies elsewhere, and one is no truth at all.
                rows: list[Any] = [
                    truth(ids[i], START + hours * HOUR_MS, said)
                    for i, hours, said in some
                    if places[ids[i]] == partition or (i % 4 == 0 and partition == 0)
                ]
                if rows:
                    first = ends.get(partition, 0)
                    topic = joining.truths([*rows, b"no truth"], partition)
                    ends[partition] = first + len(topic.values)
                    batches.append(Rest(topic, first, topic.values).batch(0, len(topic.values)))
            if batches:
                joining.run(batches if apart else [joined_batches(batches)])
        outcomes = sorted(joining.outcomes(), key=lambda one: places[one["request_id"]])
        dead = sorted((one["partition"], one["offset"], one["reason"]) for one in joining.dead())
        found.append((outcomes, dead, [joining.state(partition) for partition in range(4)]))
        joining.close()
    assert found[0] == found[1]
