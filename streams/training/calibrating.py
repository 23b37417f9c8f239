"""Calibration of the chosen candidate: learned from answers to rows that it was not fitted on.

What is kept goes with a model that is fitted again on all rows, newer ones among them. So a method
is judged as it will be used: learned from the answers to the newest fifth of train (by a model
fitted on the rest), and asked to set right those of the model fitted on all of train, on
validation. Only what clearly helps there is kept, and then learned from validation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from streams.calibration import Calibrator, Method, log_odds
from streams.task import Task
from streams.training.candidates import Choice
from streams.training.data import Dataset
from streams.training.gate import FOLDS
from streams.training.held_out import HeldOut, errors_of
from streams.training.metrics import loss, losses
from streams.training.paired import difference
from streams.training.run import Facts
from streams.version import Answers, Floats, calibrated

STEEPEST = 20.0
"""Slopes of a temperature are from a twentieth to this: beyond, answers are all but certain."""


@dataclass(frozen=True, eq=False)
class Calibrated:
    """The choice and its held-out answers, set right where that helps; facts: how it was judged."""

    choice: Choice
    held: HeldOut
    facts: Facts


def calibrate(task: Task, data: Dataset, choice: Choice, held: HeldOut) -> Calibrated:
    """Set the chosen candidate's probabilities right, where one of the task's methods helps."""
    policy = task.training.calibration
    if task.kind == "regression" or not policy.methods:
        return Calibrated(choice, held, {})
    stop = data.train.stop
    early = _Part(task, data, held, data.judged(slice(stop - stop // FOLDS, stop)))
    later = _Part(task, data, held, data.judged(data.validation))
    rows = min(len(early.truth), len(later.truth))
    if rows < policy.rows:
        return Calibrated(choice, held, {"kept": None, "why": f"{rows} rows are too few"})
    before, blocks = losses(task, later.truth, later.given), task.training.comparison.blocks
    tried: dict[str, float] = {}
    surely: dict[Method, float] = {}
    for method in policy.methods:
        found = _learned(task, method, early) if _enough(task, method, rows) else None
        if found is None:
            continue
        after = losses(task, later.truth, calibrated(task, later.given, found))
        apart = difference(after, before, later.weight, blocks)
        tried[method] = apart.value
        if apart.interval(policy.error)[1] < 0:
            surely[found.method] = apart.value
    facts: Facts = {
        "kept": None,
        "uncalibrated": loss(task, later.truth, later.given, later.weight),
        "differences": tried,
    }
    kept = _learned(task, min(surely, key=lambda name: surely[name]), later) if surely else None
    if kept is None:
        return Calibrated(choice, held, facts)
    given = calibrated(task, held.answers, kept)
    right = HeldOut(given, held.beyond, errors_of(task, data, given, held.beyond), held.models)
    return Calibrated(
        replace(choice, calibrator=kept), right, facts | {"kept": kept.method, "how": kept.plain()}
    )


class _Part:
    """Some rows' truths and the answers to them."""

    def __init__(self, task: Task, data: Dataset, held: HeldOut, where: Any) -> None:
        self.truth = data.target[where]
        self.weight = data.weights(where)
        self.given: Answers = held.answers.take(where)


def _enough(task: Task, method: str, rows: int) -> bool:
    return method != "isotonic" or rows >= task.training.calibration.isotonic_rows


def _learned(task: Task, method: str, part: _Part) -> Calibrator | None:
    """A method's numbers by log loss; None where the rows do not give any."""
    learn: dict[str, Callable[[Task, _Part], Calibrator | None]] = {
        "temperature": _temperature,
        "sigmoid": _sigmoid,
        "isotonic": _isotonic,
    }
    return learn[method](task, part)


def _temperature(task: Task, part: _Part) -> Calibrator | None:
    def of(log_slope: float) -> float:
        tried = Calibrator("temperature", [float(np.exp(log_slope))])
        return loss(task, part.truth, calibrated(task, part.given, tried), part.weight)

    bound = float(np.log(STEEPEST))
    found = minimize_scalar(of, bounds=(-bound, bound), method="bounded")
    return Calibrator("temperature", [float(np.exp(found.x))])


def _sigmoid(task: Task, part: _Part) -> Calibrator | None:
    slopes, intercepts = [], []
    for probability, yes in _each(task, part):
        if yes.all() or not yes.any():
            return None
        odds = log_odds(probability).reshape(-1, 1)
        line = LogisticRegression(C=np.inf).fit(odds, yes, sample_weight=part.weight)
        slopes.append(float(line.coef_[0, 0]))
        intercepts.append(float(line.intercept_[0]))
    if min(slopes) <= 0:
        return None  # it would turn the order of answers round
    return Calibrator("sigmoid", slopes, intercepts)


def _isotonic(task: Task, part: _Part) -> Calibrator | None:
    x, y = [], []
    for probability, yes in _each(task, part):
        curve = IsotonicRegression(out_of_bounds="clip", y_min=0.0, y_max=1.0)
        curve.fit(probability, yes.astype(np.float64), sample_weight=part.weight)
        # No step is certain of what so many rows have shown: half a row may have been otherwise.
        least = 0.5 / len(yes)
        x.append(curve.X_thresholds_.tolist())
        y.append(np.clip(curve.y_thresholds_, least, 1 - least).tolist())
    return Calibrator("isotonic", x=x, y=y)


def _each(task: Task, part: _Part) -> list[tuple[Floats, npt.NDArray[np.bool_]]]:
    """The probability of each class, and where it is the truth; binary: of true alone."""
    if task.kind == "binary":
        assert part.given.probability is not None
        return [(part.given.probability, part.truth.astype(bool))]
    assert part.given.probabilities is not None
    return [
        (part.given.probabilities[:, k], np.asarray(part.truth == name, bool))
        for k, name in enumerate(task.classes)
    ]
