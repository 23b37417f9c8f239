"""Which candidate: each is fitted on the same rows and judged on the rows after them.

Where rows stand for different numbers of requests, each is fitted with these weights and without
them, and both are judged with them. Weights set a model right that cannot bend as far as the truth
does; one that can learns the same without them, and only loses precision by them (Shimodaira 2000,
Byrd and Lipton 2019). Which it is the validation tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import pandas as pd
from sklearn.base import clone
from sklearn.dummy import DummyClassifier, DummyRegressor

from streams.calibration import Calibrator
from streams.declaration import describe_value
from streams.task import Task
from streams.training.data import Dataset
from streams.training.errors import FitError
from streams.training.fitting import answers, check_answers_all, fit, seeded, weight_name
from streams.training.metrics import loss
from streams.training.run import Key, Run
from streams.training.searching import Found, configured
from streams.version import Answers, Version


@dataclass(frozen=True, eq=False)
class Candidate:
    """One estimator among those that are compared.

    label: what losses name it by: a name of the task's ``candidates``, with ``searched`` where its
    settings were found by search, or ``champion``. name: the task's candidate that it is one of.
    estimator: unfitted. setting: its parameters that the search found.
    """

    label: str
    name: str
    estimator: Any
    setting: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Choice:
    """The chosen candidate, fitted on the training rows.

    stands: whether it was fitted with rows that stand for all requests (True where all do).
    loss: its loss on validation; losses: of all by label, those fitted without the weights as
    ``<label> unweighted``; refused: why candidates could not be judged. baselines: the losses of
    what one would use without a model: ``majority``, the answer that ignores the input, and the
    task's ``heuristic``, where it has one. calibrator: what sets its probabilities right, once
    that is known; losses are without it.
    """

    candidate: Candidate
    stands: bool
    model: Any
    loss: float
    losses: Mapping[str, float]
    refused: Mapping[str, str]
    baselines: Mapping[str, float]
    calibrator: Calibrator | None = None

    @property
    def calibration(self) -> Mapping[str, Any] | None:
        """What sets its probabilities right, as a manifest has it."""
        return None if self.calibrator is None else self.calibrator.plain()

    @property
    def name(self) -> str:
        """The task's candidate that it is one of."""
        return self.candidate.name

    @property
    def estimator(self) -> Any:
        """Unfitted."""
        return self.candidate.estimator

    @property
    def baseline(self) -> float:
        """The smaller loss of the baselines."""
        return min(self.baselines.values())

    def answers(self, task: Task, frame: pd.DataFrame) -> Answers:
        """Its answers to the rows of a frame, as a version gives them. Raises FitError."""
        return answers(task, self.model, frame, self.calibration)

    @property
    def beats_baseline(self) -> bool:
        """Whether it is better than what one would use without a model."""
        return self.loss < self.baseline


def candidates(task: Task, found: Found, champion: Version | None) -> list[Candidate]:
    """Those that are compared: each estimator of the task as it is declared, each setting that the
    search found, and the champion's estimator with its settings, where it is none of these.

    The champion's is fitted again, not warm-started: what is convex ends at the same place from
    wherever it starts, boosted trees cannot be taken back, and a version that hung on all its
    forebears could not be made again from its rows. What learns on from where it was is a learner
    of the stream.
    """
    pool = [Candidate(name, name, estimator) for name, estimator in task.candidates.items()]
    for name, searched in found.items():
        for i, setting in enumerate(searched.settings):
            label = f"{name} searched" + (f" {i + 1}" if len(searched.settings) > 1 else "")
            estimator = configured(task.candidates[name], setting)
            pool.append(Candidate(label, name, estimator, setting))
    own = _champions(task, champion)
    if own is not None:
        seen = [describe_value(seeded(one.estimator, task.seed)) for one in pool]
        if describe_value(seeded(own.estimator, task.seed)) not in seen:
            pool.append(own)
    return pool


CHAMPION = "champion"


def _champions(task: Task, champion: Version | None) -> Candidate | None:
    """The champion's estimator, unfitted; none where the task has dropped its candidate."""
    name = "" if champion is None else champion.manifest.get("candidate", "")
    if champion is None or name not in task.candidates:
        return None
    try:
        return Candidate(CHAMPION, name, clone(champion.model))
    except (TypeError, RuntimeError):
        return None  # not scikit-learn's: what learned from the stream is no recipe for rows


def choose(
    task: Task,
    data: Dataset,
    pool: Sequence[Candidate],
    base: Key,
    run: Run,
    span: tuple[float, float],
) -> Choice:
    """The candidate with the smallest loss on validation; the first of equal ones.

    base: what names the data and the declaration. span: shares of the training's work at which
    this begins and ends. Raises FitError where no candidate can be fitted and asked.
    """
    models: dict[str, tuple[Candidate, bool, Any]] = {}
    losses: dict[str, float] = {}
    refused: dict[str, str] = {}
    frame, target = data.rows(data.train)
    asked = data.judged(data.validation)
    (later, truth), count = data.rows(asked), data.weights(asked)
    ways = {"": True} if data.weight is None else {"": True, " unweighted": False}
    work = list(product(pool, ways.items()))
    for i, (one, (suffix, stands)) in enumerate(work):
        run.at(span[0] + (span[1] - span[0]) * i / len(work))
        own = one.label + suffix
        try:
            weight = data.lessons(data.train, stands)
            key = {**base, "fit": describe_value(one.estimator), "on": "train", "stands": stands}
            model = run.fitted(key, partial(fit, task, one.estimator, frame, target, weight))
            check_answers_all(task, model, frame)
            losses[own] = loss(task, truth, answers(task, model, later), count)
        except FitError as error:
            refused[own] = str(error)
        else:
            models[own] = one, stands, model
    if not models:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise FitError(f"no candidate can be used: {reasons}")
    best = min(losses, key=lambda name: losses[name])
    return Choice(*models[best], losses[best], losses, refused, _baselines(task, data))


def _baselines(task: Task, data: Dataset) -> dict[str, float]:
    """The loss on validation of what one would use without a model."""
    constant = (
        DummyRegressor(strategy="median")
        if task.kind == "regression"
        else DummyClassifier(strategy="prior")
    )
    known = {"majority": constant}
    if task.baseline is not None:
        known["heuristic"] = task.baseline
    asked = data.judged(data.validation)
    (later, truth), count = data.rows(asked), data.weights(asked)
    frame, target = data.rows(data.train)
    found = {}
    for name, estimator in known.items():
        # A heuristic need not know of weights; it is judged by them all the same.
        taken = data.lessons(data.train, stand=True) if weight_name(estimator) else None
        given = answers(task, fit(task, estimator, frame, target, taken), later)
        found[name] = loss(task, truth, given, count)
    return found
