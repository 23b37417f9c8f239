"""Proof that an ONNX form gives a version's answers: on rows that are there, and on made ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.features import Boolean, Category, Feature, Integer, Number
from streams.portable.session import Session
from streams.version import Version

TOLERANCE = 1e-6
"""How far a probability may be off; of a regression, relative to the larger of 1 and the answer.

Everything that is converted here computes in float64 and is within 1e-12; what skl2onnx converts
may round to float32."""
MADE_ROWS = 512


@dataclass(frozen=True)
class Parity:
    """What a comparison found.

    rows, made: given and generated ones. largest: the largest difference of a probability, an
    answer of a regression, or a gate's score. decisions: rows whose answer differs.
    """

    rows: int
    made: int
    largest: float
    decisions: int
    tolerance: float = TOLERANCE

    @property
    def holds(self) -> bool:
        """Whether all are within the tolerance, and no answer is another."""
        return self.largest <= self.tolerance and self.decisions == 0

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return {**asdict(self), "holds": self.holds}


def compare(version: Version, session: Session, rows: pd.DataFrame) -> Parity:
    """A version beside its ONNX form.

    rows: of the version's frame, one or more; rows made of them are compared as well.
    """
    ported = in_onnx(version, session)
    made = mixed(version.task.inputs, rows, MADE_ROWS)
    largest, decisions = 0.0, 0
    for frame in (rows, made):
        was, is_ = version.predict(frame), ported.predict(frame)
        for name in ("probabilities", "probability"):
            if getattr(was, name) is not None:
                largest = max(largest, _off(getattr(was, name), getattr(is_, name)))
        if version.kind == "regression":
            scale = np.maximum(1.0, np.abs(was.answer))
            largest = max(largest, _off(was.answer / scale, is_.answer / scale))
        else:
            # Where a probability is within the tolerance of the threshold, either answer is right.
            close = np.zeros(len(frame), bool)
            if was.probability is not None and version.kind == "binary":
                close = np.abs(was.probability - version.decision_threshold) <= TOLERANCE
            decisions += int(((was.answer != is_.answer) & ~close).sum())
        scores = version.gate_scores(frame)
        if scores is not None and session.has_gate:
            largest = max(largest, _off(scores, session.gate_scores(frame)))
    return Parity(len(rows), len(made), largest, decisions)


def in_onnx(version: Version, session: Session) -> Version:
    """The same version, its model asked in its ONNX form."""
    manifest = dict(version.manifest)
    if session.calibrated:  # its probabilities are set right already
        manifest.pop("calibration", None)
    return Version(version.task, manifest, version.model, version.gate, portable=session)


def _off(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """The largest difference; infinite where one is a number and the other is none."""
    if not np.array_equal(np.isnan(one), np.isnan(other)):
        return float("inf")
    return float(np.nanmax(np.abs(one - other), initial=0.0))


def mixed(features: Sequence[Feature], rows: pd.DataFrame, n: int, seed: int = 0) -> pd.DataFrame:
    """Rows made of others: each feature from another row, at its bounds, or null where it may be;
    categories of every name and missing."""
    draw = np.random.default_rng(seed)
    made: dict[str, Any] = {}
    for feature in features:
        column = rows[feature.name]
        if isinstance(feature, Category):
            known = len(column.cat.categories)
            least = -1 if feature.nullable or feature.values is None else 0
            codes = draw.integers(least, max(known, least + 1), n)
            every = np.arange(least, known)[:n]
            codes[: len(every)] = every
            made[feature.name] = pd.Categorical.from_codes(
                codes, categories=column.cat.categories, validate=False
            )
            continue
        values = column.to_numpy(np.float64)[draw.integers(0, len(rows), n)]
        if isinstance(feature, Boolean):
            values = draw.integers(0, 2, n).astype(float)
        elif isinstance(feature, Number | Integer):
            bounds = [bound for bound in (feature.low, feature.high) if bound is not None]
            chosen = draw.random(n) < 0.05 * len(bounds)
            if bounds:
                values = np.where(chosen, draw.choice(np.array(bounds, float), n), values)
        if feature.nullable:
            values = np.where(draw.random(n) < 0.1, np.nan, values)
        made[feature.name] = values
    return pd.DataFrame(made)[[feature.name for feature in features]]
