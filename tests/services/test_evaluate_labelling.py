"""The closed loop that measures the labelling queue."""

from __future__ import annotations

import numpy as np
import pytest

from services.evaluate.labelling import Plan, choose, compare, flights, summary

PLAN = Plan(start=400, rounds=1, arrive=300, each=20)


@pytest.fixture(scope="module")
def world():
    return flights()


def test_the_queue_chooses_as_many_different_inputs_as_chance_of_those_that_arrived(world) -> None:
    task, stream = world
    labelled = np.arange(0, stream.begin, 40)
    arrived = np.arange(stream.begin, stream.begin + 300)
    with_onlooker = choose(task, stream, labelled, arrived, PLAN, 1)
    alone = choose(task, stream, labelled, arrived, PLAN, 1, onlooker=False)
    for rows in (with_onlooker, alone):
        assert len(set(rows.tolist())) == PLAN.each
        assert np.isin(rows, arrived).all()
    assert set(with_onlooker.tolist()) != set(alone.tolist())
    assert choose(task, stream, labelled, arrived, PLAN, 1).tolist() == with_onlooker.tolist()


def test_a_seed_gives_the_same_figures_again(world) -> None:
    task, stream = world
    one, again = (compare(task, stream, PLAN, 3) for _ in range(2))
    assert {k: v for k, v in one.items() if k != "cpu_s"} == {
        k: v for k, v in again.items() if k != "cpu_s"
    }


def test_the_summary_tells_the_lead_and_its_error() -> None:
    found = [
        {"start": 0.6, "chance": 0.7, "chance_twice": 0.72, "queue_alone": 0.69, "queue": q}
        | {"cpu_s": 1.0}
        for q in (0.71, 0.73)
    ]
    told = summary(found, PLAN)
    assert told["queue_lead"] == 0.02
    assert told["queue_lead_error"] == 0.01
    assert (told["queue_seeds_won"], told["queue_alone_seeds_won"]) == (2, 0)
    assert (told["labels_at_start"], told["labels"]) == (400, 420)
