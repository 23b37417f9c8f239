"""The gate in a training: its rehearsal, what it is worth, and the one that is deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.task import Task
from streams.training import cost
from streams.training.candidates import Choice
from streams.training.data import Dataset
from streams.training.errors import FitError
from streams.training.fitting import bare_version
from streams.training.gate import Errors, Gate, risk, train_gate
from streams.training.held_out import HeldOut
from streams.training.imitation import imitate
from streams.training.run import Key, Run
from streams.version import Answers, Floats

Mask = npt.NDArray[np.bool_]
Report = dict[str, Any]

JUDGED = (0.95, 0.9, 0.8, 0.7)
"""Shares admitted, of COVERAGES, whose mean risk the forms of a gate are compared by."""
LEAST_ROWS = 50_000
"""Training rows below which a gate that imitates is not tried: a network needs many, and takes
longer to fit than all else, for which a first version should not be waited for."""


def rehearsed(
    task: Task,
    data: Dataset,
    held: HeldOut,
    choice: Choice,
    base: Key,
    run: Run,
) -> tuple[Gate, Report]:
    """Learned from the errors on train, its threshold set on validation; and its figures.

    Of the forms that the task names, the one that finds errors on validation better. None where it
    finds them no better than chance, or where it does not pay (`deployed`). The report is JSON
    data: of each split of the rows risk by coverage beside that of the model's own confidence.

    base: what names the data and the declaration. What a gate costs is measured: an attempt that
    goes on after a kill follows what the one before it measured.
    """
    forms = [_gate(task, data, held.errors, data.train, data.validation)]
    enough = data.train.stop >= LEAST_ROWS and "imitation" in task.training.gate_forms
    if enough and task.kind != "regression" and forms[0].estimator is not None:
        forms += _imitating(task, data, held, [choice.model, *held.models], choice.calibration)
    made = [one for one in forms if one.estimator is not None]
    if not made:
        return forms[0], {"deployed": False, "why_none": forms[0].why_none}
    worth = [_risk(task, data, held, one, data.validation) for one in made]
    best = int(np.argmin([_mean_risk(one) for one in worth]))
    gate, report = made[best], _report(task, data, held, made[best], worth[best])
    report["forms"] = {g.form: _mean_risk(w) for g, w in zip(made, worth, strict=True)}
    key = {**base, "measured": "gate", "form": gate.form}
    cost = run.found(key, lambda: _cost(task, data, choice.model, gate))
    decided = deployed(task, worth[best], cost)
    report |= cost | decided
    return (gate if decided["deployed"] else Gate(why_none=decided["why_none"])), report


def refitted(
    task: Task,
    data: Dataset,
    held: HeldOut,
    rehearsal: Gate,
    models: Sequence[Any],
    calibration: Mapping[str, Any] | None,
) -> Gate:
    """The one that is deployed, learned from the errors on all rows; none where the rehearsal has
    none.

    models: the version's, fitted on all rows, and a committee's; only the form that imitates them
    needs any. calibration: of them all. Raises FitError.
    """
    if rehearsal.estimator is None:
        return rehearsal
    network = None
    if rehearsal.form == "imitation":
        network = imitate(task, models, data.frame, calibration)
    recent = slice(data.validation.start, None)
    return _gate(task, data, held.errors, slice(None), recent, network)


def _imitating(
    task: Task,
    data: Dataset,
    held: HeldOut,
    models: Sequence[Any],
    calibration: Mapping[str, Any] | None,
) -> list[Gate]:
    """The rehearsal's gate of that form; none where it cannot be fitted."""
    try:
        network = imitate(task, models, data.rows(data.train)[0], calibration)
    except FitError:
        return []
    return [_gate(task, data, held.errors, data.train, data.validation, network)]


def deployed(task: Task, found: Report, cost: Report) -> Report:
    """Whether a gate is deployed, and why not; ``unpaid``: for no reason but its measured cost.

    found: its figures on validation. cost: ``f``, ``i`` and ``b``. Deferring a share b of the
    inputs for a gate that costs f saves inference where f + (1 - b) i < i, so f / i < b.
    """
    auc = found["auc"]
    why = ""
    if auc is None or auc <= 0.5:
        why = f"it finds errors no better than chance (AUC {auc} on validation)"
    elif not cost["pays"] and task.training.gate_must_pay:
        why = (
            f"it does not pay: it costs {cost['f'] / cost['i']:.2f} of what the model costs, and "
            f"spares it {cost['b']:.2f} of the inputs; a dearer model, a larger defer_budget or "
            "Training(gate_must_pay=False) would deploy it"
        )
    unpaid = bool(why) and auc is not None and auc > 0.5
    return {"deployed": not why, "why_none": why, "unpaid": unpaid}


def _cost(task: Task, data: Dataset, model: Any, gate: Gate) -> Report:
    """f, i (microseconds a row of gate and model), b (the share deferred) and whether it pays."""
    samples = data.frame.iloc[np.linspace(0, len(data) - 1, 16).astype(int)]
    version = bare_version(task, model, gate.estimator, samples, scale=gate.scale)
    found = cost.measure(version, data.frame)
    frame = data.rows(data.judged(data.validation))[0]
    assert gate.threshold is not None
    weight = data.weights(data.judged(data.validation))
    share = float(np.average(gate.score(task, frame) >= gate.threshold, weights=weight))
    f, i = found["gate_us"], found["model_us"]
    return {"cost": found, "f": f, "i": i, "b": share, "pays": f / i < share}


def _report(task: Task, data: Dataset, held: HeldOut, gate: Gate, validation: Report) -> Report:
    test = _risk(task, data, held, gate, data.test)
    return {
        "form": gate.form,
        "wrong_beyond": held.beyond if task.kind == "regression" else None,
        "rehearsal_threshold": gate.threshold,
        "validation": validation,
        "test": test,
        "against_confidence": against_confidence(test),
    }


def against_confidence(found: Mapping[str, Any]) -> dict[str, float] | None:
    """By share deferred, how much larger the risk is than that of the model's own confidence at
    the same share; below 0 the gate is better. None of a model that gives no probability."""
    if "confidence_by_coverage" not in found:
        return None
    both = zip(found["risk_by_coverage"], found["confidence_by_coverage"], strict=True)
    return {
        f"{1 - mine['coverage']:g}": mine["risk"] - theirs["risk"]
        for mine, theirs in both
        if mine["coverage"] < 1
    }


def admitted(task: Task, data: Dataset, gate: Gate) -> tuple[Mask, Floats | None]:
    """Which test rows a gate admits, and its scores of them (None: no gate)."""
    frame, _ = data.rows(data.test)
    if gate.threshold is None:
        return np.ones(len(frame), bool), None
    found = gate.score(task, frame)
    return found < gate.threshold, found


def unsure(given: Answers) -> Floats | None:
    """1 - the probability of each answer, (n,): what confidence defers by; None: a regression."""
    if given.probability is None:
        return None
    if given.probabilities is not None:
        return 1 - given.probability
    return np.minimum(given.probability, 1 - given.probability)


def _gate(
    task: Task,
    data: Dataset,
    errors: Errors,
    learn: slice,
    recent: slice,
    network: Any | None = None,
) -> Gate:
    """Learned from the errors of some rows, its threshold set on others."""
    known, asked = data.judged(learn), data.judged(recent)
    frame, others = data.rows(known)[0], data.rows(asked)[0]
    weight, count = data.weights(known), data.weights(asked)
    return train_gate(task, frame, errors[known], others, weight, count, network)


def _risk(task: Task, data: Dataset, held: HeldOut, gate: Gate, where: slice) -> Report:
    """Of a split's rows the risk by coverage, and that of the model's own confidence."""
    assert gate.threshold is not None
    known = data.judged(where)
    errors, weight = held.errors[known], data.weights(known)
    found = risk(errors, gate.score(task, data.rows(known)[0]), gate.threshold, weight)
    confidence = unsure(held.answers.take(known))
    if confidence is not None:
        plain = risk(errors, confidence, gate.threshold, weight)
        found["confidence_by_coverage"] = plain["risk_by_coverage"]
    return found


def _mean_risk(found: Report) -> float:
    risks = [point["risk"] for point in found["risk_by_coverage"] if point["coverage"] in JUDGED]
    return float(np.mean(risks))
