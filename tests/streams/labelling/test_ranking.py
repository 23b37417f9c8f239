"""The order of the queue, its random share, and the probabilities that it states."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import Column
from streams.labelling.policy import Labelling
from streams.labelling.ranking import codes, draws, most_valuable, rank, rate

POLICY = Labelling(budget=20, random_share=0.25)


@st.composite
def candidates(draw):
    n = draw(st.integers(0, 60))
    seed = draw(st.integers(0, 1000))
    generator = np.random.default_rng(seed)
    values = np.round(generator.random(n), draw(st.sampled_from([1, 6])))
    kinds = generator.integers(0, 3, (n, 4)).astype(np.int32)
    return values, draws(seed, map(str, range(n))), kinds


policies = st.builds(
    Labelling,
    budget=st.integers(0, 40),
    random_share=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    diversity=st.sampled_from([0.0, 0.5, 1.0]),
)


@given(candidates(), policies, st.integers(0, 500), st.integers(0, 30), st.data())
def test_the_queue_fills_what_is_left_of_the_budget_with_different_inputs(
    given_, policy, inputs, done, data
) -> None:
    lucky = data.draw(st.integers(0, done))
    queue = rank(policy, *given_, inputs, done, lucky)
    rows = [pick.row for pick in queue]
    assert len(set(rows)) == len(rows) == min(max(policy.budget - done, 0), len(given_[0]))
    assert queue == rank(policy, *given_, inputs, done, lucky)


@given(candidates(), policies, st.integers(0, 500))
def test_each_pick_states_the_probability_with_which_it_was_chosen(given_, policy, inputs) -> None:
    value, draw, kinds = given_
    queue = rank(policy, value, draw, kinds, inputs)
    for pick in queue:
        assert pick.probability == (1.0 if pick.lane == "value" else rate(policy, inputs))
        if pick.lane == "chance":
            assert draw[pick.row] < pick.probability
    # Those chosen for their value are the most valuable, whatever the draw.
    by_value = [pick.row for pick in queue if pick.lane == "value"]
    assert by_value == most_valuable(value, kinds, len(by_value), policy.diversity).tolist()
    assert sum(pick.lane == "chance" for pick in queue) <= round(
        policy.random_share * policy.budget
    )


@given(candidates(), policies)
def test_the_share_of_chance_is_kept_at_every_place_of_the_queue(given_, policy) -> None:
    queue = rank(policy, *given_, inputs=0)  # every input is drawn
    lucky = 0
    for place, pick in enumerate(queue, 1):
        lucky += pick.lane == "chance"
        if any(later.lane == "value" for later in queue[place:]):
            assert lucky <= policy.random_share * place + 1e-6
        if any(later.lane == "chance" for later in queue[place:]):
            assert lucky > policy.random_share * place - 1 - 1e-6


def test_sums_weighted_by_the_inverse_probability_are_without_bias() -> None:
    """Over many seeds of the draw, the mean of the estimate is the sum over all inputs."""
    generator = np.random.default_rng(1)
    n = 400
    value, what = generator.random(n), generator.random(n)
    kinds = generator.integers(0, 3, (n, 3)).astype(np.int32)
    policy = Labelling(budget=100, random_share=0.5, diversity=0.5)
    ids = [f"r{i}" for i in range(n)]
    found = []
    for seed in range(300):
        draw = draws(seed, ids)
        # Chance draws a varying number; with room for all of them none is cut off.
        lucky = draw < rate(policy, n)
        best = set(most_valuable(value, kinds, 50, 0.5).tolist())
        found.append(
            sum(
                what[i] if i in best else what[i] / rate(policy, n)
                for i in range(n)
                if i in best or lucky[i]
            )
        )
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - what.sum()) < 4 * error


def test_the_draw_of_an_id_is_always_the_same_and_uniform() -> None:
    one = draws(7, [f"request-{i}" for i in range(20_000)])
    assert one[:2].tolist() == draws(7, ["request-0", "request-1"]).tolist()
    assert one.min() >= 0
    assert one.max() < 1
    assert np.histogram(one, 10, (0, 1))[0] == pytest.approx(2_000, rel=0.1)
    assert abs(np.corrcoef(one, draws(8, [f"request-{i}" for i in range(20_000)]))[0, 1]) < 0.03


def test_near_duplicates_do_not_fill_the_queue() -> None:
    value = np.array([0.9] * 50 + [0.5, 0.4])
    kinds = np.array([[1, 1, 1]] * 50 + [[2, 2, 1], [3, 3, 3]], np.int32)
    assert most_valuable(value, kinds, 3, 1.0).tolist() == [0, 51, 50]
    assert most_valuable(value, kinds, 3, 0.0).tolist() == [0, 1, 2]


def test_chance_that_draws_too_few_leaves_its_places_to_value() -> None:
    value, kinds = np.arange(10.0), np.zeros((10, 1), np.int32)
    never = np.full(10, 0.999)
    queue = rank(replace(POLICY, diversity=0.0), value, never, kinds, inputs=1_000_000)
    assert [pick.row for pick in queue] == list(range(9, -1, -1))
    assert {pick.lane for pick in queue} == {"value"}


@given(st.lists(st.none() | st.floats(-5, 5), max_size=30))
def test_equal_numbers_are_alike_and_missing_ones_too(values) -> None:
    column = Column(
        np.array([v or 0.0 for v in values]), np.array([v is not None for v in values], bool)
    )
    found = codes({"x": column}, ["x"])[:, 0]
    for one, code in zip(values, found, strict=True):
        for other, another in zip(values, found, strict=True):
            if one == other:
                assert code == another
        assert (code == -1) == (one is None)


def test_names_are_alike_where_they_are_equal() -> None:
    column = Column(np.array(["a", "b", "a"], object))
    a, b, again = codes({"x": column}, ["x"])[:, 0]
    assert a == again != b


def test_a_wrong_declaration_tells_everything_that_is_wrong_with_it() -> None:
    wrong = Labelling(
        budget=-1,
        per=timedelta(0),
        random_share=1.5,
        uncertainty=-1,
        novelty=float("nan"),
        diversity=2,
        lease=timedelta(0),
        skips=0,
    )
    said = "\n".join(wrong.problems())
    for name in [
        "budget",
        "per",
        "random_share",
        "uncertainty",
        "novelty",
        "diversity",
        "lease",
        "skips",
    ]:
        assert name in said
    assert Labelling().problems() == []
    idle = Labelling(uncertainty=0, disagreement=0, novelty=0)
    assert "every weight is 0" in idle.problems()[0]


def test_the_declaration_is_the_same_after_a_way_through_json() -> None:
    policy = Labelling(budget=3, per=timedelta(hours=6), lease=timedelta(seconds=90))
    assert Labelling.of({**policy.facts(), "of_a_later_version": 1}) == policy
    assert Labelling.of({}) == Labelling()
