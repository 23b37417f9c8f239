"""Chains of truths: which one holds, which come in time, and their bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.join import KnownTruth, Verdict, in_time, judge, pack, too_late, unpack

TIMES = st.integers(-(2**63), 2**63 - 1)
TRUTHS = st.builds(KnownTruth, TIMES, TIMES, TIMES, TIMES, st.binary(max_size=20))


@given(st.lists(TRUTHS, max_size=5))
def test_a_chain_reads_back_as_it_was_kept(chain: list[KnownTruth]) -> None:
    assert unpack(pack(chain)) == tuple(chain)


def test_nothing_kept_is_no_truth() -> None:
    assert unpack(None) == unpack(b"") == ()


@pytest.mark.parametrize(
    ("same", "known_at", "verdict"),
    [
        (True, 3, Verdict.REPEATED),
        (True, 9, Verdict.REPEATED),
        (False, 9, Verdict.CORRECTION),
        (False, 7, Verdict.STALE),  # said again at 7: of two at the same time the first holds
        (False, 5, Verdict.STALE),
    ],
)
def test_the_latest_by_its_own_time_holds(same: bool, known_at: int, verdict: Verdict) -> None:
    known = KnownTruth(5, 5, 0, 0, b"").again(7)
    assert known.known_at == 5
    assert judge(known, same, known_at) is verdict
    assert judge(None, same, known_at) is Verdict.FIRST


def test_what_was_said_again_earlier_changes_nothing() -> None:
    known = KnownTruth(5, 7, 0, 0, b"")
    assert known.again(6) == known


def test_the_horizon_itself_is_in_time() -> None:
    assert not too_late(10, 15, 5)
    assert too_late(10, 16, 5)
    assert not too_late(10, 3, 5)  # known before the request's own time, by another clock
    chain = tuple(KnownTruth(t, t, 0, 0, b"") for t in (11, 15, 16, 20))
    assert [in_time(chain, event_time, 5) for event_time in (0, 9, 10, 15)] == [0, 1, 2, 4]
