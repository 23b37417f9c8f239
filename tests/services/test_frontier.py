"""How far event time may run: never further than what the loop has made of the truths allows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.demo.frontier import TRAINING_AHEAD_MS, TRUTH_AHEAD_MS, Frontier

PARTITIONS = 3

steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 60_000), st.integers(0, PARTITIONS - 1)),
        st.tuples(st.just("join"), st.integers(0, PARTITIONS - 1), st.just(0)),
        st.tuples(st.just("count"), st.integers(0, PARTITIONS - 1), st.integers(0, 3)),
    ),
    max_size=80,
)


@given(steps)
def test_event_time_waits_for_the_oldest_truth_that_no_feature_counts(
    steps: list[tuple[str, int, int]],
) -> None:
    """A model of the loop that keeps each truth's state by itself."""
    frontier = Frontier()
    now = 0
    time_of: dict[bytes, int] = {}
    published: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    outcomes: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    counted = [0] * PARTITIONS
    for what, first, second in steps:
        if what == "publish":
            now += first
            key = b"%d" % len(time_of)
            time_of[key] = now
            published[second].append(key)
            frontier.published([key], [now])
        elif what == "join" and published[first]:
            key = published[first].pop(0)
            frontier.joined(first, len(outcomes[first]), key)
            outcomes[first].append(key)
        elif what == "count":
            counted[first] = max(counted[first], len(outcomes[first]) - second)
            frontier.counted(first, counted[first])
        done = {key for p in range(PARTITIONS) for key in outcomes[p][: counted[p]]}
        waiting = [time for key, time in time_of.items() if key not in done]
        following = now + 5
        oldest = min(waiting, default=following)
        assert frontier.limit(following).until_ms == oldest + TRUTH_AHEAD_MS
        assert frontier.on_the_way == len(waiting)
        if not waiting:
            assert frontier.limit(None).until_ms is None


def test_a_feature_that_counts_an_outcome_before_it_was_seen_is_not_waited_for() -> None:
    frontier = Frontier()
    frontier.published([b"a"], [100])
    frontier.counted(0, 10)
    frontier.joined(0, 9, b"a")
    assert frontier.limit(None).until_ms is None


def test_truths_of_which_nothing_comes_can_be_given_up() -> None:
    frontier = Frontier()
    frontier.published([b"a", b"b", b"c"], [100, 200, 300])
    frontier.joined(0, 0, b"b")
    assert frontier.without_outcome() == [b"a", b"c"]
    frontier.give_up([b"a", b"c"])
    assert frontier.limit(None).until_ms == 200 + TRUTH_AHEAD_MS


@given(st.permutations(["asked", "answered", "asked again"]))
def test_an_answered_training_holds_nobody_up_in_whatever_order_its_records_come(
    order: list[str],
) -> None:
    frontier = Frontier()
    for what in order:
        if what == "answered":
            frontier.answered("monthly-1")
        else:
            frontier.asked("monthly-1", 5_000)
    assert frontier.limit(None).until_ms is None


def test_event_time_waits_for_a_training_and_says_so() -> None:
    frontier = Frontier()
    frontier.asked("monthly-1", 5_000)
    frontier.asked("manual-2", 9_000)
    limit = frontier.limit(2 * TRAINING_AHEAD_MS)
    assert limit.until_ms == 5_000 + TRAINING_AHEAD_MS
    assert "monthly-1" in limit.waits_for
    frontier.answered("manual-2")  # the trainer takes events in order
    assert frontier.limit(None).until_ms is None
