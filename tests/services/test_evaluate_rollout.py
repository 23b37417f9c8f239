"""The simulated rollouts decide right where the difference is wide; seeds are fixed."""

from __future__ import annotations

import pytest

from services.evaluate.rollouts import (
    BANDIT,
    CANARY,
    CHAMPION,
    WATCH,
    Floats,
    Stream,
    peeked,
    run,
)


def test_a_much_better_version_is_promoted_and_a_much_worse_one_is_not() -> None:
    assert run(CANARY, 0, 0.0, 5_000).action == "promoted"
    assert run(CANARY, 0, 3.0, 5_000).action == "refused"
    assert run(WATCH, 0, 3.0, 5_000).action == "rolled-back"


def test_a_bandit_loses_less_where_one_arm_is_bad() -> None:
    found = run(BANDIT, 0, 3.0, 2_000, lag=2)
    halves = 0.5 * 2_000 * float((stream_losses(3.0)[1] - stream_losses(3.0)[0]).mean())
    assert 0 < found.regret < halves


def stream_losses(errors: float) -> Floats:
    return Stream(1, errors).losses(20_000)


def test_versions_that_are_alike_are_told_apart_by_peeking_alone() -> None:
    seeds = range(20)
    assert any(peeked(seed, CHAMPION, 2_000) for seed in seeds)
    assert not any(run(CANARY, seed, CHAMPION, 2_000).action for seed in seeds)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_run(seed: int) -> None:
    assert run(BANDIT, seed, 0.7, 1_000) == run(BANDIT, seed, 0.7, 1_000)
