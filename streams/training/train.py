"""One training, from a table of rows to what a bundle holds, in steps of one function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from streams.declaration import RECIPE, library_versions, version_id
from streams.estimates.saved import Saved, fit_saved
from streams.manifest import SAMPLES, Contents
from streams.task import Task
from streams.training import compare, cost
from streams.training.candidates import Choice, choose
from streams.training.data import Dataset, prepare
from streams.training.fitting import answers, bare_version, fit, one_thread
from streams.training.gate import (
    Errors,
    Gate,
    out_of_fold,
    risk,
    score,
    train_gate,
    wrong_beyond,
)
from streams.training.metrics import LOSS, scores, wrong
from streams.training.profile import profile
from streams.training.usual import usual
from streams.training.weights import effective
from streams.version import Answers, Version

Progress = Callable[[str, float], None]
"""Called with the name of the phase that begins and the share of the work done, 0 to 1."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained version before it is saved: its bundle's contents, and whether it may serve."""

    contents: Contents
    accepted: bool
    reason: str


def train(
    task: Task,
    table: pd.DataFrame,
    event_id: str,
    champion: Version | None = None,
    progress: Progress = lambda phase, done: None,
) -> Trained:
    """Train a version of ``task`` on ``table`` (see `data.prepare` for its columns).

    The same declaration, rows and library versions give the same version, whatever the event.
    Rows count by their weights, where they have some, and so speak of all requests; rows with a
    weak label are learned from, and nothing is judged by them.

    Metrics are those of a rehearsal: the candidate fitted on the first 70 % of the rows, by time,
    and asked about the last 15 %. What is saved is that candidate fitted again on all rows, since
    the newest rows are the ones most like those to come.

    Raises DataError or FitError.
    """
    # 1. Rows: checked, ordered, named by their content.
    progress("prepare", 0.0)
    data = prepare(task, table)
    # 2. Candidates: fitted on train, judged on validation.
    progress("candidates", 0.1)
    choice = choose(task, data)
    # 3. Errors of the chosen candidate on rows that it was not fitted on: on train by folds,
    # afterwards by the rehearsal's model.
    progress("errors", 0.3)
    held_out = _held_out(task, data, choice)
    known = data.judged(data.train)
    beyond = wrong_beyond(task, data.target[known], held_out.take(known))
    errors = wrong(task, data.target, held_out, beyond)
    # 4. The rehearsal's gate: learned from train, its threshold set on validation.
    progress("gate", 0.7)
    gate = _gate(task, data, errors, data.train, data.validation)
    gate = _useful(task, data, errors, gate)
    # 5. What both are worth on rows that nothing was chosen by.
    progress("evaluate", 0.8)
    metrics = _metrics(task, data, choice, gate, held_out)
    report = _gate_report(task, data, errors, gate, beyond)
    verdict = compare.judge(task, data, choice, champion)
    if verdict.champion_loss is not None:
        metrics[f"champion_{LOSS[task.kind]}"] = verdict.champion_loss
    like, drawn = data.all_requests()
    admitted, gate_scores = _admitted(task, like, gate)
    # 6. The version itself: the same again on all rows.
    progress("refit", 0.85)
    lessons = data.lessons(slice(None), choice.stands)
    model = fit(task, task.candidates[choice.name], data.frame, data.target, lessons)
    if gate.estimator is not None:
        gate = _gate(task, data, errors, slice(None), slice(data.validation.start, None))
    # 7. What tells how good its answers are before their truth comes: learned from answers to rows
    # that were not learned from, of those that the gate admits.
    progress("estimates", 0.9)
    estimates = _estimates(task, like, gate, held_out.take(drawn))
    # 8. What was measured and seen, for whoever reads the bundle.
    progress("profile", 0.95)
    if gate.estimator is not None:
        version = bare_version(task, model, gate.estimator, _samples(data))
        report["cost"] = cost.measure(version, data.frame)
        report["pays"] = report["cost"]["ratio"] < report["validation"]["share_deferred"]
    given, wrongs = held_out.take(drawn), errors[drawn]
    seen = profile(task, like, given.take(like.test))
    seen["drift"] = usual(task, like, seen, given, wrongs, beyond, gate_scores, admitted, estimates)
    libraries = library_versions()
    contents = Contents(
        id=version_id(task, data.id, libraries),
        dataset={
            "id": data.id,
            "rows": len(data),
            "from": int(data.times_ms[0]),
            "to": int(data.times_ms[-1]),
            **_weighing(data),
        },
        candidate=choice.name,
        model=model,
        gate=gate.estimator,
        threshold=gate.threshold,
        estimates=estimates,
        vocabularies=data.vocabularies,
        samples=_samples(data),
        metrics=metrics,
        gate_metrics=report,
        profile=seen,
        seeds={"task": task.seed},
        libraries=libraries,
        event_id=event_id,
        extra={
            "recipe": RECIPE,
            "selection": {
                "measure": LOSS[task.kind],
                "validation": dict(choice.losses),
                "baseline": choice.baseline,
                "refused": dict(choice.refused),
                **({} if data.weight is None else {"weighted": choice.stands}),
            },
            "verdict": verdict.reason,
        },
    )
    progress("done", 1.0)
    return Trained(contents, verdict.accepted, verdict.reason)


def _held_out(task: Task, data: Dataset, choice: Choice) -> Answers:
    """An answer to each row by the chosen candidate fitted on other rows, none of them later
    than the training's."""
    candidate = task.candidates[choice.name]
    lessons = data.lessons(data.train, choice.stands)
    folds = out_of_fold(task, candidate, *data.rows(data.train), lessons)
    after = answers(task, choice.model, data.rows(slice(data.train.stop, None))[0])
    return folds.join(after)


def _gate(task: Task, data: Dataset, errors: Errors, learn: slice, recent: slice) -> Gate:
    """Learned from the errors of some rows, its threshold set on others."""
    known, asked = data.judged(learn), data.judged(recent)
    frame, others = data.rows(known)[0], data.rows(asked)[0]
    weight, count = data.weights(known), data.weights(asked)
    return train_gate(task, frame, errors[known], others, weight, count)


def _estimates(task: Task, data: Dataset, gate: Gate, held_out: Answers) -> Saved | None:
    admitted = np.ones(len(data), bool)
    if gate.threshold is not None:
        admitted = score(task, gate.estimator, data.frame) < gate.threshold
    frame, target = data.rows(admitted)
    with one_thread():
        return fit_saved(task.kind, task.classes, frame, held_out.take(admitted), target, task.seed)


def _admitted(task: Task, data: Dataset, gate: Gate) -> tuple[Any, Any]:
    """Which test rows the rehearsal's gate admits, and its scores of them (None: no gate)."""
    frame, _ = data.rows(data.test)
    if gate.threshold is None:
        return np.ones(len(frame), bool), None
    found = score(task, gate.estimator, frame)
    return found < gate.threshold, found


def _weighing(data: Dataset) -> dict[str, Any]:
    """How many labels are weak, and how many rows of one weight say as much; of plain rows: {}."""
    weight = data.lessons(slice(None), stand=True)
    if weight is None and data.weak is None:
        return {}
    weak = 0 if data.weak is None else int(data.weak.sum())
    rows = float(len(data)) if weight is None else effective(weight)
    return {"weak": weak, "effective_rows": round(rows, 1)}


def _useful(task: Task, data: Dataset, errors: Errors, gate: Gate) -> Gate:
    """The gate, unless it tells errors on validation apart no better than chance."""
    if gate.estimator is None:
        return gate
    auc = _risk(task, data, errors, gate, data.validation)["auc"]
    if auc is not None and auc > 0.5:
        return gate
    return Gate(why_none=f"it finds errors no better than chance (AUC {auc} on validation)")


def _risk(task: Task, data: Dataset, errors: Errors, gate: Gate, where: slice) -> dict[str, Any]:
    assert gate.threshold is not None
    known = data.judged(where)
    scores = score(task, gate.estimator, data.rows(known)[0])
    return risk(errors[known], scores, gate.threshold, data.weights(known))


def _gate_report(
    task: Task, data: Dataset, errors: Errors, gate: Gate, beyond: float
) -> dict[str, Any]:
    """Risk against coverage of the rehearsal's gate, where it has one."""
    if gate.estimator is None:
        return {"why_none": gate.why_none}
    return {
        "wrong_beyond": beyond if task.kind == "regression" else None,
        "rehearsal_threshold": gate.threshold,
        "validation": _risk(task, data, errors, gate, data.validation),
        "test": _risk(task, data, errors, gate, data.test),
    }


def _metrics(
    task: Task, data: Dataset, choice: Choice, gate: Gate, held_out: Answers
) -> dict[str, float]:
    """On the test rows: of all answers, and (``admitted_…``) of those that the gate admits."""
    known = data.judged(data.test)
    (frame, truth), weight = data.rows(known), data.weights(known)
    given = held_out.take(known)
    found = scores(task, truth, given, weight)
    found["test_rows"] = len(truth)
    found[f"validation_{LOSS[task.kind]}"] = choice.loss
    found[f"baseline_validation_{LOSS[task.kind]}"] = choice.baseline
    if gate.threshold is not None:
        admitted = score(task, gate.estimator, frame) < gate.threshold
        own = None if weight is None else weight[admitted]
        of_admitted = scores(task, truth[admitted], given.take(admitted), own)
        found |= {f"admitted_{name}": value for name, value in of_admitted.items()}
        found["share_deferred"] = float(1 - np.average(admitted, weights=weight))
    return found


def _samples(data: Dataset) -> pd.DataFrame:
    """A few rows, evenly spread over time."""
    return data.frame.iloc[np.linspace(0, len(data) - 1, SAMPLES).astype(int)]
