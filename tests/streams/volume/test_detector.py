"""Who jumps is told in time, who does not is left alone, and what is saved goes on."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.volume.buckets import IDLE_MS, Buckets
from streams.volume.counts import BUCKET_MS
from streams.volume.detector import Change, Detector
from streams.volume.policy import Volume

HOUR = 3_600_000 // BUCKET_MS
DAY = 24 * HOUR
SETTLED = HOUR + 10


def run(
    detector: Detector,
    rates: np.ndarray,
    buckets: range,
    seed: int = 0,
    held: float = 0.1,
    jump: tuple[int, float] | None = None,
) -> list[Change]:
    """Poisson requests of clients c0, c1, …; rates: a bucket. jump: a client, and how much."""
    chance = np.random.default_rng([seed, buckets.start])
    changes = []
    for bucket in buckets:
        means = rates.copy()
        if jump:
            means[jump[0]] *= jump[1]
        n = chance.poisson(means)
        there = np.flatnonzero(n)
        names = [f"c{i}" for i in there]
        changes += detector.look(bucket, names, n[there], chance.binomial(n[there], held))
    return changes


def told(changes: list[Change]) -> list[tuple[str, str]]:
    return [(change.client, change.state) for change in changes]


RATES = np.array([20.0, 5.0, 1.0, 0.1])


@pytest.mark.parametrize("client", [0, 1, 2])
def test_a_tenfold_rise_is_told_within_a_minute_and_once_and_so_is_its_end(client: int) -> None:
    """Of clients with six requests a minute and more."""
    detector = Detector(Volume())
    assert run(detector, RATES, range(1, 3 * HOUR)) == []
    changes = run(detector, RATES, range(3 * HOUR, 3 * HOUR + 30), jump=(client, 10.0))
    of_client = [change for change in changes if change.client == f"c{client}"]
    assert told(of_client) == [(f"c{client}", "begun")]
    (begun,) = of_client
    assert begun.bucket < 3 * HOUR + 6
    assert 3 * HOUR - 2 <= begun.jump.since <= begun.bucket
    assert begun.jump.evidence >= begun.jump.threshold
    assert begun.jump.usual * 10 == pytest.approx(RATES[client], rel=0.25)
    changes = run(detector, RATES, range(3 * HOUR + 30, 4 * HOUR))
    assert (f"c{client}", "over") in told(changes)
    assert detector.jumping == {}


def test_the_whole_stream_may_jump_while_no_client_is_known() -> None:
    detector = Detector(Volume())
    many = np.full(2_000, 0.005)
    assert run(detector, many, range(1, 2 * HOUR)) == []
    changes = run(detector, many * 10, range(2 * HOUR, 2 * HOUR + 6))
    assert told(changes)[0] == ("", "begun")


def test_what_is_held_back_may_jump_too() -> None:
    detector = Detector(Volume())
    run(detector, RATES, range(1, 2 * HOUR), held=0.03)
    assert detector.jumping == {}
    n = np.array([20, 5])
    changes = [
        change
        for bucket in range(2 * HOUR, 2 * HOUR + 12)
        for change in detector.look(bucket, ["c0", "c1"], n, np.array([12, 0]))
    ]
    assert told(changes) == [("c0", "begun")]
    assert changes[0].jump.statistic == "held_back"


def test_another_version_may_hold_back_another_share() -> None:
    detector = Detector(Volume())
    detector.serve("v1")
    run(detector, RATES, range(1, 2 * HOUR), held=0.03)
    detector.serve("v2")
    assert run(detector, RATES, range(2 * HOUR, 4 * HOUR), held=0.5) == []


def test_who_is_new_is_not_judged_and_a_lasting_jump_becomes_the_usual() -> None:
    policy = Volume(accept=timedelta(hours=2))
    detector = Detector(policy)
    run(detector, RATES, range(1, 2 * HOUR))
    new = np.array([*RATES, 300.0])  # the whole stream's, too, and that is told
    changes = run(detector, new, range(2 * HOUR, 6 * HOUR))
    assert told(changes) == [("", "begun"), ("", "on"), ("", "over")]
    assert run(detector, new, range(6 * HOUR, 7 * HOUR)) == []


def test_hours_that_are_always_busy_are_no_jump_once_they_are_known() -> None:
    detector = Detector(Volume(season="hour_of_day", memory=timedelta(days=3)))
    busy = {hour: 20.0 if hour in (8, 9) else 1.0 for hour in range(24)}
    changes = []
    for hour in range(2 * 24):
        rates = 0.2 * RATES * busy[hour % 24]
        changes += run(detector, rates, range(max(1, hour * HOUR), (hour + 1) * HOUR))
    assert changes == []
    quiet = 2 * DAY + 2 * HOUR
    changes = run(detector, 0.2 * RATES, range(2 * DAY, quiet))
    changes += run(detector, 0.2 * RATES, range(quiet, quiet + 6), jump=(0, 20.0))
    assert ("c0", "begun") in told(changes)


def test_a_silent_stream_is_away_and_its_return_is_no_jump() -> None:
    detector = Detector(Volume())
    run(detector, RATES, range(1, 2 * HOUR))
    assert run(detector, RATES, range(30 * DAY, 30 * DAY + HOUR)) == []


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.integers(0, 3))
def test_what_is_saved_goes_on_as_if_nothing_had_been(seed: int, client: int) -> None:
    policy = Volume(settle=timedelta(minutes=1))
    one, two = Detector(policy), Detector(policy)
    found: list[list[Change]] = [[], []]
    for start in range(1, 61, 15):
        jump = (client, 30.0) if start > 30 else None
        found[0] += run(one, 5 * RATES, range(start, start + 15), seed, jump=jump)
        found[1] += run(two, 5 * RATES, range(start, start + 15), seed, jump=jump)
        again = Detector(policy)
        again.restore(two.state())
        two = again
    assert [(c.client, c.state, c.bucket, c.jump.evidence) for c in found[0]] == [
        (c.client, c.state, c.bucket, c.jump.evidence) for c in found[1]
    ]
    assert one.state() == two.state()


def test_memory_is_bounded_by_the_clients_that_are_remembered() -> None:
    detector = Detector(Volume(clients=50))
    for bucket in range(1, 200):
        names = [f"c{bucket}-{i}" for i in range(100)]
        ones = np.ones(100, np.int64)
        detector.look(bucket, names, ones, 0 * ones)
    assert len(detector.state()["table"]) < 10_000


def test_everything_wrong_with_a_policy_is_told_and_it_survives_as_json() -> None:
    wrong = Volume(
        rise=2.0, usual=3.0, action="drop", season="summer", settle=timedelta(0), clients=0,  # type: ignore[arg-type]
        false_alarm_every=1,
    )  # fmt: skip
    found = "\n".join(wrong.problems())
    for word in ("rise", "action", "season", "settle", "clients", "false_alarm_every"):
        assert word in found
    policy = Volume(action="quarantine", memory=timedelta(days=2))
    assert policy.problems() == []
    assert Volume.of(policy.facts()) == policy


@st.composite
def arrivals(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Buckets of two partitions, each in its order, as they take turns."""
    left = {s: sorted(draw(st.lists(st.integers(0, 30), max_size=20))) for s in ("t/0", "t/1")}
    found = []
    while any(left.values()):
        source = draw(st.sampled_from([s for s, buckets in left.items() if buckets]))
        found.append((source, left[source].pop(0)))
    return found


@given(arrivals())
def test_however_partitions_take_turns_the_buckets_are_the_same(
    turns: list[tuple[str, int]],
) -> None:
    buckets = Buckets(["t/0", "t/1"])
    seen: dict[int, int] = {}
    at = 0
    for source, bucket in turns:
        one = np.array([1])
        late = buckets.add(source, bucket * BUCKET_MS, ["a"], np.array([bucket]), one, 0 * one, at)
        assert late == 0
        for over, names, n, _ in buckets.over(at):
            assert names == ["a"]
            assert over not in seen
            assert over >= max(seen, default=0)
            seen[over] = int(n[0])
    for source in ("t/0", "t/1"):
        nothing = np.zeros(0, np.int64)
        buckets.add(source, 1_000 * BUCKET_MS, [], nothing, nothing, nothing, at)
    seen |= {over: int(n[0]) for over, _, n, _ in buckets.over(at)}
    assert seen == {b: sum(bucket == b for _, bucket in turns) for _, b in turns}


def test_a_partition_in_which_nothing_comes_is_not_waited_for_long() -> None:
    buckets = Buckets(["t/0", "t/1"])
    one = np.array([1])
    buckets.add("t/0", 5 * BUCKET_MS, ["a"], np.array([1]), one, one, 0)
    assert list(buckets.over(IDLE_MS - 1)) == []
    buckets.add("t/0", 6 * BUCKET_MS, ["a"], np.array([5]), one, one, IDLE_MS - 1)
    assert [over[0] for over in buckets.over(IDLE_MS)] == [1, 5]
    assert buckets.add("t/1", BUCKET_MS, ["a"], np.array([1]), one, one, IDLE_MS) == 1
