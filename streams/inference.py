"""Gate ► infer: what a model version makes of good inputs, and what to do where it cannot.

A model is the user's: it may raise, and it may answer with NaN. Neither stops the worker. The
inputs concerned are deferred, with the reason: the producer gets the fallback, a person the work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from prometheus_client import Counter

from schemas.columns import Column, Columns, constant
from streams.dead_letters import words
from streams.version import Answers, Expected, Version

log = logging.getLogger(__name__)

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

FAILED = Counter(
    "weir_inference_failures",
    "Inputs deferred because the version could not score or answer them",
    ["what"],
)
# A probability may miss 0 or 1 by rounding (of a float32, by 1e-7), not by more.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Inferred:
    """What became of n inputs.

    defer: bool (n,), those that the fallback answers. reason: of n, why; null where answered.
    decision: of n, what the gate decided. score: of n, the gate's; null where there is none.
    propensity: of n, the probability with which the model was to answer; null where it could not.
    answers: the model's, of the rows that are not deferred, in order; None where all are.
    expected: what to expect of their truth; None where the version has no estimator.
    """

    defer: Mask
    reason: Column
    decision: Column
    score: Column
    propensity: Column
    answers: Answers | None
    expected: Expected | None = None


def unserved(n: int, why: str = "no model version is in service yet") -> Inferred:
    """What becomes of inputs that no version looks at."""
    reason = constant(words(why), n)
    nothing = constant(None, n)
    return Inferred(np.ones(n, bool), reason, constant("none", n), nothing, nothing, None)


def infer(
    version: Version,
    columns: Columns,
    n: int,
    lap: Callable[[str], None],
    explored: Mask | None = None,
    share: float = 0.0,
) -> Inferred:
    """Gate n inputs, one or more, and answer those that are admitted.

    lap: told of ``gate`` and ``infer`` as each is done. explored: of n, whom the gate may not
    hold back: it decides, and the model answers all the same; share: of all requests, those.
    """
    scores: Floats | None = None
    step = "frame"
    try:
        frame = version.frame(columns)
        step = "gate"
        scores = version.gate_scores(frame)
        _check_length(scores, n)
    except Exception as error:
        lap("gate")
        return _failed(version, step, error, n, None)
    refused, unsure = _gate(version, scores, n)
    held = refused if explored is None else refused & ~explored
    defer = held | unsure
    lap("gate")
    answers: Answers | None = None
    expected: Expected | None = None
    wrong = np.zeros(n, bool)
    if not defer.all():
        try:
            admitted = frame[~defer] if defer.any() else frame
            answers = version.predict(admitted)
            good = usable(answers, n - int(defer.sum()))
        except Exception as error:
            lap("infer")
            return _failed(version, "model", error, n, scores)
        if not good.all():
            wrong[np.flatnonzero(~defer)[~good]] = True
            defer |= wrong
            answers = answers.take(good) if good.any() else None
            admitted = admitted[good]
            FAILED.labels("model").inc(int(wrong.sum()))
        if answers is not None:
            expected = _expected(version, admitted, answers)
    lap("infer")
    reasons: list[tuple[Mask, str]] = []
    if held.any():
        reasons.append((held, f"the gate's score is {version.threshold:.4f} or more"))
    if unsure.any():
        reasons.append((unsure, "the gate's score is not a number"))
    if wrong.any():
        what = "number" if version.kind == "regression" else "probability"
        reasons.append((wrong, f"the model's answer is not a {what}"))
    propensity = _propensity(refused, unsure | wrong, share)
    reason = _reasons(n, defer, reasons)
    return Inferred(defer, reason, *_gated(scores, refused, n), propensity, answers, expected)


def _expected(version: Version, frame: pd.DataFrame, answers: Answers) -> Expected | None:
    """What to expect of the answers' truth; an estimator that fails keeps nobody from an answer."""
    if version.estimates is None:
        return None
    try:
        return version.estimates.expect(frame, answers)
    except Exception as error:
        FAILED.labels("estimator").inc(len(answers))
        told = (version.id, "estimator", type(error).__name__)
        if told not in _told:
            _told.add(told)
            log.exception("the estimator of version %s fails; nothing is estimated", version.id)
        return None


def _gate(version: Version, scores: Floats | None, n: int) -> tuple[Mask, Mask]:
    """Whom the gate holds back, and on whom it has nothing to say."""
    nobody = np.zeros(n, bool)
    if scores is None or version.threshold is None:
        return nobody, nobody
    unsure = ~np.isfinite(scores)
    if unsure.any():
        FAILED.labels("gate").inc(int(unsure.sum()))
    # A comparison with NaN is false: a row is one or the other.
    return np.isfinite(scores) & (scores >= version.threshold), unsure


def usable(answers: Answers, n: int) -> Mask:
    """Which of n answers are answers. ValueError where there are not n."""
    _check_length(answers.answer, n)
    good: Mask = np.ones(n, bool)
    if answers.probability is None:
        good = np.isfinite(answers.answer)
        return good
    for given in (answers.probability, answers.probabilities):
        if given is None:
            continue
        _check_length(given, n)
        right = (given >= -_ROUNDING) & (given <= 1 + _ROUNDING)  # and so not NaN
        good &= right if given.ndim == 1 else right.all(axis=1)
    return good


def _check_length(values: npt.NDArray[Any] | None, n: int) -> None:
    if values is not None and len(values) != n:
        raise ValueError(f"{len(values)} answers to {n} inputs")


_told: set[tuple[str, str, str]] = set()


def _failed(
    version: Version, what: str, error: Exception, n: int, scores: Floats | None
) -> Inferred:
    """The whole batch deferred: which of its inputs the version fails on is not known."""
    FAILED.labels(what).inc(n)
    told = (version.id, what, type(error).__name__)
    if told not in _told:  # once with its trace; the counter tells how often
        _told.add(told)
        message = "the %s of version %s fails; its inputs are deferred"
        log.error(message, what, version.id, exc_info=error)
    reason = words(f"the version's {what} failed: {type(error).__name__}: {error}")
    nobody = np.zeros(n, bool)
    everybody = np.ones(n, bool)
    decision, score = _gated(scores, nobody, n)
    return Inferred(everybody, constant(reason, n), decision, score, constant(None, n), None)


def _gated(scores: Floats | None, refused: Mask, n: int) -> tuple[Column, Column]:
    """The gate's decisions and scores."""
    if scores is None:
        return constant("none", n), constant(None, n)
    scored = np.isfinite(scores)
    if scored.all() and not refused.any():
        return constant("admit", n), Column(scores)
    decision = np.where(refused, "defer", "admit").astype(object)
    decision[~scored] = "none"
    return Column(decision), Column(scores, None if scored.all() else scored)


def _propensity(refused: Mask, unable: Mask, share: float) -> Column:
    """With which probability the model was to answer each input, given what the gate decided."""
    n = len(refused)
    if not refused.any() and not unable.any():
        return constant(1.0, n)
    return Column(np.where(refused, share, 1.0), ~unable if unable.any() else None)


def _reasons(n: int, defer: Mask, reasons: list[tuple[Mask, str]]) -> Column:
    if not reasons:
        return constant(None, n)
    if len(reasons) == 1 and defer.all():
        return constant(reasons[0][1], n)
    values = np.full(n, "", object)
    for rows, reason in reasons:
        values[rows] = reason
    return Column(values, defer)
