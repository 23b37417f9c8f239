from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import Kind
from streams.training.behaviour import MEASURES
from streams.training.metrics import loss, losses, scores
from streams.version import Answers
from tests.streams.tasks import KINDS, task_of

CLASSES = np.array(["a", "b", "c"], object)


def drawn(kind: str, seed: int, n: int = 40) -> tuple[Any, Answers]:
    draw = np.random.default_rng(seed)
    if kind == "regression":
        return draw.normal(size=n), Answers(draw.normal(size=n))
    if kind == "binary":
        probability = np.concatenate([draw.random(n - 2), [0.0, 1.0]])
        return draw.random(n) < 0.4, Answers(probability > 0.5, probability)
    probabilities = draw.dirichlet([1, 1, 1], n)
    best = probabilities.argmax(axis=1)
    return draw.choice(CLASSES, n), Answers(CLASSES[best], probabilities.max(1), probabilities)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10_000), weighted=st.booleans())
def test_the_loss_is_the_mean_of_the_rows_losses(kind: str, seed: int, weighted: bool) -> None:
    task, (truth, given_) = task_of(kind), drawn(kind, seed)
    weight = np.random.default_rng(seed).integers(1, 9, len(truth)) / 2 if weighted else None
    mean = np.average(losses(task, truth, given_), weights=weight)
    assert mean == pytest.approx(loss(task, truth, given_, weight), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_behavioural_test_may_ask_for_is_measured(kind: Kind) -> None:
    assert set(MEASURES[kind]) <= set(scores(task_of(kind), *drawn(kind, 1)))
