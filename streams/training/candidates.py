"""Which candidate: each is fitted on the same rows and judged on the rows after them.

Where rows stand for different numbers of requests, each is fitted with these weights and without
them, and both are judged with them. Weights set a model right that cannot bend as far as the truth
does; one that can learns the same without them, and only loses precision by them (Shimodaira 2000,
Byrd and Lipton 2019). Which it is the validation tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd
from sklearn.dummy import DummyClassifier, DummyRegressor

from streams.task import Task
from streams.training.data import Dataset
from streams.training.errors import FitError
from streams.training.fitting import answers, check_answers_all, fit, weight_name
from streams.training.metrics import loss
from streams.version import Answers


@dataclass(frozen=True, eq=False)
class Choice:
    """The chosen candidate, fitted on the training rows.

    stands: whether it was fitted with rows that stand for all requests (True where all do).
    loss: its loss on validation; losses: of all by name, those fitted without the weights as
    ``<name> unweighted``; refused: why candidates could not be judged; baseline: its loss.
    """

    name: str
    stands: bool
    model: Any
    loss: float
    losses: Mapping[str, float]
    refused: Mapping[str, str]
    baseline: float

    def answers(self, task: Task, frame: pd.DataFrame) -> Answers:
        """Its answers to the rows of a frame, as a version gives them. Raises FitError."""
        return answers(task, self.model, frame)

    @property
    def beats_baseline(self) -> bool:
        """Whether it is better than what one would use without a model."""
        return self.loss < self.baseline


def choose(task: Task, data: Dataset) -> Choice:
    """The candidate with the smallest loss on validation; the first declared of equal ones.

    Raises FitError where no candidate can be fitted and asked.
    """
    models: dict[str, tuple[str, bool, Any]] = {}
    losses: dict[str, float] = {}
    refused: dict[str, str] = {}
    frame, target = data.rows(data.train)
    asked = data.judged(data.validation)
    (later, truth), count = data.rows(asked), data.weights(asked)
    ways = {"": True} if data.weight is None else {"": True, " unweighted": False}
    for name, (suffix, stands) in product(task.candidates, ways.items()):
        own = name + suffix
        try:
            weight = data.lessons(data.train, stands)
            model = fit(task, task.candidates[name], frame, target, weight)
            check_answers_all(task, model, frame)
            losses[own] = loss(task, truth, answers(task, model, later), count)
        except FitError as error:
            refused[own] = str(error)
        else:
            models[own] = name, stands, model
    if not models:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise FitError(f"no candidate can be used: {reasons}")
    best = min(losses, key=lambda name: losses[name])
    # A heuristic need not know of weights; it is judged by them all the same.
    heuristic = _baseline(task)
    taken = data.lessons(data.train, stand=True) if weight_name(heuristic) else None
    baseline = answers(task, fit(task, heuristic, frame, target, taken), later)
    without = loss(task, truth, baseline, count)
    return Choice(*models[best], losses[best], losses, refused, without)


def _baseline(task: Task) -> Any:
    """The task's baseline; without one, the answer that ignores the input."""
    if task.baseline is not None:
        return task.baseline
    return (
        DummyRegressor(strategy="median")
        if task.kind == "regression"
        else DummyClassifier(strategy="prior")
    )
