"""Refused requests by field: what is found, what is not, and that a state goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.drift.finding import Finding
from streams.drift.policy import Drift
from streams.drift.rejections import STEP, Rejections, refused

NAMES = ["distance", "carrier"]


def test_a_reason_names_its_fields() -> None:
    reasons = [
        "invalid: distance is -3.0, below 0 mi; carrier is 'QQ'; known are AA, UA",
        "invalid: distance is nan; it must be finite",
        "invalid: event_time 1970-01-01 is not between 2013 and 2014",
        "undecodable: the value starts with ff",
        "throttled: client carrier is throttled: 60 requests a second; send again later",
        "",
    ]
    assert refused(NAMES, reasons) == {"distance": 2, "carrier": 1, "event_time": 1, "": 2}


def looked(rejections: Rejections, share: float, batches: int, seed: int = 0) -> list[Finding]:
    """What is found in batches of 100 requests, of which a share is refused for the carrier."""
    drawn = np.random.default_rng(seed).binomial(100, share, batches).tolist()
    found = []
    for at, bad in enumerate(drawn):
        found += rejections.update("v1", 100 - bad, {}, at * 1000, at * 1000 + 999)
        if bad:
            found += rejections.update("v1", bad, {"carrier": bad}, 0, 10**15)
    return found


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_what_is_tolerated_is_never_found(share: float) -> None:
    assert looked(Rejections(NAMES, Drift()), share, 3_000) == []


def test_more_is_found_once_with_its_field_and_share() -> None:
    rejections = Rejections(NAMES, Drift())
    assert looked(rejections, 0.0, 50) == []
    (found,) = looked(rejections, 0.2, 50)
    assert (found.kind, found.subject, found.version) == ("schema", "carrier", "v1")
    assert found.value >= found.threshold
    assert "refused for carrier" in found.effect
    assert found.window_to < 10**6  # by those that were answered: the refused may say any time
    assert Rejections(NAMES, Drift(kinds=("data",))).update("v1", 9_999, {"": 999}, 0, 1) == []


def test_a_handful_in_a_row_is_no_drift() -> None:
    rejections = Rejections(NAMES, Drift())
    assert rejections.update("v1", 8, {"": 8}, 0, 1) == []
    assert rejections.update("v1", STEP, {}, 0, 1) == []


@given(st.integers(0, 120), st.integers(0, 120), st.sampled_from([0.01, 0.05, 0.5]))
def test_a_state_goes_on_where_it_was(before: int, after: int, share: float) -> None:
    whole, first, second = (Rejections(NAMES, Drift()) for _ in range(3))
    expected = looked(whole, share, before, 1) + looked(whole, share, after, 2)
    found = looked(first, share, before, 1)
    second.restore(json.loads(json.dumps(first.state())))
    assert found + looked(second, share, after, 2) == expected


def test_what_is_refused_tells_the_time_only_until_an_answer_does() -> None:
    rejections = Rejections(NAMES, Drift())
    assert rejections.update("v1", 1, {"carrier": 1}, None, None) == []
    (found,) = rejections.update("v1", 4 * STEP, {"carrier": 4 * STEP}, 500, 600)
    assert (found.since, found.window_to) == (500, 600)
    later = Rejections(NAMES, Drift())
    assert later.update("v1", 1, {"carrier": 1}, 10**15, 10**15) == []
    assert later.update("v1", 1, {}, 700, 800) == []
    (found,) = later.update("v1", 4 * STEP, {"carrier": 4 * STEP}, 10**15, 10**15)
    assert (found.since, found.window_to) == (700, 800)


def test_a_state_without_any_event_time_goes_on() -> None:
    first, old, second = (Rejections(NAMES, Drift()) for _ in range(3))
    first.update("v1", 3, {"carrier": 3}, None, None)
    state = json.loads(json.dumps(first.state()))
    second.restore(state)
    assert second.state() == first.state()
    old.restore({**state, "waiting": [3, -1, -1]})  # as older versions wrote it
    assert old.state() == first.state()


@given(st.integers(1, 2 * STEP), st.sampled_from(["carrier", ""]), st.none() | st.just(10**12))
def test_a_stream_of_which_all_is_refused_is_found_after_as_many_as_with_a_known_time(
    size: int, field: str, later: int | None
) -> None:
    def batches(time: int | None) -> tuple[int, Finding]:
        rejections = Rejections(NAMES, Drift())
        for number in range(1, 100 * STEP):
            restored = Rejections(NAMES, Drift())
            restored.restore(json.loads(json.dumps(rejections.state())))
            rejections = restored
            if found := rejections.update("", size, {field: size}, time, time):
                (one,) = found
                assert rejections.update("v1", STEP, {}, later, later) == []
                return number, one
        raise AssertionError("nothing is found")

    (unknown, found), (known, other) = batches(None), batches(500)
    assert unknown == known
    assert unknown * size < 4 * STEP
    assert (found.since, found.window_from, found.window_to) == (None, None, None)
    assert other.since == 500
