"""Truths of one request: which one holds, in whatever order they come, and their bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.join import (
    Held,
    Rank,
    Said,
    Value,
    Verdict,
    Waiting,
    hear,
    is_waiting,
    pack,
    pack_firsts,
    too_late,
    unpack,
    unpack_waiting,
)

LONG = st.integers(-(2**63), 2**63 - 1)
SOURCES = ("system", "labeller", "user")
VALUES = st.booleans() | st.text(max_size=9) | st.floats(allow_nan=False)
SAID = st.builds(Said, st.sampled_from(SOURCES), LONG, VALUES)
WAITING = st.builds(Waiting, LONG, LONG, LONG, LONG, st.binary(max_size=20))
HELD = st.builds(
    Held, st.integers(0, 10**6), st.integers(-1, 10**6), st.lists(SAID, max_size=3).map(tuple)
)
rank: Rank = SOURCES.index


@given(st.lists(WAITING, min_size=1, max_size=5).map(tuple), HELD)
def test_what_is_known_reads_back_as_it_was_kept(waiting: tuple[Waiting, ...], held: Held) -> None:
    assert is_waiting(pack(waiting))
    assert unpack_waiting(pack(waiting)) == waiting
    assert not is_waiting(pack(held))
    assert unpack(pack(held)) == held


@pytest.mark.parametrize(
    "values", [st.booleans(), st.text(max_size=3), st.floats(allow_nan=False)], ids=str
)
@given(data=st.data())
def test_first_truths_are_packed_together_as_one_by_one(
    values: st.SearchStrategy[Value], data: st.DataObject
) -> None:
    said = data.draw(st.lists(st.builds(Said, st.sampled_from(SOURCES), LONG, values), max_size=9))
    together = pack_firsts(
        [one.source for one in said], [one.known_at for one in said], [one.truth for one in said]
    )
    assert together == [pack(hear(Held(), one, rank)[0]) for one in said]


def told(*truths: Said) -> list[Verdict]:
    held, verdicts = Held(), []
    for one in truths:
        held, verdict = hear(held, one, rank)
        verdicts.append(verdict)
    return verdicts


FIRST = Said("labeller", 5, True)


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (Said("labeller", 5, True), Verdict.REPEATED),
        (Said("labeller", 3, True), Verdict.REPEATED),
        (Said("labeller", 9, True), Verdict.REPEATED),
        (Said("labeller", 9, False), Verdict.CORRECTION),
        (Said("labeller", 5, False), Verdict.STALE),  # of two at one time the greater holds
        (Said("labeller", 3, False), Verdict.STALE),
        (Said("system", 3, False), Verdict.CORRECTION),
        (Said("system", 3, True), Verdict.CORRECTION),  # the same, by another source
        (Said("user", 9, False), Verdict.OUTRANKED),
        (Said("user", 9, True), Verdict.OUTRANKED),
    ],
)
def test_the_most_trusted_source_holds_and_of_its_truths_the_latest(
    said: Said, verdict: Verdict
) -> None:
    assert told(FIRST, said) == [Verdict.FIRST, verdict]


def test_a_truth_said_again_is_not_undone_by_one_in_between() -> None:
    truths = Said("system", 1, True), Said("system", 5, True), Said("system", 3, False)
    assert told(*truths) == [Verdict.FIRST, Verdict.REPEATED, Verdict.STALE]


def test_each_change_has_a_number_of_its_own() -> None:
    held = Held()
    numbers = []
    for said in (
        FIRST,
        Said("user", 6, False),
        Said("labeller", 7, False),
        Said("system", 1, True),
    ):
        held, _ = hear(held, said, rank)
        numbers.append(held.changes)
    assert numbers == [0, 0, 1, 2]
    assert held.heard == 4


truths_of_one = st.lists(
    st.builds(Said, st.sampled_from(SOURCES), st.integers(0, 4), st.sampled_from("abc")), max_size=7
)


@given(truths_of_one, st.randoms(use_true_random=False))
def test_no_order_of_arrival_changes_what_holds(truths: list[Said], random: object) -> None:
    shuffled = list(truths)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    ends = []
    for order in (truths, shuffled):
        held = Held()
        sums = {value: 0 for value in "abc"}
        for one in order:
            before = held.holds
            held, _ = hear(held, one, rank)
            now = held.holds
            assert now is not None
            sums[str(now.truth)] += 1
            if before is not None:
                sums[str(before.truth)] -= 1
        ends.append((held.latest, sums))
    assert ends[0] == ends[1]
    if truths:
        wanted = max(truths, key=lambda one: (-rank(one.source), one.known_at, one.truth))
        assert ends[0][0][0] == wanted
        assert sum(ends[0][1].values()) == 1


def test_the_horizon_itself_is_in_time() -> None:
    assert not too_late(10, 15, 5)
    assert too_late(10, 16, 5)
    assert not too_late(10, 3, 5)  # known before the request's own time, by another clock
