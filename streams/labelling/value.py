"""What a person's answer to an input would be worth, from 0 (nothing) up.

Three reasons to ask, each between 0 and 1; a task weighs them (`Labelling`), and the value is
their weighted sum. Missing numbers are NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columns import Column, Columns
from schemas.records import Kind
from streams.labelling.policy import Labelling

Floats = npt.NDArray[np.float64]

RARE = 0.01
"""Share of the training rows below which a name, or a missing value, is strange."""
OUTER = 0.5
"""How strange a number is that lies in the outer twentieth of the training rows at either end."""


def value(policy: Labelling, uncertainty: Floats, disagreement: Floats, novelty: Floats) -> Floats:
    """The weighted sum, (n,)."""
    total: Floats = (
        policy.uncertainty * uncertainty
        + policy.disagreement * disagreement
        + policy.novelty * novelty
    )
    return total


def uncertainty(kind: Kind, classes: int, probability: Floats, gate_score: Floats) -> Floats:
    """How likely the model's answer is wrong, beside mere guessing (1), (n,) from 0 to 1.

    The calibrated probability says it (binary: of true, multi-class: of the answer) where the
    model answered, the gate's score, which is P(the model errs), where it was not asked. An input
    that neither says anything of was answered without a model: 1. A regression has the gate's
    score alone, and 0 without it: its answers come with no doubt of their own. classes: of a
    multi-class task.

    For a binary task the order is that of the entropy (Lewis and Gale, 1994, "A sequential
    algorithm for training text classifiers"). The mean of both estimates was tried: on the
    flights it chose worse (docs/labelling.md).
    """
    if kind == "binary":
        by_model, guessing = np.minimum(probability, 1 - probability), 0.5
    elif kind == "multiclass":
        by_model, guessing = 1 - probability, 1 - 1 / max(classes, 2)
    else:
        by_model, guessing = np.full(len(gate_score), np.nan), 1.0
    wrong = np.where(np.isnan(by_model), gate_score, by_model) / guessing
    found: Floats = np.clip(wrong, 0.0, 1.0)
    found[np.isnan(wrong)] = 0.0 if kind == "regression" else 1.0
    return found


def disagreement(beliefs: Floats) -> Floats:
    """How far the versions that looked at an input are apart, (n,) from 0 to 1.

    beliefs: (n, m, k): for each of m versions its probabilities of k classes, NaN where it gave
    none; k is 2 for a binary task. It is the largest total variation distance of two of them: 1
    where two versions are sure of different answers. 0 where fewer than two looked.

    After query by committee (Seung, Opper and Sompolinsky, 1992).
    """
    n, versions, _ = beliefs.shape
    most = np.zeros(n)
    for one in range(versions):
        for other in range(one):
            apart = np.abs(beliefs[:, one] - beliefs[:, other]).sum(axis=1) / 2
            most = np.fmax(most, apart)
    return np.clip(most, 0.0, 1.0)


def spread(answers: Floats, scale: float) -> Floats:
    """The same for a regression: the range of the versions' answers, (n, m), NaN where none.

    scale: what counts as far apart, such as the target's standard deviation in training.
    """
    known = ~np.isnan(answers)
    high = np.where(known, answers, -np.inf).max(axis=1, initial=-np.inf)
    low = np.where(known, answers, np.inf).min(axis=1, initial=np.inf)
    apart = np.where(known.sum(axis=1) > 1, high - low, 0.0)
    return np.clip(apart / scale, 0.0, 1.0) if scale > 0 else np.where(apart > 0, 1.0, 0.0)


def novelty(columns: Columns, names: Sequence[str], profile: Mapping[str, Any]) -> Floats:
    """How strange an input is to the training data, (n,) from 0 to 1: the mean over its features.

    columns: by feature name. profile: of the version in service, as `streams.training.profile`
    makes it; a feature that it does not know says nothing. A number beyond all that training saw
    counts 1, one in the outer twentieth at either end OUTER. A name counts 1, and so does a
    missing value, where training had fewer than RARE of it.
    """
    seen = profile.get("features", {})
    known = [name for name in names if name in seen]
    if not known:
        return np.zeros(len(columns[names[0]]) if names else 0)
    strange = [strangeness(columns[name], seen[name]) for name in known]
    mean: Floats = np.mean(strange, axis=0)
    return mean


def strangeness(column: Column, seen: Mapping[str, Any]) -> Floats:
    """The same of one feature; ``seen``: its entry in the profile."""
    missing = ~valid(column)
    if "quantiles" in seen:
        found = _strange_numbers(column.values, missing, seen["quantiles"])
    else:
        rare = {name: 1.0 for name, share in seen["shares"].items() if share < RARE}
        common = dict.fromkeys(seen["shares"], 0.0) | rare
        found = np.array([common.get(name, 1.0) for name in column.values.tolist()], np.float64)
    found[missing] = 1.0 if seen["missing"] < RARE else 0.0
    return found


def valid(column: Column) -> npt.NDArray[np.bool_]:
    """Where a column has a value: not null, and not NaN."""
    there = np.ones(len(column), bool) if column.valid is None else column.valid.copy()
    if column.values.dtype.kind == "f":
        there &= ~np.isnan(column.values)
    return there


def _strange_numbers(
    values: npt.NDArray[Any], missing: npt.NDArray[np.bool_], quantiles: Sequence[float]
) -> Floats:
    found = np.zeros(len(values))
    if not quantiles:  # training saw none: any is strange
        found[:] = 1.0
        return found
    numbers = np.where(missing, quantiles[0], values).astype(np.float64)
    found[(numbers < quantiles[1]) | (numbers > quantiles[-2])] = OUTER
    found[(numbers < quantiles[0]) | (numbers > quantiles[-1])] = 1.0
    return found
