"""A model version in memory: what the serving agent asks for answers and gate scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from schemas.columns import Columns
from schemas.records import Kind
from streams.additive import additive
from streams.calibration import Calibrator
from streams.doubts import doubts
from streams.frame import PREFIX, frame
from streams.layers import Layers, layers
from streams.task import Task
from streams.trees import without_encoder

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The answers to n inputs.

    answer: (n,) bool for a binary task, object of str for a multi-class one, float64 for a
        regression.
    probability: (n,) float64; binary: of true, multi-class: of the answer; None for a regression.
    probabilities: (n, k) float64 in the task's order of classes; multi-class only, else None.

    An estimator that meets inputs which it cannot handle may give NaN; no check is made here.
    """

    answer: npt.NDArray[Any]
    probability: Floats | None = None
    probabilities: Floats | None = None

    def __len__(self) -> int:
        return len(self.answer)

    def take(self, rows: slice | npt.NDArray[Any]) -> Answers:
        """The answers that ``rows`` (a mask, indices or a slice) selects, in that order."""
        return Answers(
            self.answer[rows],
            None if self.probability is None else self.probability[rows],
            None if self.probabilities is None else self.probabilities[rows],
        )

    def join(self, other: Answers) -> Answers:
        """These answers and those of ``other`` after them; both of the same kind of task."""

        def both(mine: Any, theirs: Any) -> Any:
            return None if mine is None else np.concatenate([mine, theirs])

        return Answers(
            both(self.answer, other.answer),
            both(self.probability, other.probability),
            both(self.probabilities, other.probabilities),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What a version's estimator expects of the truth of n answers (`streams.estimates`).

    values: (n, 1) P(true), (n, k) P by class, or (n, 2) absolute and squared error, by the task's
    kind. spread: how far its metrics are off beyond chance, the same for all. outside: (n,), which
    inputs are outside the region that it learned from.
    """

    values: Floats
    spread: Floats
    outside: npt.NDArray[np.bool_]

    def take(self, rows: npt.NDArray[Any]) -> Expected:
        """Those of some rows."""
        return Expected(self.values[rows], self.spread, self.outside[rows])


class Estimates(Protocol):
    """What `streams.estimates.saved.Saved` is to a version."""

    def expect(self, frame: pd.DataFrame, answers: Answers) -> Expected:
        """What to expect of the truth of answers to the rows of a frame."""


class Version:
    """A loaded model version. Its attributes must not be changed; it may be shared by threads.

    id, dataset_id: as predictions name them.
    manifest: the bundle's manifest (see `streams.bundle`).
    vocabularies: what `streams.frame.frame` needs to make this version's frames.
    threshold: defer where ``gate_scores`` is at or above it; None where there is no gate.
    runtime: what its model is asked in: ``scikit-learn``, or ``onnx``.

    ``samples``, some rows of a frame, let it serve linear models, small networks and boosted trees
    in faster ways that give the same (see `streams.additive`, `streams.layers`, `streams.trees`).
    ``portable``, the ONNX form of the model (`streams.portable.session.Session`), is asked in its
    place.
    """

    def __init__(
        self,
        task: Task,
        manifest: Mapping[str, Any],
        model: Any,
        gate: Any | None = None,
        profile: Mapping[str, Any] | None = None,
        samples: pd.DataFrame | None = None,
        estimates: Estimates | None = None,
        portable: Any | None = None,
    ) -> None:
        self.task = task
        self.estimates = estimates
        self.manifest = manifest
        self.profile: Mapping[str, Any] = profile or {}
        self.id: str = manifest["id"]
        self.dataset_id: str = manifest["dataset"]["id"]
        self.kind: Kind = task.kind
        self.vocabularies: Mapping[str, Sequence[str]] = manifest["vocabularies"]
        self.decision_threshold: float = manifest["decision_threshold"]
        self.threshold: float | None = manifest["gate"]["threshold"] if gate is not None else None
        self.model = model
        self.gate = gate
        self.calibrator = Calibrator.of(manifest.get("calibration"))
        self._classes = np.array(task.classes, object)
        self._positions = _class_positions(task, model)
        self._doubts: Sequence[float] | None = (
            None if gate is None else manifest["gate"].get("scale")
        )
        self._gate_true = 0 if gate is None or self._doubts else _position_of_true(gate)
        self._answering = model
        self._fast_model = self._fast_gate = None
        self._fast_network: Layers | None = None
        if samples is not None:
            self._answering = without_encoder(model, samples)
            self._fast_model = additive(model, task.inputs, samples)
            self._fast_gate = additive(gate, task.inputs, samples)
            self._fast_network = layers(gate, task.inputs, samples)
        self.runtime = "scikit-learn"
        if portable is not None:
            self._answering, self._fast_model, self.runtime = portable, None, "onnx"

    def frame(self, columns: Columns, prefix: str = PREFIX) -> pd.DataFrame:
        """The frame of a batch with this version's vocabularies."""
        return frame(self.task, columns, self.vocabularies, prefix)

    def gate_scores(self, frame: pd.DataFrame) -> Floats | None:
        """P(the main model errs) for each row, (n,) float64; None where there is no gate."""
        if self.gate is None:
            return None
        if self._doubts is not None:
            network = self._fast_network or self.gate.predict
            intercept, slope = self._doubts
            return _logistic(intercept + slope * doubts(np.asarray(network(frame), np.float64)))
        if self._fast_gate is not None:
            return _logistic(self._fast_gate(frame))
        scores: Floats = self.gate.predict_proba(frame)[:, self._gate_true]
        return np.ascontiguousarray(scores, np.float64)

    def predict(self, frame: pd.DataFrame) -> Answers:
        """The model's answers to the rows of a frame that `frame` made; needs one row or more."""
        given = self._given(frame)
        if self.calibrator is None:
            return given
        return calibrated(self.task, given, self.calibrator, self.decision_threshold)

    def _given(self, frame: pd.DataFrame) -> Answers:
        """The answers as the estimator gives them."""
        if self._fast_model is not None:
            total = self._fast_model(frame)
            if self.kind == "regression":
                return Answers(total)
            probability = _logistic(total)
            return Answers(probability >= self.decision_threshold, probability)
        if self.kind == "regression":
            return Answers(
                np.asarray(self._answering.predict(frame), np.float64).reshape(len(frame))
            )
        raw = np.asarray(self._answering.predict_proba(frame), np.float64)
        if self.kind == "binary":
            probability = np.ascontiguousarray(raw[:, self._positions[0]])
            return Answers(probability >= self.decision_threshold, probability)
        # A class that training never met has no column of its own: its probability is 0.
        probabilities = np.zeros((len(raw), len(self._classes)))
        probabilities[:, self._positions] = raw
        best = probabilities.argmax(axis=1)
        return Answers(
            self._classes[best], probabilities[np.arange(len(best)), best], probabilities
        )


def calibrated(
    task: Task, given: Answers, calibrator: Calibrator, threshold: float = 0.5
) -> Answers:
    """Answers with their probabilities set right; of a binary or multi-class task."""
    if given.probabilities is None:
        assert given.probability is not None
        probability = calibrator(given.probability)
        return Answers(probability >= threshold, probability)
    probabilities = calibrator(given.probabilities)
    best = probabilities.argmax(axis=1)
    classes = np.array(task.classes, object)
    return Answers(classes[best], probabilities[np.arange(len(best)), best], probabilities)


def _logistic(total: Floats) -> Floats:
    """Log odds as probabilities; 0 and 1 where they are beyond what a float64 holds."""
    probability: Floats = expit(total)
    return probability


def _class_positions(task: Task, model: Any) -> npt.NDArray[np.intp]:
    """Binary: the column of true. Multi-class: for each of the model's columns, its class."""
    if task.kind == "regression":
        return np.empty(0, np.intp)
    if task.kind == "binary":
        return np.array([_position_of_true(model)], np.intp)
    known = [str(name) for name in model.classes_]
    unknown = sorted(set(known) - set(task.classes))
    if unknown:
        raise ValueError(f"the model answers {', '.join(unknown)}: not classes of task {task.name}")
    return np.array([task.classes.index(name) for name in known], np.intp)


def _position_of_true(model: Any) -> int:
    classes = list(model.classes_)
    if classes != [False, True]:
        raise ValueError(f"the model's classes are {classes}, not false and true")
    return 1
