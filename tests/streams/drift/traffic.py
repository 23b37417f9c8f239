"""Columns of predictions and outcomes as a worker decodes them, and a version's profile of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from schemas.columns import Column, Columns, constant
from streams.drift.counts import Counts, count_outcomes, count_predictions, parts
from streams.drift.policy import Drift
from streams.drift.reference import Reference
from streams.frame import columns_of
from streams.task import Task
from streams.training.data import prepare
from streams.training.profile import profile
from streams.version import Answers
from tests.streams.tasks import START, task_of

VERSION = "v1"
RATE = 0.1  # of errors
MINUTE_MS = 60_000


def table(n: int, seed: int, shift: float = 0.0, missing: float = 0.05, **fixed: Any) -> Any:
    draw = np.random.default_rng(seed)
    made = pd.DataFrame(
        {
            "size": np.clip(draw.normal(50 + shift, 10, n), 0, 100),
            "age": np.where(draw.random(n) < missing, np.nan, draw.integers(18, 80, n)),
            "fresh": draw.random(n) < 0.7,
            "colour": draw.choice(["red", "green", "blue"], n, p=[0.5, 0.3, 0.2]),
            "shop": draw.choice(["x", "y"], n),
        }
    )
    for name, values in fixed.items():
        made[name] = values
    return made


def answered(n: int, seed: int, rate: float = RATE) -> tuple[Any, Any, Any]:
    """Answers, probabilities, truths; errors at ``rate``."""
    draw = np.random.default_rng(1_000_000 + seed)
    probability = np.where(draw.random(n) < 0.5, draw.uniform(0.7, 0.9, n), draw.uniform(0, 0.3, n))
    answer = probability >= 0.5
    return answer, probability, answer ^ (draw.random(n) < rate)


def columns(task: Task, n: int, seed: int, start: int = START, **changes: Any) -> Columns:
    """n predictions, a minute apart; of outcomes too."""
    rate = changes.pop("rate", RATE)
    answer, probability, truth = answered(n, seed, rate)
    features = columns_of(task.features, table(n, seed, **changes))
    return {
        **features,
        "event_time": Column(start + MINUTE_MS * np.arange(n, dtype=np.int64)),
        "version": constant(VERSION, n),
        "status": constant("answered", n),
        "answer": Column(answer.astype(object)),
        "probability": Column(probability),
        "gate_score": constant(None, n),
        "gate_decision": constant("none", n),
        "truth": Column(truth.astype(object)),
        "previous_truth": constant(None, n),
        "label": constant("true", n),
        "source": constant("system", n),
    }


def reference_of(task: Task | None = None, n: int = 20_000, seed: int = 99) -> Reference:
    """Of n rows of the same kind of traffic, with RATE errors."""
    task = task or task_of("binary")
    answer, probability, truth = answered(n, seed)
    data = table(n, seed)
    data["event_time"] = pd.to_datetime(
        START - MINUTE_MS * np.arange(n, 0, -1), unit="ms", utc=True
    )
    data[task.target.name] = truth
    seen = profile(task, prepare(task, data), Answers(answer, probability))
    seen["drift"] = {"errors": {"size": n, "errors": int((answer != truth).sum())}}
    return Reference(task, VERSION, seen)


def counted(reference: Reference, columns: Columns, policy: Drift | None = None) -> list[Counts]:
    """Predictions and outcomes of a batch, parted as the stage does."""
    found = []
    for version, _, rows in parts(policy or Drift(), columns):
        assert version == VERSION
        found.append(count_predictions(reference.task, reference, columns, rows))
        found.append(count_outcomes(reference.task, reference, columns, rows))
    return found
