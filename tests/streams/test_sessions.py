"""Weak labels through the feedback stage: sessions end by the signals' own event time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from streams.partitioner import partitions_of
from streams.signals import MOST_SIGNALS
from streams.task import TaskError
from streams.transport.batch import RecordBatch
from streams.weak_labels import Dwell, WeakLabels
from tests.streams.joining import NOW, Joining, Topic, held, net, prediction, signal, truth
from tests.streams.tasks import DAY_MS, HOUR_MS, START, by_topic, task_of

MINUTE = 60_000
SESSION = 30 * MINUTE
KINDS = ("impression", "click", "dismiss", "undo", "dwell", "correction", "seen-elsewhere")
RULES: dict[str, Any] = {
    "session": timedelta(minutes=30),
    "positive": {"click": 1.0},
    "negative": {"dismiss": 0.8},
    "undo": ("undo",),
    "dwell": {"dwell": Dwell(at_least=20, weight=0.5)},
    "ignored": 0.25,
    "correction": "correction",
}


def task_with(kind: str = "binary", partitions: int = 1, **changes: Any) -> Any:
    rules = WeakLabels(**{**RULES, **changes})
    return task_of(kind, signals=KINDS, weak_labels=rules, partitions=partitions)


@pytest.fixture
def joining(tmp_path: Path) -> Iterator[Joining]:
    joining = Joining(tmp_path, task_with())
    yield joining
    joining.close()


def later(joining: Joining, at: int = START + 5 * HOUR_MS) -> Topic:
    """A signal of somebody else, that moves event time on."""
    return joining.signals([signal("?", at, "seen-elsewhere")])


@pytest.mark.parametrize("order", ["prediction first", "signals first"])
def test_a_session_that_ends_makes_a_weak_label(joining: Joining, order: str) -> None:
    shown = {"position": 3, "propensity": 0.25, "role": "champion"}
    predictions = joining.predictions([prediction("a", START)])
    signals = joining.signals(
        [signal("a", START + 1, "impression", **shown), signal("a", START + MINUTE, "click")]
    )
    joining.all(
        *((predictions, signals) if order == "prediction first" else (signals, predictions))
    )
    assert joining.outcomes() == []
    joining.all(later(joining))
    (outcome,) = joining.outcomes()
    told = {name: outcome[name] for name in ("label", "truth", "weight", "source", "known_at")}
    assert told == {
        "label": "weak",
        "truth": True,
        "weight": 1.0,
        "source": "signals",
        "known_at": START + 1 + SESSION,
    }
    assert (outcome["position"], outcome["propensity"], outcome["shown_role"]) == (
        3,
        0.25,
        "champion",
    )
    assert (outcome["version"], outcome["previous_truth"]) == ("v1", None)


def test_what_was_examined_and_not_clicked_is_a_weak_negative_and_what_was_not_shown_is_nothing(
    joining: Joining,
) -> None:
    joining.all(
        joining.predictions([prediction(x, START) for x in "ab"]),
        joining.signals([signal("a", START, "impression")]),
        later(joining),
    )
    assert held(joining.outcomes(), "weak") == {"a": (False, "signals", 0.25)}


def test_a_session_ends_at_its_time_and_not_before(joining: Joining) -> None:
    joining.all(
        joining.predictions([prediction("a", START)]),
        joining.signals([signal("a", START, "impression")]),
        later(joining, START + SESSION - 1),
    )
    assert joining.outcomes() == []
    joining.all(later(joining, START + SESSION))
    assert net(joining.outcomes(), "weak") == {"a": False}


def test_event_time_of_other_topics_ends_no_session(joining: Joining) -> None:
    joining.all(
        joining.signals([signal("a", START, "impression")]),
        joining.predictions([prediction("a", START), prediction("b", START + DAY_MS)]),
        joining.truths([truth("b", START + DAY_MS)]),
    )
    assert net(joining.outcomes(), "weak") == {}


@pytest.mark.parametrize("order", ["ended before the prediction", "after it"])
def test_later_signals_correct_a_label_that_was_told(joining: Joining, order: str) -> None:
    first = joining.signals([signal("a", START, "impression")]), later(joining)
    asked = joining.predictions([prediction("a", START)])
    joining.all(*((*first, asked) if order == "ended before the prediction" else (asked, *first)))
    for kind in ("click", "undo", "dismiss"):
        minutes = {"click": 50, "undo": 60, "dismiss": 70}[kind]
        joining.all(joining.signals([signal("a", START + minutes * MINUTE, kind)]))
    told = [
        (o["revision"], o["truth"], o["weight"], o["previous_truth"], o["previous_weight"])
        for o in joining.outcomes()
    ]
    assert told == [
        (0, False, 0.25, None, None),
        (1, True, 1.0, False, 0.25),
        (2, False, 0.25, True, 1.0),
        (3, False, 0.8, False, 0.25),
    ]
    assert held(joining.outcomes(), "weak") == {"a": (False, "signals", 0.8)}


def test_a_label_that_is_taken_back_weighs_nothing(joining: Joining) -> None:
    joining.all(
        joining.predictions([prediction("a", START)]),
        joining.signals([signal("a", START, "click")]),
        later(joining),
        joining.signals([signal("a", START + HOUR_MS, "undo")]),
    )
    assert held(joining.outcomes(), "weak") == {"a": (True, "signals", 0.0)}


def test_weak_and_true_labels_are_two_series(joining: Joining) -> None:
    joining.all(
        joining.predictions([prediction("a", START)]),
        joining.signals(
            [signal("a", START, "impression", position=2), signal("a", START, "click")]
        ),
        joining.truths([truth("a", START + 5, False)]),
        later(joining),
        joining.truths([truth("a", START + 6, True)]),
    )
    assert net(joining.outcomes()) == {"a": True}
    assert net(joining.outcomes(), "weak") == {"a": True}
    # True ones carry the exposure too, as far as it is known.
    assert [o["position"] for o in joining.outcomes()] == [2, 2, 2]


def test_a_correction_by_a_user_is_a_truth(joining: Joining) -> None:
    wrong = joining.signals([signal("a", START + MINUTE, "correction", truth=False)])
    trace = {0: [("traceparent", b"t")]}
    (output,) = joining.run([wrong.batch(0, 1, trace)])  # type: ignore[arg-type]
    assert (output.topic, output.keys) == (f"{joining.task.name}.truth", [b"a"])
    assert output.headers == trace
    (value,) = output.values
    said = joining.codecs["truth"].read(value)
    wanted = truth("a", START + MINUTE, False, "user")
    assert {name: said[name] for name in wanted} == wanted
    joining.all(
        joining.predictions([prediction("a", START)]),
        Topic(output.topic, joining.codecs["truth"], [value]),
        joining.truths([truth("a", START, True, "labeller")]),
        later(joining),
    )
    # A labeller is trusted more; a correction is no weak label.
    assert held(joining.outcomes(), "true") == {"a": (True, "labeller", 1.0)}
    assert net(joining.outcomes(), "weak") == {}


@pytest.mark.parametrize(
    ("kind", "answer", "truth_of"),
    [("binary", True, {"a": True, "b": False}), ("multiclass", "c", {"a": "c", "b": "c"})],
)
def test_signals_about_the_answer_label_what_it_said(
    tmp_path: Path, kind: str, answer: Any, truth_of: dict[str, Any]
) -> None:
    joining = Joining(tmp_path, task_with(kind, about="answer"))
    probabilities = [] if kind == "binary" else [0.2, 0.2, 0.6]
    asked = [prediction(x, START, answer=answer, probabilities=probabilities) for x in "ab"]
    joining.all(
        joining.predictions(asked),
        joining.signals([signal("a", START, "click"), signal("b", START, "dismiss")]),
        later(joining),
    )
    assert net(joining.outcomes(), "weak") == truth_of
    # That one class is wrong does not tell which is right.
    assert held(joining.outcomes(), "weak")["b"][2] == (0.8 if kind == "binary" else 0.0)
    joining.close()


@pytest.mark.parametrize("order", ["prediction first", "signals first"])
def test_a_signal_beyond_the_horizon_changes_nothing(joining: Joining, order: str) -> None:
    asked = joining.predictions([prediction("a", START), prediction("b", START)])
    beyond = START + 2 * DAY_MS + 1
    signals = joining.signals(
        [
            signal("a", START, "impression"),
            signal("a", beyond, "click"),
            signal("b", beyond, "click"),
        ]
    )
    first = (asked, signals) if order == "prediction first" else (signals, asked)
    joining.all(*first, later(joining, beyond + HOUR_MS))
    assert held(joining.outcomes(), "weak") == {"a": (False, "signals", 0.25)}


def test_no_more_signals_than_a_bound_are_taken_of_a_request(joining: Joining) -> None:
    many = [signal("a", START + i, "impression") for i in range(MOST_SIGNALS)]
    joining.all(joining.signals([*many, many[0], signal("a", START + 9999, "click")]))
    (letter,) = joining.dead()
    assert (letter["reason"], letter["offset"]) == ("invalid", MOST_SIGNALS + 1)
    assert "100 signals already" in letter["message"]


BAD: list[tuple[dict[str, Any], str]] = [
    (signal("a", -1, "click"), "event_time -1 is not between"),
    (signal("a", NOW + DAY_MS + 1, "click"), "event_time "),
    (signal("a", START, "dwell", value=float("nan")), "value nan must be finite"),
    (signal("a", START, "impression", position=-1), "position -1 must be 0 or more"),
    (signal("a", START, "impression", propensity=0.0), "propensity 0.0 must be above 0 to 1"),
    (signal("a", START, "impression", propensity=1.5), "propensity 1.5 must be"),
    (signal("a", START, "impression", role="x" * 65), "role has 65 characters"),
    (signal("a", START, "correction"), "truth is null"),
]


@pytest.mark.parametrize(("bad", "said"), BAD, ids=lambda x: str(x)[:40])
def test_a_signal_that_makes_no_sense_is_set_aside(
    joining: Joining, bad: dict[str, Any], said: str
) -> None:
    joining.all(joining.signals([signal("b", START, "impression"), bad]))
    (letter,) = joining.dead()
    assert (letter["reason"], letter["offset"], letter["request_id"]) == ("invalid", 1, "a")
    assert letter["message"].startswith(said)
    assert net(joining.outcomes(), "weak") == {}
    assert joining.feedback._pending[0].horizon.signals == START


def test_misplaced_signals_are_sent_to_their_partition(tmp_path: Path) -> None:
    joining = Joining(tmp_path, task_with(partitions=4))
    (at,) = partitions_of([b"a"], 4).tolist()
    name, codec = f"{joining.task.name}.signals", joining.codecs["signal"]
    elsewhere = Topic(name, codec, [signal("a", START, "impression")], (at + 1) % 4)
    moved = by_topic(joining.all(elsewhere))["signals"]
    assert [(key, value) for key, value, _ in moved] == [(b"a", elsewhere.values[0])]
    assert joining.state(elsewhere.partition).keys() == {b"w"}
    joining.close()


def test_what_is_past_the_horizon_leaves_with_its_signals(joining: Joining) -> None:
    joining.all(
        joining.predictions([prediction("a", START)]),
        joining.signals([signal(x, START, "impression") for x in ("a", "nobody")]),
    )
    assert {b"pa", b"sa", b"snobody"} <= set(joining.state())
    far = START + 10 * DAY_MS
    joining.all(joining.predictions([prediction("on", far)]), joining.truths([truth("on", far)]))
    assert b"pa" in joining.state(), "its signals are not read to there yet"
    joining.all(later(joining, far), joining.predictions([prediction("on2", far)]))
    left = {key for key in joining.state() if key[:1] in (b"p", b"s", b"e", b"t")}
    assert left == {b"pon", b"pon2", b"ton"}


PROBLEMS: list[tuple[str, dict[str, Any], str]] = [
    ("binary", {"examined": ("shown",)}, "'shown' is not among the task's signals"),
    ("binary", {"negative": {"click": 1.0}}, "'click' is given two meanings"),
    ("binary", {"positive": {"click": 0.0}}, "weight 0.0 of 'click': above 0 to 1"),
    ("binary", {"ignored": 2.0}, "ignored 2.0: 0 (no label) to 1"),
    ("binary", {"session": timedelta(0)}, "session 0:00:00: a positive time"),
    ("binary", {"session": timedelta(days=9)}, "up to the horizon 2 days"),
    ("multiclass", {}, 'use about="answer"'),
    ("regression", {"about": "answer"}, "a number cannot be told right or wrong"),
]


@pytest.mark.parametrize(("kind", "changes", "said"), PROBLEMS, ids=lambda x: str(x)[:30])
def test_rules_that_make_no_sense_are_refused(kind: str, changes: Any, said: str) -> None:
    with pytest.raises(TaskError) as refused:
        task_with(kind, **changes)
    assert said in str(refused.value)


def test_all_that_is_wrong_with_the_sources_is_told_at_once() -> None:
    rules = WeakLabels(**RULES)
    with pytest.raises(TaskError) as refused:
        task_of(signals=KINDS, weak_labels=rules, truth_sources=("signals", ""), exploration=2)
    assert len(refused.value.problems) == 4


# Any interleaving, any batches: three topics.

TASK = task_with()
PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
_signals = st.builds(
    lambda number, at, kind, value: signal(f"r{number}", START + at * MINUTE, kind, value=value),
    st.integers(0, 4),
    st.integers(0, 120),
    st.sampled_from(["impression", "click", "dismiss", "undo", "dwell"]),
    st.none() | st.floats(0, 40),
)
_truths = st.builds(
    lambda number, at, value: truth(f"r{number}", START + at * MINUTE, value),
    st.integers(0, 4),
    st.integers(0, 120),
    st.booleans(),
)
PREDICTIONS = [prediction(f"r{number}", START) for number in range(4)]
turns = st.tuples(
    st.lists(st.lists(st.integers(1, 4), max_size=8), min_size=3, max_size=3),
    st.lists(st.integers(0, 2), max_size=20),
)


def interleave(topics: Sequence[Topic], how: Any) -> Iterator[RecordBatch]:
    left = [list(topic.cut(lengths)) for topic, lengths in zip(topics, how[0], strict=True)]
    for turn in how[1]:
        if left[turn]:
            yield left[turn].pop(0)
    for rest in left:
        yield from rest


@pytest.fixture(scope="module")
def reused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joining]:
    joining = Joining(tmp_path_factory.mktemp("sessions"), TASK)
    yield joining
    joining.close()


def topics_of(joining: Joining, signals: Any, truths: Any) -> list[Topic]:
    return [
        joining.predictions(PREDICTIONS),
        joining.truths(truths),
        joining.signals([*signals, signal("?", START + 5 * HOUR_MS, "seen-elsewhere")]),
    ]


@settings(max_examples=50, deadline=None, phases=PHASES)
@given(
    signals=st.lists(_signals, max_size=14),
    truths=st.lists(_truths, max_size=6),
    one=turns,
    other=turns,
    random=st.randoms(use_true_random=False),
)
def test_no_turns_batches_or_order_change_labels_or_state(
    signals: Any, truths: Any, one: Any, other: Any, random: Any, reused: Joining
) -> None:
    ends = []
    for how in (one, other):
        reused.empty()
        reused.run(interleave(topics_of(reused, signals, truths), how))
        ends.append(
            (held(reused.outcomes(), "weak"), held(reused.outcomes(), "true"), reused.state())
        )
    assert ends[0] == ends[1]
    shuffled = list(signals)
    random.shuffle(shuffled)
    reused.empty()
    reused.run(interleave(topics_of(reused, shuffled, truths), one))
    assert held(reused.outcomes(), "weak") == ends[0][0]


@settings(max_examples=30, deadline=None, phases=PHASES)
@given(
    signals=st.lists(_signals, max_size=14),
    truths=st.lists(_truths, max_size=6),
    one=turns,
    other=turns,
    data=st.data(),
)
def test_after_a_crash_a_replay_in_other_turns_leads_to_the_same_labels(
    signals: Any, truths: Any, one: Any, other: Any, data: st.DataObject, reused: Joining
) -> None:
    """The state is lost; what was read is read again, its outputs thrown away; work goes on."""
    reused.empty()
    batches = list(interleave(topics_of(reused, signals, truths), one))
    at = data.draw(st.integers(0, len(batches)), label="crash")
    reused.run(batches[:at])
    told = list(reused.outputs)
    state = reused.state()
    reached = dict(reused.stores.get("feedback", 0).offsets)

    reused.empty()
    done = [
        Topic.until(topic, reached.get(topic.name, 0))
        for topic in topics_of(reused, signals, truths)
    ]
    reused.run(interleave(done, other))
    assert reused.state() == state
    reused.outputs[:] = told
    reused.run(batches[at:])
    held(reused.outcomes(), "weak")  # asserts that nothing is counted twice
    held(reused.outcomes(), "true")
