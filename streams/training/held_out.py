"""Answers to rows by models that did not learn from them: what errors are counted in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from streams.declaration import describe_value
from streams.task import Task
from streams.training.candidates import Choice
from streams.training.data import Dataset
from streams.training.fitting import fit
from streams.training.gate import FOLDS, Errors, out_of_fold, wrong_beyond
from streams.training.metrics import LOSS, scores, wrong
from streams.training.run import Key, Run
from streams.version import Answers, Floats


@dataclass(frozen=True, eq=False)
class HeldOut:
    """An answer to each of n rows.

    answers: on train by folds, on validation by the model fitted on train, on test by the one
    fitted on both. beyond: the error above which a regression's answer is wrong (0 for the other
    kinds). errors: (n,), which are wrong. models: of the folds, each fitted on train without one
    stretch of it.
    """

    answers: Answers
    beyond: float
    errors: Errors
    models: Sequence[Any] = ()


def rehearsed(task: Task, data: Dataset, choice: Choice, base: Key, run: Run) -> Choice:
    """The choice, fitted on train and validation: what the test rows are asked.

    The champion that it is compared with was fitted on all rows of its day; one that ends where
    train does would be behind by weeks that the version itself learns from. Raises FitError.
    """
    before = slice(0, data.test.start)
    lessons = data.lessons(before, choice.stands)
    key = {**base, "fit": describe_value(choice.estimator), "stands": choice.stands}
    model = run.fitted(
        {**key, "on": "train and validation"},
        lambda: fit(task, choice.estimator, *data.rows(before), lessons),
    )
    return replace(choice, model=model)


def held_out(
    task: Task,
    data: Dataset,
    choice: Choice,
    tested: Choice,
    base: Key,
    run: Run,
    span: tuple[float, float],
) -> HeldOut:
    """The chosen candidate's answers to all rows, each fitted on other rows, none of them later
    than the training's.

    tested: the choice as `rehearsed` gives it. base: what names the data and the declaration.
    span: shares of the training's work at which this begins and ends. Raises FitError.
    """
    folds, models = _folds(task, data, choice, data.train, base, run, span)
    given = folds.join(choice.answers(task, data.rows(data.validation)[0]))
    given = given.join(tested.answers(task, data.rows(data.test)[0]))
    known = data.judged(data.train)
    beyond = wrong_beyond(task, data.target[known], given.take(known), data.weights(known))
    return HeldOut(given, beyond, errors_of(task, data, given, beyond), models)


def errors_of(task: Task, data: Dataset, given: Answers, beyond: float) -> Errors:
    """Which of the answers to all rows are wrong."""
    found: Errors = wrong(task, data.target, given, beyond)
    return found


def committee(
    task: Task, data: Dataset, choice: Choice, base: Key, run: Run, span: tuple[float, float]
) -> Sequence[Any]:
    """The chosen candidate fitted on all rows without one stretch of time, for each of the
    stretches. base, span: as of `held_out`. Raises FitError."""
    return _folds(task, data, choice, slice(0, len(data)), base, run, span)[1]


def _folds(
    task: Task,
    data: Dataset,
    choice: Choice,
    where: slice,
    base: Key,
    run: Run,
    span: tuple[float, float],
) -> tuple[Answers, list[Any]]:
    """The answers to some rows by folds, and the folds' models."""
    on = f" of {FOLDS}" if where == data.train else f" of {FOLDS} of all"
    key = {**base, "fit": describe_value(choice.estimator), "stands": choice.stands}
    models: list[Any] = []

    def fitted(fold: int, fit: Callable[[], Any]) -> Any:
        run.at(span[0] + (span[1] - span[0]) * fold / FOLDS)
        models.append(run.fitted({**key, "on": f"fold {fold}{on}"}, fit))
        return models[-1]

    lessons = data.lessons(where, choice.stands)
    given = out_of_fold(task, choice.estimator, *data.rows(where), lessons, fitted)
    return given, models


def measures(
    task: Task, data: Dataset, choice: Choice, held: HeldOut, gate_scores: Floats | None, at: float
) -> dict[str, float]:
    """On the test rows: of all answers, and (``admitted_…``) of those that the gate admits.

    gate_scores: the rehearsal gate's of the test rows; None: no gate. at: its threshold.
    """
    known = data.judged(data.test)
    truth, weight = data.target[known], data.weights(known)
    given = held.answers.take(known)
    found = scores(task, truth, given, weight)
    found["test_rows"] = len(truth)
    found[f"validation_{LOSS[task.kind]}"] = choice.loss
    found[f"baseline_validation_{LOSS[task.kind]}"] = choice.baseline
    for name, value in choice.baselines.items():
        found[f"{name}_validation_{LOSS[task.kind]}"] = value
    if gate_scores is not None:
        true = slice(None) if data.weak is None else ~data.weak[data.test]
        admitted = gate_scores[true] < at
        own = None if weight is None else weight[admitted]
        of_admitted = scores(task, truth[admitted], given.take(admitted), own)
        found |= {f"admitted_{name}": value for name, value in of_admitted.items()}
        found["share_deferred"] = float(1 - np.average(admitted, weights=weight))
    return found
