"""Labels that are missing by a choice bias what is learned from them; weights undo it."""

from __future__ import annotations

from typing import Any

import pytest

from services.evaluate.weighting import compare, summary

SEEDS = 2


@pytest.fixture(scope="module", params=["gate", "exposure"])
def means(request: pytest.FixtureRequest) -> dict[str, Any]:
    runs = [compare(request.param, "straight", seed) for seed in range(SEEDS)]
    found: dict[str, Any] = summary(runs)[request.param]["straight"]
    return found


def test_weights_bring_a_versions_own_figures_nearer_to_the_truth(means: dict[str, Any]) -> None:
    assert means["weighted"]["off_by"] < means["as they are"]["off_by"] / 2
    assert means["off_by_seeds_won"] == SEEDS


def test_weights_set_a_model_right_that_cannot_bend(means: dict[str, Any]) -> None:
    everything = means["all labels"]["loss"]
    assert means["weighted"]["loss"] - everything < (means["as they are"]["loss"] - everything) / 2


def test_weights_keep_the_gate_to_its_budget(means: dict[str, Any]) -> None:
    assert means["as they are"]["deferred"] > 0.2
    assert means["weighted"]["deferred"] < 0.15


def test_a_seed_gives_the_same_figures_again() -> None:
    assert compare("queue", "straight", 7) == compare("queue", "straight", 7)
