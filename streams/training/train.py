"""One training, from a table of rows to what a bundle holds, in steps of one function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from streams.declaration import RECIPE, describe_value, library_versions, version_id
from streams.estimates.saved import Saved, fit_saved
from streams.manifest import SAMPLES, Contents
from streams.task import Task
from streams.training import gating
from streams.training.calibrating import calibrate
from streams.training.candidates import CHAMPION, Candidate, Choice, candidates, choose
from streams.training.checks import check
from streams.training.data import Dataset, prepare
from streams.training.fitting import fit, one_thread
from streams.training.gate import Gate
from streams.training.held_out import committee, held_out, measures, rehearsed
from streams.training.metrics import LOSS
from streams.training.profile import profile
from streams.training.run import UNWATCHED, Facts, Run
from streams.training.search_policy import described
from streams.training.searching import Found, search
from streams.training.usual import usual
from streams.training.verdict import judge, judged
from streams.training.weights import effective
from streams.version import Answers, Version


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
    run: Run = UNWATCHED,
    asked_at_ms: int | None = None,
) -> Trained:
    """Train a version of ``task`` on ``table`` (see `data.prepare` for its columns).

    The same declaration, rows and library versions give the same version, whatever the event
    (`streams.declaration.version_id` says what else may count).
    Rows count by their weights, where they have some, and so speak of all requests; rows with a
    weak label are learned from, and nothing is judged by them.

    Metrics are those of a rehearsal: the candidate chosen on the first 85 % of the rows, by time,
    fitted on them, and asked about the last 15 %. What is saved is that candidate fitted again on
    all rows, since the newest rows are the ones most like those to come.

    asked_at_ms: when this was asked for, milliseconds since 1970 UTC; None: not known.
    Raises DataError or FitError.
    """
    with run.step("checks", 0.0) as facts:  # all that is wrong with the rows, at once
        warned = check(task, table, champion.profile if champion else None, asked_at_ms)
        facts |= {"warnings": warned}
    with run.step("rows", 0.03) as facts:  # in order of time, named by their content
        data = prepare(task, table)
        facts |= {"dataset": data.id, "rows": len(data)}
    libraries = library_versions()
    base = {"of": version_id(task, data.id, libraries)}
    with run.step("search", 0.05) as facts:  # for better settings, on some rows of train
        found = search(task, data, base, run, (0.05, 0.25))
        facts |= {name: searched.facts() for name, searched in found.items()}
    with run.step("candidates", 0.25) as facts:  # fitted on train, judged on validation
        pool = candidates(task, found, champion)
        choice = choose(task, data, pool, base, run, (0.25, 0.4))
        facts |= _selection(task, data, choice, found)
    with run.step("rehearsal", 0.4):  # the chosen one, fitted on train and validation, for the test
        tested = rehearsed(task, data, choice, base, run)
    with run.step("errors", 0.45) as facts:  # of the chosen one, on rows that it was not fitted on
        held = held_out(task, data, choice, tested, base, run, (0.45, 0.68))
        facts |= {"share": float(held.errors.mean())}
    with run.step("calibration", 0.68) as facts:  # its probabilities set right, where that helps
        right = calibrate(task, data, choice, held)
        choice, held = right.choice, right.held
        tested = replace(choice, model=tested.model)
        facts |= right.facts
    with run.step("gate", 0.7) as facts:  # the rehearsal's, which the figures are of
        gate, report = gating.rehearsed(task, data, held, choice, base, run)
        facts |= report
    with run.step("evaluate", 0.75) as facts:  # both, on rows that nothing was chosen by
        scores = gating.admitted(task, data, gate)[1]
        metrics = measures(task, data, choice, held, scores, gate.threshold or 0.0)
        facts |= metrics
    like, drawn = data.all_requests()
    given, wrongs = held.answers.take(drawn), held.errors[drawn]
    admitted, gate_scores = gating.admitted(task, like, gate)
    with run.step("refit", 0.85):  # the version itself: the same again on all rows
        lessons = data.lessons(slice(None), choice.stands)
        model = fit(task, choice.estimator, data.frame, data.target, lessons)
        models = [model]
        if gate.form == "imitation":
            models += committee(task, data, choice, base, run, (0.85, 0.88))
        gate = gating.refitted(task, data, held, gate, models, choice.calibration)
        report |= {} if gate.scale is None else {"scale": gate.scale}
    with run.step("estimates", 0.9):  # what tells how good answers are before their truth comes
        estimates = _estimates(task, like, gate, given)
    with run.step("profile", 0.95) as facts:  # what was seen, for whoever compares with it
        seen = profile(task, like, given.take(like.test))
        beyond = held.beyond
        seen["drift"] = usual(
            task, like, seen, given, wrongs, beyond, gate_scores, admitted, estimates
        )
    contents = Contents(
        id=version_id(task, data.id, libraries, _more(pool, found, report)),
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
        calibration=choice.calibration,
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
            "checks": {"warnings": warned},
            "selection": _selection(task, data, choice, found),
            "calibrated": right.facts,
        },
    )
    with run.step("verdict", 0.97) as facts:  # may it serve, and take the champion's place?
        verdict = judge(task, data, tested, champion, contents)
        facts |= {"accepted": verdict.accepted, "reason": verdict.reason}
    return Trained(judged(contents, verdict), verdict.accepted, verdict.reason)


def _selection(task: Task, data: Dataset, choice: Choice, found: Found) -> Facts:
    """How the candidate was chosen, for the manifest; JSON data."""
    return {
        "measure": LOSS[task.kind],
        "chosen": choice.candidate.label,
        "setting": described(choice.candidate.setting),
        "estimator": describe_value(choice.candidate.estimator),
        "validation": dict(choice.losses),
        "baseline": choice.baseline,
        "baselines": dict(choice.baselines),
        "refused": dict(choice.refused),
        **({"search": {name: one.facts() for name, one in found.items()}} if found else {}),
        **({} if data.weight is None else {"weighted": choice.stands}),
    }


def _more(pool: Sequence[Candidate], found: Found, gate: Facts) -> Facts:
    """What decided the version besides the declaration and the rows (`version_id`).

    gate: the gate's report: one that is left out for what it was measured to cost makes another
    version than one that is not.
    """
    own = {one.label: describe_value(one.estimator) for one in pool if one.label == CHAMPION}
    cut = {name: searched.tried for name, searched in found.items() if searched.cut}
    unpaid = {"gate": "does not pay"} if gate.get("unpaid") else {}
    return {**own, **unpaid, **({"search_cut": cut} if cut else {})}


def _estimates(task: Task, data: Dataset, gate: Gate, given: Answers) -> Saved | None:
    """Learned from answers to rows that were not learned from, of those that the gate admits."""
    admitted = np.ones(len(data), bool)
    if gate.threshold is not None:
        admitted = gate.score(task, data.frame) < gate.threshold
    frame, target = data.rows(admitted)
    with one_thread():
        return fit_saved(task.kind, task.classes, frame, given.take(admitted), target, task.seed)


def _weighing(data: Dataset) -> Facts:
    """How many labels are weak, and how many rows of one weight say as much; of plain rows: {}."""
    weight = data.lessons(slice(None), stand=True)
    if weight is None and data.weak is None:
        return {}
    weak = 0 if data.weak is None else int(data.weak.sum())
    rows = float(len(data)) if weight is None else effective(weight)
    return {"weak": weak, "effective_rows": round(rows, 1)}


def _samples(data: Dataset) -> pd.DataFrame:
    """A few rows, evenly spread over time."""
    return data.frame.iloc[np.linspace(0, len(data) - 1, SAMPLES).astype(int)]
