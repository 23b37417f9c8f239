"""The fault plan and the load follow from the seed; the account finds what is planted."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.faults import account
from services.faults.account import Outcomes, Predictions
from services.faults.plan import FEWEST_REQUESTS, Fault, Kind, make_plan
from services.faults.task import Probe
from services.faults.traffic import FLAVOURS, SPAN_MS, START_MS, Expected, Traffic
from services.verify import recount
from streams.task import millis

seeds = st.integers(0, 2**63 - 1)
sizes = st.integers(0, 200).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(max(1, n) * FEWEST_REQUESTS, 2_000_000))
)


@given(seeds, sizes)
def test_a_seed_gives_one_plan(seed: int, size: tuple[int, int]) -> None:
    assert make_plan(seed, *size) == make_plan(seed, *size)


@given(seeds, sizes)
def test_faults_come_in_order_within_the_load_and_apart(seed: int, size: tuple[int, int]) -> None:
    faults, requests = size
    begins = [fault.at for fault in make_plan(seed, faults, requests)]
    assert len(begins) == faults
    assert all(0 <= at < requests for at in begins)
    least = int(0.2 * requests / max(1, faults)) - 1
    assert all(b - a >= least for a, b in itertools.pairwise(begins))


@given(seeds, sizes)
def test_each_kind_comes_as_often_as_the_others(seed: int, size: tuple[int, int]) -> None:
    counts = Counter(fault.kind for fault in make_plan(seed, *size))
    of_each = [counts[kind] for kind in Kind]
    assert max(of_each) - min(of_each) <= 1


@given(seeds, sizes, st.lists(st.sampled_from(Kind), min_size=1, unique=True))
def test_only_the_kinds_that_are_asked_for_come(
    seed: int, size: tuple[int, int], kinds: list[Kind]
) -> None:
    assert {fault.kind for fault in make_plan(seed, *size, kinds)} <= set(kinds)
    assert make_plan(seed, *size, list(Kind)) == make_plan(seed, *size)


def test_plans_of_different_seeds_differ() -> None:
    assert make_plan(1, 20, 20_000) != make_plan(2, 20, 20_000)


@given(seeds, sizes, st.floats(0.1, 60))
def test_no_fault_is_longer_than_asked_for(
    seed: int, size: tuple[int, int], longest_s: float
) -> None:
    plan = make_plan(seed, *size, longest_s=longest_s)
    assert all(0 < fault.seconds <= longest_s + 0.005 for fault in plan)  # told in hundredths
    assert [fault.at for fault in plan] == [fault.at for fault in make_plan(seed, *size)]


def test_too_few_requests_for_the_faults_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 100 requests a fault"):
        make_plan(0, 10, 999)


def _everything(traffic: Traffic) -> list[list[object]]:
    return [
        [b.first, b.event_time.tolist(), b.drawn.load.tolist(), b.drawn.fails.tolist()]
        + [[t.n.tolist(), t.known_at.tolist(), t.truth.tolist()] for t in (b.early, b.truths)]
        + [list(b.poison)]
        for b in traffic.blocks()
    ]


def test_a_seed_gives_one_load() -> None:
    assert _everything(Traffic(7, 3_000, [50])) == _everything(Traffic(7, 3_000, [50]))
    assert _everything(Traffic(7, 3_000)) != _everything(Traffic(8, 3_000))


@given(st.integers(0, 1000), st.integers(1, 3_000))
def test_every_request_is_in_the_load_once_and_event_time_stays_within_the_span(
    seed: int, requests: int
) -> None:
    traffic = Traffic(seed, requests)
    times = np.concatenate([block.event_time for block in traffic.blocks()])
    assert len(times) == requests
    assert (np.diff(times) >= 0).all()
    assert times[0] >= START_MS
    assert times[-1] < START_MS + SPAN_MS


def test_no_truth_of_the_load_comes_past_the_horizon() -> None:
    last = max(
        int(truths.known_at.max())
        for block in Traffic(3, 5_000).blocks()
        for truths in (block.early, block.truths)
        if len(truths)
    )
    assert last - START_MS < Probe.horizon_ms
    earliest, latest = Probe.event_times
    assert earliest is not None
    assert latest is not None
    assert millis(earliest) < START_MS
    assert last < millis(latest)


def test_the_load_has_early_late_repeated_and_corrected_truths() -> None:
    traffic = Traffic(3, 5_000)
    early = sum(len(block.early) for block in traffic.blocks())
    truths: dict[int, list[bool]] = {}
    for block in traffic.blocks():
        for some in (block.early, block.truths):
            for n, truth in zip(some.n.tolist(), some.truth.tolist(), strict=True):
                truths.setdefault(n, []).append(truth)
    assert early > 100
    assert any(len(said) > 1 and len(set(said)) == 1 for said in truths.values())
    assert any(len(set(said)) == 2 for said in truths.values())
    assert (traffic.expected().final == -1).sum() == 5_000 - len(truths)


def test_a_burst_brings_every_flavour_of_poison() -> None:
    traffic = Traffic(0, 1_000, [100, 700])
    flavours = {bad.flavour for block in traffic.blocks() for bad in block.poison}
    assert flavours == set(FLAVOURS)
    numbers = [bad.number for block in traffic.blocks() for bad in block.poison]
    assert len(numbers) == len(set(numbers))


EXPECTED = Expected(np.array([1, 0, -1], np.int8), 3, {"requests": 2}, np.array([5]))
ASKED = np.array([0, 1, 2, -6])


def predictions(*numbers: int, rejected: tuple[int, ...] = (-6,)) -> Predictions:
    return Predictions(np.array(numbers), np.isin(numbers, rejected))


def nonzero(figures: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in figures.items() if count}


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        (predictions(0, 1, 2, -6), {}),
        (predictions(0, 2, -6), {"lost": 1}),
        (predictions(0, 1, 1, 2, -6), {"duplicates": 1}),
        (predictions(0, 1, 2), {"poison_untold": 1}),
        (predictions(0, 1, 2, -6, -6), {"poison_told_twice": 1}),
        (predictions(0, 1, 2, -6, 9), {"unasked": 1}),
        (predictions(0, 1, 2, -6, rejected=(1, -6)), {"refused": 1}),
    ],
)
def test_predictions_are_counted(found: Predictions, wrong: dict[str, int]) -> None:
    assert nonzero(account.predictions_figures(EXPECTED, ASKED, found)) == wrong


def outcomes(*rows: tuple[int, int, int, int]) -> Outcomes:
    number, revision, truth, previous = np.array(rows, np.int64).reshape(-1, 4).T
    return Outcomes(number, revision, truth.astype(np.int8), previous.astype(np.int8))


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        (outcomes((0, 0, 1, -1), (1, 0, 0, -1)), {}),
        (outcomes((0, 0, 0, -1), (0, 1, 1, 0), (1, 0, 0, -1)), {}),
        (outcomes((0, 0, 1, -1)), {"outcomes_lost": 1}),
        (outcomes((0, 0, 0, -1), (1, 0, 0, -1)), {"outcomes_lost": 1}),
        (outcomes((0, 0, 1, -1), (0, 0, 1, -1), (1, 0, 0, -1)), {"outcomes_double_counted": 1}),
        (outcomes((0, 0, 1, -1), (1, 0, 0, -1), (2, 0, 1, -1)), {"outcomes_double_counted": 1}),
        (outcomes((0, 0, 1, -1), (1, 1, 0, 1)), {"outcomes_double_counted": 1}),
    ],
)
def test_outcomes_are_counted(found: Outcomes, wrong: dict[str, int]) -> None:
    assert nonzero(account.outcomes_figures(EXPECTED, found)) == wrong


def test_dead_letters_are_counted_by_the_record_they_are_about() -> None:
    first, second, other = ("requests", 0, 1), ("requests", 0, 2), ("truth", 0, 0)
    count = account.dead_letter_figures
    assert nonzero(count(EXPECTED, [first, second])) == {}
    assert nonzero(count(EXPECTED, [first])) == {"dead_letters_lost": 1}
    assert nonzero(count(EXPECTED, [first, second, second])) == {"dead_letters_doubled": 1}
    assert nonzero(count(EXPECTED, [first, second, other])) == {"dead_letters_unexpected": 1}


def test_rows_are_compared_by_their_origin() -> None:
    topics = {"truth": {0: np.array([0, 1, 5])}, "models": {0: np.array([3])}}
    rows = {"truth": {0: np.array([0, 5, 5, 7])}, "models": {0: np.array([1, 3])}}
    assert account.sink_figures(topics, rows, ["models"]) == {
        "sink_lost": 1,  # 1
        "sink_duplicates": 2,  # 5 again, and 7 that no record stands behind
    }


def test_an_event_of_the_trainer_has_one_version() -> None:
    figures = account.trainer_figures(["a", "b"], [("a", "v1"), ("a", "v1"), ("a", "v2")])
    assert figures == {"retrains_lost": 1, "retrains_doubled": 1}


def test_recoveries_are_told_by_kind() -> None:
    figures = account.recovery_figures([("x", 1.0), ("x", 3.0), ("y", 2.0)])
    assert (figures["p50"], figures["max"]) == (2.0, 3.0)
    assert figures["by_kind"]["x"] == {"p50": 2.0, "max": 3.0}
    assert account.recovery_figures([])["max"] is None


def _tables(n: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    chance = np.random.default_rng(0)
    truth = chance.random(n) < 0.5
    probability = np.clip(0.5 * truth + 0.5 * chance.random(n), 0, 1)
    asked = pd.DataFrame(
        {
            "request_id": [f"r{i}" for i in range(n)],
            "event_time": START_MS + np.arange(n) * (3 * 3_600_000 // n),
            "status": "answered",
            "version": "v",
            "role": "champion",
            "site": np.where(np.arange(n) % 2, "north", "south"),
        }
    )
    return asked, asked.assign(truth=truth, answer=probability >= 0.5, probability=probability)


def _windows(asked: pd.DataFrame, known: pd.DataFrame) -> dict[recount.Key, dict[str, object]]:
    return recount.windows(asked, known, Probe)


def test_windows_are_recounted_for_all_traffic_and_each_segment() -> None:
    found = _windows(*_tables(300))
    key = ("tumbling_1h", START_MS, "v", "champion", "", "")
    assert found[key]["predictions"] == found[key]["outcomes"] == 100
    assert found[key]["complete"] is True
    assert found[(*key[:4], "site", "north")]["predictions"] == 50
    assert found[("sliding_6h_1h", START_MS - 3 * 3_600_000, *key[2:])]["predictions"] == 300


def test_a_window_that_counts_an_outcome_twice_is_wrong() -> None:
    asked, known = _tables(300)
    right, wrong = _windows(asked, known), _windows(asked, pd.concat([known, known.head(1)]))
    assert recount.differences(right, right) == {}
    lines = recount.lines(recount.differences(right, wrong))
    assert lines
    assert all("outcomes is" in line for line in lines)
    assert recount.differences(right, {}).keys() == recount.differences({}, right).keys()
    assert recount.differences(right, {}).keys() == right.keys()


def test_a_fault_says_what_it_is() -> None:
    assert isinstance(make_plan(0, 1, 100)[0], Fault)
