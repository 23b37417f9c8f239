"""What signals say of a request: the label, its weight, its exposure."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.signals import (
    Exposure,
    Signal,
    Signals,
    Weak,
    in_time,
    pack,
    session_end,
    taken,
    unpack,
    weak_label,
)
from streams.weak_labels import Dwell, WeakLabels

RULES = WeakLabels(
    session=timedelta(seconds=30),
    examined=("impression",),
    positive={"click": 0.8, "share": 1.0},
    negative={"dismiss": 0.9},
    undo=("undo",),
    dwell={"dwell": Dwell(at_least=10, weight=0.5)},
    ignored=0.3,
)
S = 1000  # a second
SIGNALS = st.builds(
    Signal,
    st.integers(0, 60 * S),
    st.sampled_from(RULES.kinds()),
    st.none() | st.floats(0, 30),
    st.none() | st.integers(0, 3),
    st.none() | st.floats(0.1, 1),
    st.none() | st.sampled_from(["champion", "candidate"]),
)


def all_of(signals: list[Signal]) -> Signals:
    known: Signals = ()
    for one in signals:
        known = taken(known, one)
    return known


def label(*signals: Signal, at: int = 10**9) -> tuple[bool, float] | None:
    found = weak_label(RULES, all_of(list(signals)), at)
    return None if found is None else (found.positive, found.weight)


SHOWN = Signal(0, "impression")


@pytest.mark.parametrize(
    ("signals", "wanted"),
    [
        ([SHOWN, Signal(2, "click")], (True, 0.8)),
        ([SHOWN, Signal(2, "click"), Signal(3, "share")], (True, 1.0)),
        ([SHOWN, Signal(2, "share"), Signal(3, "click")], (True, 1.0)),
        ([SHOWN, Signal(2, "click"), Signal(3, "dismiss")], (False, 0.9)),
        ([SHOWN, Signal(2, "dwell", 12.0)], (True, 0.5)),
        ([SHOWN, Signal(2, "dwell", 9.0)], (False, 0.3)),
        ([SHOWN, Signal(2, "dwell")], (False, 0.3)),
        ([SHOWN], (False, 0.3)),  # examined and not clicked
        ([Signal(2, "click")], (True, 0.8)),  # nobody told that it was shown, but it was
        ([Signal(2, "dwell", 3.0)], None),  # never shown: no label
        ([Signal(2, "undo")], None),
        ([], None),
        ([SHOWN, Signal(2, "click"), Signal(3, "undo")], (False, 0.3)),
        ([Signal(2, "click"), Signal(3, "undo")], (True, 0.0)),  # taken back: it weighs nothing
        ([Signal(2, "click"), Signal(3, "share"), Signal(4, "undo")], (True, 0.8)),
        ([SHOWN, Signal(2, "click"), Signal(3, "undo"), Signal(4, "dismiss")], (False, 0.9)),
    ],
)
def test_signals_make_a_label(signals: list[Signal], wanted: tuple[bool, float] | None) -> None:
    assert label(*signals) == wanted


def test_nothing_is_said_before_the_session_ends() -> None:
    signals = all_of([Signal(5 * S, "impression"), Signal(6 * S, "click")])
    assert session_end(RULES, signals) == 35 * S
    assert weak_label(RULES, signals, 35 * S - 1) is None
    found = weak_label(RULES, signals, 35 * S)
    assert found == Weak(True, 0.8, 35 * S, Exposure())


def test_a_signal_after_the_session_changes_the_label_from_then_on() -> None:
    found = weak_label(RULES, all_of([SHOWN, Signal(50 * S, "click")]), 60 * S)
    assert found == Weak(True, 0.8, 50 * S, Exposure())


def test_the_first_impression_tells_the_exposure() -> None:
    late = Signal(9, "impression", None, 5, 0.1, "candidate")
    first = Signal(3, "impression", None, 2, 0.25, "champion")
    found = weak_label(RULES, all_of([late, Signal(1, "click", None, 8), first]), 10**9)
    assert found is not None
    assert found.exposure == Exposure(2, 0.25, "champion")


def test_ignoring_says_nothing_where_it_weighs_nothing() -> None:
    rules = WeakLabels(session=timedelta(seconds=30), ignored=0.0)
    assert weak_label(rules, (SHOWN,), 10**9) is None


@given(st.lists(SIGNALS, max_size=8), st.randoms(use_true_random=False))
def test_no_order_of_arrival_changes_what_is_known(signals: list[Signal], random: object) -> None:
    shuffled = list(signals)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert all_of(signals) == all_of([*shuffled, *signals])


@given(st.lists(SIGNALS, max_size=8), st.integers(0, 100 * S))
def test_a_label_that_was_told_is_never_without_one_again(signals: list[Signal], at: int) -> None:
    """Else a sum could not take it back: signals and event time only grow."""
    known: Signals = ()
    told = False
    for one in signals:
        known = taken(known, one)
        found = weak_label(RULES, known, at)
        assert found is not None or not told
        told = found is not None
        if told:
            assert weak_label(RULES, known, at + S) == found


@given(st.lists(SIGNALS, max_size=8).map(all_of))
def test_signals_read_back_as_they_were_kept(signals: Signals) -> None:
    assert unpack(pack(signals)) == signals


def test_signals_are_in_time_up_to_the_horizon() -> None:
    signals = all_of([Signal(at, "click") for at in (1, 15, 16)])
    assert [one.at for one in in_time(signals, 10, 5)] == [1, 15]
