"""The conversation of ``weir label``: which key does what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from schemas.features import Category, Integer, Notes, Number, notes
from services.command.labelling import Session, opinion_text, value_text
from services.contract import Contract
from services.labelling.desk import DeskError, Place
from services.labelling.queue import Item, State
from streams.labelling.answers import Answer
from streams.task import MultiClass, Regression
from tests.services.labelling.world import NOW_MS, make_task


class Line:
    """A queue of some ids for one person: what a session needs of one."""

    def __init__(self, contract: Contract, *ids: str) -> None:
        self.contract = contract
        self.left = list(ids)
        self.did: list[Any] = []
        self.refuses = ""

    def next(self, person: str, n: int) -> list[Item]:
        return [_item(self.left.pop(0))] if self.left else []

    def answer(self, person: str, id_: str, answer: Answer) -> None:
        if self.refuses == id_:
            raise DeskError("bo has answered it")
        self.did.append((id_, answer))

    def skip(self, person: str, id_: str) -> None:
        self.did.append((id_, "skipped"))

    def undo(self, person: str) -> Item | None:
        if not self.did:
            return None
        return _item(self.did.pop()[0])

    def opinion(self, id_: str) -> Mapping[str, Any]:
        return {"of": id_}

    def state(self) -> State:
        return State(NOW_MS, 0, 0, 1, 9, 10, 0, "v1", True)


def _item(id_: str) -> Item:
    return Item(Place(id_, NOW_MS, 1.0, "value"), {}, {})


class Recorder:
    """A screen that keeps what it was told; typed lines are given."""

    def __init__(self, *typed: str) -> None:
        self.told: list[Any] = []
        self.lines = list(typed)

    def show(self, item: Item, number: int, of: int, hint: str) -> None:
        self.told.append((number, item.place.request_id))

    def opinion(self, opinion: Mapping[str, Any]) -> None:
        self.told.append(opinion)

    def say(self, text: str) -> None:
        self.told.append(text)

    def complain(self, text: str) -> None:
        self.told.append(f"! {text}")

    def typed(self, prompt: str) -> str:
        return self.lines.pop(0)


def run(line: Line, keys: str, n: int = 5, screen: Recorder | None = None) -> tuple[int, Recorder]:
    screen = screen or Recorder()
    pressed = iter(keys)
    session = Session(line, "ada", screen, lambda: next(pressed))  # type: ignore[arg-type]
    return session.run(n), screen


BINARY = Contract.of(make_task(name="talk"), "nowhere.py:Task")


def test_a_key_answers_and_the_next_input_comes() -> None:
    line = Line(BINARY, "a", "b", "c")
    done, screen = run(line, "yns")
    assert done == 2
    assert line.did == [("a", True), ("b", False), ("c", "skipped")]
    assert screen.told == [(1, "a"), (2, "b"), (3, "c"), "nothing waits for a label"]


def test_it_ends_after_as_many_as_were_wanted_and_at_q() -> None:
    assert run(Line(BINARY, "a", "b", "c"), "yy", n=2)[0] == 2
    line = Line(BINARY, "a", "b")
    assert run(line, "yq")[0] == 1
    assert run(Line(BINARY, "a"), "\x03")[0] == 0


def test_undo_brings_the_last_input_back_to_be_answered_again() -> None:
    line = Line(BINARY, "a", "b")
    done, screen = run(line, "yunq")
    assert line.did == [("a", False)]
    assert screen.told[:3] == [(1, "a"), (2, "b"), (1, "a")]
    assert done == 1


def test_undo_of_nothing_says_so() -> None:
    _, screen = run(Line(BINARY, "a"), "uq")
    assert screen.told == [(1, "a"), "nothing to take back"]


def test_what_the_model_thinks_is_shown_only_when_asked_for() -> None:
    _, screen = run(Line(BINARY, "a", "b"), "ymq")
    assert screen.told == [(1, "a"), (2, "b"), {"of": "b"}]


def test_a_wrong_key_changes_nothing() -> None:
    line = Line(BINARY, "a")
    _, screen = run(line, "xq")
    assert line.did == []
    assert screen.told[1].startswith("! no such key; y yes · n no")


def test_an_input_that_somebody_else_answered_is_left_alone() -> None:
    line = Line(BINARY, "a", "b")
    line.refuses = "a"
    done, screen = run(line, "yn", n=1)
    assert done == 1
    assert "! bo has answered it" in screen.told
    assert line.did == [("b", False)]


def test_classes_have_keys_in_their_order_and_commands_others() -> None:
    task = make_task(name="talk", target=MultiClass("kind", classes=["q", "s", "u"]), fallback="q")
    line = Line(Contract.of(task, "nowhere.py:Task"), "a", "b")
    run(line, "2?")
    assert line.did == [("a", "s"), ("b", "skipped")]


def test_a_number_is_typed() -> None:
    task = make_task(
        name="talk", target=Regression("size"), candidates={"r": _Regressor()}, fallback=0.0
    )
    line = Line(Contract.of(task, "nowhere.py:Task"), "a", "b")
    done, screen = run(line, "", screen=Recorder("many", "2.5", "!"))
    assert done == 1
    assert line.did == [("a", 2.5)]
    assert "! 'many' is not a number" in screen.told


class _Regressor:
    def fit(self, x: Any, y: Any) -> None: ...

    def predict(self, x: Any) -> None: ...


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        (Number("a", unit="min", low=0, high=9, doc="x; y"), Notes("x; y", "min", "0..9")),
        (Number("a", unit="min"), Notes("", "min", "")),
        (Integer("a", low=1), Notes("", "", "1..")),
        (Number("a", doc="price of a unit"), Notes("price of a unit", "", "")),
        (Category("a", doc="what"), Notes("what")),
    ],
)
def test_a_feature_tells_meaning_unit_and_range(feature, said) -> None:
    assert notes(feature.field()["doc"]) == said


def test_values_are_written_for_people() -> None:
    assert [value_text(v) for v in (None, True, 3, 2.50000000001, "x")] == [
        "–",
        "yes",
        "3",
        "2.5",
        "x",
    ]
    asked = {"version": "v1", "status": "answered", "answer": False, "probability": 0.25}
    assert opinion_text(asked | {"gate_score": 0.3}) == (
        "the model answers no (probability 0.250); chance of an error 0.300"
    )
    assert opinion_text(asked | {"version": ""}) == "no model looked at it"
