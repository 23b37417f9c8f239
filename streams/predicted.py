"""What a prediction says of a version's work: columns that serving and offline scoring share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columns import Column, Columns, constant
from streams.inference import Inferred
from streams.task import Task
from streams.version import Answers, Version


def predicted(
    task: Task,
    version: Version | None,
    role: str,
    inferred: Inferred,
    free: npt.NDArray[np.bool_] | None = None,
) -> Columns:
    """What a version (None: there was none) made of n inputs, as fields of a prediction.

    free: bool (n,), those that exploration kept the gate from; None: nobody.
    """
    n = len(inferred.defer)
    return {
        **_decided(version, role, inferred),
        **_answers(task, inferred.answers, inferred.defer),
        **_expected(inferred),
        "features": constant(True, n),
        "explored": constant(False, n) if free is None else Column(free),
    }


def fallback(task: Task) -> Any:
    """The answer to inputs that no model answers, as a prediction holds it."""
    return float(task.fallback) if task.kind == "regression" else task.fallback


def _answers(task: Task, answers: Answers | None, defer: npt.NDArray[np.bool_]) -> Columns:
    """Answers of all rows: the model's where it was asked, the fallback's elsewhere."""
    n = len(defer)
    empty = Column(np.zeros((n, 0)))
    if answers is None:
        return {
            "answer": constant(fallback(task), n),
            "probability": constant(None, n),
            "probabilities": empty,
        }
    admit = ~defer
    if admit.all():
        answer = Column(answers.answer)
    else:
        filled = np.empty(n, answers.answer.dtype)
        filled[:] = fallback(task)
        filled[admit] = answers.answer
        answer = Column(filled)
    return {
        "answer": answer,
        "probability": _spread(answers.probability, admit),
        "probabilities": empty
        if answers.probabilities is None
        else _spread_lists(answers.probabilities, admit),
    }


def _decided(version: Version | None, role: str, inferred: Inferred) -> Columns:
    n = len(inferred.defer)
    texts = {"version": "", "dataset_id": "", "role": "none"}
    if version is not None:
        texts = {"version": version.id, "dataset_id": version.dataset_id, "role": role}
    return {
        **{name: constant(text, n) for name, text in texts.items()},
        "reason": inferred.reason,
        "status": Column(_choose(inferred.defer, "deferred", "answered"))
        if inferred.defer.any()
        else constant("answered", n),
        "gate_decision": inferred.decision,
        "gate_score": inferred.score,
        "model_propensity": inferred.propensity,
    }


def _expected(inferred: Inferred) -> Columns:
    """What to expect of the answers' truth, where a version's estimator says so."""
    expected, admit = inferred.expected, ~inferred.defer
    if expected is None:
        return nothing_expected(len(admit))
    spread = np.broadcast_to(expected.spread, (len(expected.values), len(expected.spread)))
    outside = np.zeros(len(admit), bool)
    outside[admit] = expected.outside
    return {
        "expected": _spread_lists(expected.values, admit),
        "expected_spread": _spread_lists(spread, admit),
        "outside_region": Column(outside),
    }


def nothing_expected(n: int) -> Columns:
    """Nothing to expect of n answers."""
    empty = Column(np.zeros((n, 0)))
    return {"expected": empty, "expected_spread": empty, "outside_region": constant(False, n)}


def _choose(where: npt.NDArray[np.bool_], yes: str, no: str) -> npt.NDArray[np.object_]:
    return np.array([no, yes], object)[where.astype(np.intp)]


def _spread(values: npt.NDArray[np.float64] | None, admit: npt.NDArray[np.bool_]) -> Column:
    if values is None:
        return constant(None, len(admit))
    if admit.all():
        return Column(values)
    spread = np.full(len(admit), np.nan)
    spread[admit] = values
    return Column(spread, admit)


def _spread_lists(values: npt.NDArray[np.float64], admit: npt.NDArray[np.bool_]) -> Column:
    if admit.all():
        return Column(values)
    spread = np.empty(len(admit), object)
    rows = iter(values)
    for i, admitted in enumerate(admit):
        spread[i] = next(rows) if admitted else np.zeros(0)
    return Column(spread)
