"""The notebook: of all who want an input one gets it, whatever they do in whichever order."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.labelling.desk import Answered, Desk, DeskError, Place

PLACES = [Place(f"r{i}", 1_000 + i, 0.5, "chance") for i in range(6)]
PEOPLE = st.sampled_from(["ada", "bo", "cy"])
LEASE = 100
SKIPS = 2


class Labelling(RuleBasedStateMachine):
    """Three people at two processes' desks over one file, against a plain model of it."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "desk.sqlite"
        self.desks = [Desk(path), Desk(path)]
        self.now = 0
        self.has: dict[str, tuple[str, int]] = {}
        self.answered: dict[str, str] = {}
        self.skipped: set[tuple[str, str]] = set()

    def teardown(self) -> None:
        for desk in self.desks:
            desk.close()
        self.folder.cleanup()

    def _free(self, id_: str, person: str) -> bool:
        holder, until = self.has.get(id_, ("", 0))
        others = {who for about, who in self.skipped if about == id_}
        return (
            id_ not in self.answered
            and not (holder and holder != person and until > self.now)
            and person not in others
            and len(others) < SKIPS
        )

    @rule(person=PEOPLE, n=st.integers(1, 3), desk=st.integers(0, 1))
    def lease(self, person: str, n: int, desk: int) -> None:
        until = self.now + LEASE
        given_ = self.desks[desk].lease(PLACES, person, n, self.now, until, SKIPS)
        assert given_ == [p for p in PLACES if self._free(p.request_id, person)][:n]
        for place in given_:
            self.has[place.request_id] = (person, until)

    @rule(person=PEOPLE, place=st.sampled_from(PLACES), desk=st.integers(0, 1))
    def answer(self, person: str, place: Place, desk: int) -> None:
        id_ = place.request_id
        holder, until = self.has.get(id_, ("", 0))
        taken = holder and holder != person and until > self.now
        if taken or id_ in self.answered:
            with pytest.raises(DeskError):
                self.desks[desk].claim(id_, person, self.now)
            return
        mine, before = self.desks[desk].claim(id_, person, self.now)
        assert before is None
        assert mine is None or mine == place
        self.desks[desk].answered(
            [Answered(id_, person, self.now, place.event_time, 5_000, True, 0.5, "chance")]
        )
        self.answered[id_] = person
        self.has.pop(id_, None)

    @rule(person=PEOPLE, place=st.sampled_from(PLACES), desk=st.integers(0, 1))
    def skip(self, person: str, place: Place, desk: int) -> None:
        if self.has.get(place.request_id, ("", 0))[0] == person:
            self.desks[desk].skip(place, person, self.now)
            self.skipped.add((place.request_id, person))
            del self.has[place.request_id]

    @rule(time=st.integers(1, LEASE + 1))
    def wait(self, time: int) -> None:
        self.now += time

    @rule(person=PEOPLE, desk=st.integers(0, 1))
    def leave(self, person: str, desk: int) -> None:
        self.desks[desk].release(person)
        self.has = {id_: held for id_, held in self.has.items() if held[0] != person}

    @invariant()
    def what_was_answered_is_known(self) -> None:
        found = self.desks[0].answers(0, 10_000)
        assert {one.request_id: one.person for one in found} == self.answered


Labelling.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestLabelling = Labelling.TestCase


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk.sqlite")


def answered(id_: str, at: int, known_at: int = 10) -> Answered:
    return Answered(id_, "ada", at, 1_000, known_at, 2.5, None, None)


def test_undo_goes_back_step_by_step_and_only_over_ones_own(desk: Desk) -> None:
    desk.answered([answered("a", 1)])
    desk.skip(PLACES[0], "ada", 2)
    desk.answered([answered("b", 3)])
    assert desk.undo("bo", 99) is None
    back = [desk.undo("ada", 99) for _ in range(4)]
    assert [place and place.request_id for place in back] == ["b", "r0", "a", None]
    mine, before = desk.claim("b", "ada", 4)
    assert before == answered("b", 3)
    assert mine == Place("b", 1_000)
    desk.answered([answered("b", 5)])
    with pytest.raises(DeskError, match="ada has answered b"):
        desk.claim("b", "ada", 6)


def test_what_was_reopened_and_left_is_answered_again(desk: Desk) -> None:
    desk.answered([answered("a", 1)])
    desk.undo("ada", 99)
    desk.release("ada")
    with pytest.raises(DeskError):
        desk.claim("a", "bo", 2)
    desk.undo("ada", 50)
    desk.lease([], "bo", 1, 60, 70, SKIPS)  # ada's lease has run out
    with pytest.raises(DeskError):
        desk.claim("a", "bo", 60)


def test_what_is_old_is_forgotten(desk: Desk) -> None:
    desk.answered([answered("a", 1)])
    desk.skip(PLACES[0], "ada", 1)
    desk.skip(PLACES[5], "ada", 1)
    desk.forget(1_003)
    assert desk.answers(0, 99) == []
    assert desk.settled(["r0", "r5", "a"], 1) == {"r5"}
