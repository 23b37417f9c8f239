"""Which candidate: each is fitted on the same rows and judged on the rows after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sklearn.dummy import DummyClassifier, DummyRegressor

from streams.task import Task
from streams.training.data import Dataset
from streams.training.errors import FitError
from streams.training.fitting import answers, check_answers_all, fit
from streams.training.metrics import loss


@dataclass(frozen=True, eq=False)
class Choice:
    """The chosen candidate, fitted on the training rows.

    losses: on validation, by candidate; refused: why candidates could not be judged;
    baseline: the baseline's loss.
    """

    name: str
    model: Any
    losses: Mapping[str, float]
    refused: Mapping[str, str]
    baseline: float

    @property
    def beats_baseline(self) -> bool:
        """Whether it is better than what one would use without a model."""
        return self.losses[self.name] < self.baseline


def choose(task: Task, data: Dataset) -> Choice:
    """The candidate with the smallest loss on validation; the first declared of equal ones.

    Raises FitError where no candidate can be fitted and asked.
    """
    models: dict[str, Any] = {}
    losses: dict[str, float] = {}
    refused: dict[str, str] = {}
    frame, target = data.rows(data.train)
    later, truth = data.rows(data.validation)
    for name, candidate in task.candidates.items():
        try:
            model = fit(task, candidate, frame, target)
            check_answers_all(task, model, frame)
            losses[name] = loss(task, truth, answers(task, model, later))
        except FitError as error:
            refused[name] = str(error)
        else:
            models[name] = model
    if not models:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise FitError(f"no candidate can be used: {reasons}")
    best = min(losses, key=lambda name: losses[name])
    baseline = fit(task, _baseline(task), frame, target)
    return Choice(
        best, models[best], losses, refused, loss(task, truth, answers(task, baseline, later))
    )


def _baseline(task: Task) -> Any:
    """The task's baseline; without one, the answer that ignores the input."""
    if task.baseline is not None:
        return task.baseline
    return (
        DummyRegressor(strategy="median")
        if task.kind == "regression"
        else DummyClassifier(strategy="prior")
    )
