"""What waits for a label, in a real ClickHouse: who is in the queue, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import services.labelling.candidates as module
from services.labelling.candidates import candidates, facts, window
from services.labelling.desk import DeskError
from services.labelling.narrowing import narrowing
from streams.labelling.policy import Labelling
from streams.labelling.ranking import draws
from streams.task import MultiClass, Regression
from streams.training.profile import numbers
from tests.services.labelling.world import DAY_MS, HOUR_MS, NOW_MS, Tables, make_task
from tests.services.running_store import RunningStore

pytestmark = pytest.mark.system

PROFILE = {
    "features": {
        "price": numbers(np.linspace(0, 100, 501)),
        "visits": numbers(np.array([1.0, 2.0, 3.0, np.nan])),
        "member": numbers(np.array([0.0, 1.0, 1.0])),
        "colour": {"missing": 0.0, "shares": {"red": 0.95, "it's \\ green": 0.045, "blue": 0.005}},
    },
    "target": {"std": 2.0},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    running = RunningStore(tmp_path_factory.mktemp("store"))
    yield running
    running.stop()


@pytest.fixture
def tables(store: RunningStore, tmp_path: Path) -> Callable[..., Tables]:
    return lambda **changes: Tables(store, tmp_path, make_task(**changes))


def test_before_the_first_prediction_nothing_waits(tables: Callable[..., Tables]) -> None:
    queue = tables().queue()
    assert queue.next("ada", 5) == []
    assert (queue.state().waiting, queue.state().event_time) == (0, None)


def test_what_has_a_truth_is_past_the_horizon_or_was_rejected_does_not_wait(
    tables: Callable[..., Tables],
) -> None:
    world = tables()
    world.predict(
        {"request_id": "waits"},
        {"request_id": "known"},
        {"request_id": "deferred", "status": "deferred", "probability": None, "gate_score": 0.4},
        {"request_id": "old", "event_time": NOW_MS - 8 * DAY_MS},
        {"request_id": "oldest that can", "event_time": NOW_MS - 7 * DAY_MS},
        {"request_id": "rejected", "status": "rejected", "event_time": NOW_MS + 90 * DAY_MS},
        {"request_id": "waits", "probability": 0.5},  # a producer sent it twice
    )
    world.tell("known")
    queue = world.queue()
    found = {item.place.request_id for item in queue.peek(100)}
    assert found == {"waits", "deferred", "oldest that can"}
    state = queue.state()
    assert (state.event_time, state.deferred) == (NOW_MS, 1)


def test_the_database_narrows_down_by_the_value_that_python_ranks_by(
    tables: Callable[..., Tables],
) -> None:
    """Every candidate's value, but for what versions disagree about, is the same in SQL."""
    for changes in (
        {},
        {"target": MultiClass("kind", classes=["a", "b", "c"]), "fallback": "a"},
        {"target": Regression("size"), "candidates": {"r": _Regressor()}, "fallback": 0.0},
    ):
        world = tables(**changes)
        generator = np.random.default_rng(3)
        kind = world.contract.kind
        world.predict(*(_random_row(generator, kind, i) for i in range(60)))
        world.champion(f"v1-{kind}", PROFILE)
        policy = Labelling(uncertainty=0.7, novelty=0.4)
        known = facts(world.reader, world.contract, policy, world.home / "artifacts")
        assert known.profile == PROFILE
        found = candidates(world.reader, world.contract, policy, known, 1.0)
        assert len(found) == 60
        expression, given = narrowing(world.contract, policy, known.profile)
        rows = world.reader.query(
            f"SELECT request_id, {expression} FROM predictions",
            parameters=given | window(world.contract, NOW_MS),
        ).result_rows
        in_sql = dict(rows)
        values = found.value(policy, known.profile)
        assert [in_sql[id_] for id_ in found.ids] == pytest.approx(values.tolist())
        assert found.draws.tolist() == draws(0, found.ids).tolist()


def _random_row(generator: np.random.Generator, kind: str, i: int) -> dict[str, Any]:
    def maybe(value: Any) -> Any:
        return None if generator.random() < 0.2 else value

    probability = None if kind == "regression" else maybe(float(generator.random()))
    answer = {"binary": False, "multiclass": "a", "regression": 1.5}[kind]
    return {
        "request_id": f"r{i}",
        "answer": answer,
        "probability": probability,
        "gate_score": maybe(float(generator.random())),
        "features": {
            "price": float(generator.uniform(-20, 120)),
            "visits": int(generator.integers(0, 6)),
            "member": maybe(bool(generator.random() < 0.5)),
            "colour": maybe(str(generator.choice(["red", "it's \\ green", "blue", "mauve"]))),
        },
    }


class _Regressor:
    def fit(self, x: Any, y: Any) -> _Regressor:
        return self

    def predict(self, x: Any) -> Any:
        return np.zeros(len(x))


def test_the_most_uncertain_and_the_strangest_come_first(tables: Callable[..., Tables]) -> None:
    world = tables(labelling=Labelling(budget=20, random_share=0.0, diversity=0.0, novelty=1.0))
    world.champion("v1", PROFILE)
    world.predict(
        {"request_id": "sure"},
        {"request_id": "unsure", "probability": 0.5, "gate_score": 0.5},
        {"request_id": "strange", "features": {"price": 1e6, "colour": "mauve", "visits": 90}},
        {"request_id": "a little unsure", "probability": 0.3, "gate_score": 0.3},
    )
    order = [item.place.request_id for item in world.queue().peek(9)]
    assert order == ["unsure", "strange", "a little unsure", "sure"]


def test_what_versions_disagree_about_comes_first(
    tables: Callable[..., Tables], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where so much waits that the database narrows down to less than that."""
    monkeypatch.setattr(module, "AT_LEAST", 2)
    policy = Labelling(budget=1, random_share=0.0, diversity=0.0)
    for changes, mine, near, far in (
        ({}, {"probability": 0.2}, {"probability": 0.3}, {"probability": 0.9}),
        (
            {"target": MultiClass("kind", classes=["a", "b"]), "fallback": "a"},
            {"answer": "a", "probability": 0.8, "probabilities": [0.8, 0.2]},
            {"answer": "a", "probability": 0.7, "probabilities": [0.7, 0.3]},
            {"answer": "b", "probability": 0.9, "probabilities": [0.1, 0.9]},
        ),
        (
            {"target": Regression("size"), "candidates": {"r": _Regressor()}, "fallback": 0.0},
            {"answer": 1.0, "probability": None},
            {"answer": 1.2, "probability": None},
            {"answer": 9.0, "probability": None},
        ),
    ):
        world = tables(labelling=policy, **changes)
        world.champion(f"v1-{world.contract.kind}", PROFILE)
        world.predict(*({"request_id": f"r{i}", **mine} for i in range(9)))
        world.predict({"request_id": "told", **mine})
        world.tell("told")
        known = {"answer": mine.get("answer", False)}
        world.look_on(
            *({"request_id": f"r{i}", **known, **near} for i in range(9) if i != 3),
            {"request_id": "r3", **known, **far},
            {"request_id": "told", **known, **far},
        )
        assert [item.place.request_id for item in world.queue(world.contract.kind).peek(9)] == [
            "r3"
        ]


def test_an_answer_is_a_truth_of_now_in_event_time_and_the_input_leaves(
    tables: Callable[..., Tables],
) -> None:
    world = tables(labelling=Labelling(budget=3, random_share=0.0))
    world.predict(
        {"request_id": "one", "probability": 0.5, "event_time": NOW_MS - HOUR_MS},
        {"request_id": "two", "event_time": NOW_MS},
    )
    queue = world.queue()
    (item,) = queue.next("ada", 1)
    assert item.place.request_id == "one"
    assert item.record()["features"] == {
        "price": 10.0,
        "visits": 2,
        "member": True,
        "colour": "red",
    }
    assert "probability" not in item.record()
    queue.answer("ada", "one", True)
    assert world.sent == [
        {
            "request_id": "one",
            "known_at": NOW_MS,  # the clock would be years later where events are replayed
            "truth": True,
            "selection_probability": 1.0,
        }
    ]
    assert queue.state().left == 2
    # The sink has not brought the truth yet; another process knows all the same.
    assert [i.place.request_id for i in world.queue().peek(9)] == ["two"]
    with pytest.raises(DeskError, match="ada has answered one"):
        world.queue().answer("bo", "one", False)


def test_two_people_are_never_asked_the_same(tables: Callable[..., Tables]) -> None:
    world = tables()
    world.predict(*({"request_id": f"r{i}", "probability": i / 50} for i in range(12)))
    ours, theirs = world.queue(), world.queue()
    mine = {item.place.request_id for item in ours.next("ada", 5)}
    yours = {item.place.request_id for item in theirs.next("bo", 50)}
    assert len(mine) == 5
    assert len(yours) == 7
    assert not mine & yours
    with pytest.raises(DeskError, match="ada looks at"):
        theirs.answer("bo", next(iter(mine)), True)
    world.clock += 11 * 60_000  # longer than the lease
    assert {item.place.request_id for item in theirs.next("bo", 50)} == mine | yours


def test_what_one_cannot_tell_another_is_asked_and_then_nobody(
    tables: Callable[..., Tables],
) -> None:
    world = tables()
    world.predict({"request_id": "hard"})
    queue = world.queue()
    for person in ("ada", "bo"):
        (item,) = queue.next(person, 1)
        queue.skip(person, item.place.request_id)
        assert queue.next(person, 1) == []
    assert queue.next("cy", 1) == []
    assert world.sent == []


def test_an_undone_skip_is_gone_and_an_undone_answer_is_corrected(
    tables: Callable[..., Tables],
) -> None:
    world = tables()
    world.predict({"request_id": "one"})
    queue = world.queue()
    queue.next("ada", 1)
    queue.skip("ada", "one")
    back = queue.undo("ada")
    assert back is not None
    queue.answer("ada", "one", True)
    world.tell("one", "labeller")  # the sink brought it
    again = world.queue().undo("ada")  # from another process: its features are looked up
    assert again is not None
    assert again.features["colour"] == "red"
    queue.answer("ada", "one", False)
    first, second = world.sent
    assert (first["truth"], second["truth"]) == (True, False)
    assert second["known_at"] > first["known_at"]
    assert second["selection_probability"] == first["selection_probability"]
    assert world.queue().undo("bo") is None


def test_nobody_is_asked_for_more_than_the_budget_and_a_new_period_has_its_own(
    tables: Callable[..., Tables],
) -> None:
    world = tables(labelling=Labelling(budget=2))
    world.predict(*({"request_id": f"r{i}"} for i in range(6)))
    world.tell("told before", "labeller", NOW_MS - HOUR_MS)
    queue = world.queue()
    (item,) = queue.next("ada", 9)
    queue.answer("ada", item.place.request_id, True)
    assert world.queue().next("ada", 9) == []
    assert queue.state().left == 0
    world.predict({"request_id": "tomorrow", "event_time": NOW_MS + DAY_MS})
    assert len(world.queue().next("ada", 9)) == 2


def test_answers_of_a_file_are_taken_but_for_those_that_cannot_count(
    tables: Callable[..., Tables],
) -> None:
    world = tables()
    world.predict(
        {"request_id": "good"},
        {"request_id": "known"},
        {"request_id": "old", "event_time": NOW_MS - 8 * DAY_MS},
        {"request_id": "bo's"},
    )
    world.tell("known")
    queue = world.queue()
    world.queue().next("bo", 9)
    queue.answer_all("bo", {"good": True}, {"good": 0.25})
    out = queue.answer_all("ada", dict.fromkeys(["known", "old", "bo's", "nobody's"], True), {})
    assert {id_: why.split(";")[0] for id_, why in out.items()} == {
        "known": "its truth is known already",
        "old": "old is past the label horizon: no answer counts now",
        "bo's": "bo looks at bo's now",
        "nobody's": "no prediction is known for it",
    }
    assert world.sent == [
        {
            "request_id": "good",
            "known_at": NOW_MS,
            "truth": True,
            "selection_probability": 0.25,
        }
    ]


def test_a_task_that_does_not_trust_labellers_has_no_queue(tables: Callable[..., Tables]) -> None:
    world = tables(truth_sources=["system"])
    world.predict({"request_id": "one"})
    with pytest.raises(DeskError, match="truth_sources name no 'labeller'"):
        world.queue().next("ada", 1)
