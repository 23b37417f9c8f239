"""The gate in a training: its rehearsal, what it is worth, and the one that is deployed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from streams.task import Task
from streams.training import cost
from streams.training.data import Dataset
from streams.training.gate import Errors, Gate, risk, score, train_gate
from streams.training.held_out import HeldOut
from streams.version import Floats, Version

Mask = npt.NDArray[np.bool_]


def rehearsed(task: Task, data: Dataset, held: HeldOut) -> Gate:
    """Learned from the errors on train, its threshold set on validation.

    None where it tells errors on validation apart no better than chance.
    """
    gate = _gate(task, data, held.errors, data.train, data.validation)
    if gate.estimator is None:
        return gate
    auc = _risk(task, data, held.errors, gate, data.validation)["auc"]
    if auc is not None and auc > 0.5:
        return gate
    return Gate(why_none=f"it finds errors no better than chance (AUC {auc} on validation)")


def refitted(task: Task, data: Dataset, held: HeldOut, rehearsal: Gate) -> Gate:
    """The one that is deployed, learned from the errors on all rows; none where the rehearsal has
    none."""
    if rehearsal.estimator is None:
        return rehearsal
    return _gate(task, data, held.errors, slice(None), slice(data.validation.start, None))


def report(task: Task, data: Dataset, held: HeldOut, gate: Gate) -> dict[str, Any]:
    """Risk against coverage of the rehearsal's gate, where there is one; JSON data."""
    if gate.estimator is None:
        return {"why_none": gate.why_none}
    return {
        "wrong_beyond": held.beyond if task.kind == "regression" else None,
        "rehearsal_threshold": gate.threshold,
        "validation": _risk(task, data, held.errors, gate, data.validation),
        "test": _risk(task, data, held.errors, gate, data.test),
    }


def pays(version: Version, data: Dataset, report: dict[str, Any]) -> dict[str, Any]:
    """What gate and model of a version cost, and whether the one is worth it; measured."""
    found = cost.measure(version, data.frame)
    return {"cost": found, "pays": found["ratio"] < report["validation"]["share_deferred"]}


def admitted(task: Task, data: Dataset, gate: Gate) -> tuple[Mask, Floats | None]:
    """Which test rows a gate admits, and its scores of them (None: no gate)."""
    frame, _ = data.rows(data.test)
    if gate.threshold is None:
        return np.ones(len(frame), bool), None
    found = score(task, gate.estimator, frame)
    return found < gate.threshold, found


def _gate(task: Task, data: Dataset, errors: Errors, learn: slice, recent: slice) -> Gate:
    """Learned from the errors of some rows, its threshold set on others."""
    known, asked = data.judged(learn), data.judged(recent)
    frame, others = data.rows(known)[0], data.rows(asked)[0]
    weight, count = data.weights(known), data.weights(asked)
    return train_gate(task, frame, errors[known], others, weight, count)


def _risk(task: Task, data: Dataset, errors: Errors, gate: Gate, where: slice) -> dict[str, Any]:
    assert gate.threshold is not None
    known = data.judged(where)
    scores = score(task, gate.estimator, data.rows(known)[0])
    return risk(errors[known], scores, gate.threshold, data.weights(known))
