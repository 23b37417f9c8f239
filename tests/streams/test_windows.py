"""Windows over panes: which spans hold a pane, and when they are worth telling of."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.horizon import IDLE_MS
from streams.sources import Sources
from streams.tally import pane_ms
from streams.task import Window
from streams.windows import Span, begun, oldest_needed, spans_of

DAY_MS = 86_400_000


def window(length_s: int, slide_s: int) -> Window:
    return Window(timedelta(seconds=length_s), timedelta(seconds=slide_s))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    slide = draw(st.integers(1, 100))
    return window(slide * draw(st.integers(1, 8)), slide)


@given(windows(), windows(), st.integers(-(10**6), 10**6))
def test_a_pane_is_in_every_window_that_covers_it_and_in_no_other(
    one: Window, other: Window, time_s: int
) -> None:
    pane = pane_ms([one, other])
    start = time_s * 1000 // pane * pane
    for each in (one, other):
        length = round(each.length.total_seconds() * 1000)
        slide = round(each.slide.total_seconds() * 1000)
        found = list(spans_of(each, start))
        covering = [
            first
            for first in range((start - length) // slide * slide, start + slide, slide)
            if first <= start and start + pane <= first + length
        ]
        assert [span.start for span in found] == covering
        for span in found:
            assert span.name == each.name
            assert span.end - span.start == length
            # The window is a union of whole panes, this one among them.
            assert start in span.panes(pane)
            assert len(span.panes(pane)) * pane == length


@pytest.mark.parametrize(
    ("spans", "pane_s"),
    [
        ([(86400, 86400)], 86400),
        ([(86400, 86400), (7 * 86400, 86400)], 86400),
        ([(90, 90), (60, 20)], 10),
    ],
)
def test_panes_are_the_largest_that_all_windows_are_made_of(
    spans: list[tuple[int, int]], pane_s: int
) -> None:
    assert pane_ms([window(*span) for span in spans]) == pane_s * 1000


def test_a_window_is_told_of_from_its_last_slide_on() -> None:
    sliding = window(3 * 86400, 86400)
    span = Span(sliding.name, 0, 3 * DAY_MS)
    assert not begun(span, sliding, 2 * DAY_MS - 1)
    assert begun(span, sliding, 2 * DAY_MS)
    tumbling = window(86400, 86400)
    assert begun(Span(tumbling.name, 0, DAY_MS), tumbling, 0)


def test_panes_are_needed_as_long_as_a_late_truth_may_change_their_windows() -> None:
    both = (window(86400, 86400), window(3 * 86400, 86400))
    needed = oldest_needed(both, 100 * DAY_MS, 2 * DAY_MS)
    # The oldest request that a truth of now may be about, and every window that holds it.
    oldest_request = 98 * DAY_MS
    assert all(span.start >= needed for each in both for span in spans_of(each, oldest_request))


def test_the_slowest_source_counts_once_all_are_heard_of() -> None:
    sources = Sources(["a", "b"], now_ms=0)
    assert sources.slowest(0) is None
    assert sources.saw("a", 100, 1)
    assert sources.slowest(1) is None  # who knows where b is
    assert sources.saw("b", 5, 2)
    assert sources.slowest(2) == 5
    assert not sources.saw("b", 3, 3)
    assert sources.slowest(3) == 5


def test_a_source_that_is_silent_holds_nobody_up() -> None:
    sources = Sources(["a", "b"], {"a": 7}, now_ms=0)
    sources.saw("b", 100, 1)
    assert sources.slowest(IDLE_MS - 1) == 7
    assert sources.slowest(IDLE_MS) == 100
    sources.saw("a", 8, IDLE_MS)
    assert sources.slowest(IDLE_MS) == 8
    assert sources.slowest(3 * IDLE_MS) is None
