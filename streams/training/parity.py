"""Whether a version that was written to files and read again still answers as it did."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from streams.bundle import BundleError, load_bundle, save_bundle
from streams.manifest import Contents, build
from streams.skops_files import UnsafeFile
from streams.task import Task
from streams.training.errors import FitError
from streams.training.fitting import one_thread
from streams.version import Answers, Version

TOLERANCE = 1e-6
"""How far an exported estimator's answers may be from the trained one's (relatively above 1)."""
_KEY = b"parity"  # of a bundle that nobody else sees


@dataclass(frozen=True)
class Parity:
    """The largest difference that was found over the rows, and whether that is none to speak of.

    largest: of answers (or probabilities) and gate scores, relative to the trained estimator's
    where that is above 1; None where there is nothing to compare. note: what is wrong.
    """

    passed: bool
    rows: int
    largest: float | None = None
    tolerance: float = TOLERANCE
    note: str = ""

    def facts(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def exported(task: Task, contents: Contents) -> Version:
    """The version as a bundle gives it: written to a folder, signed, checked and loaded.

    Raises UnsafeFile or BundleError where that cannot be.
    """
    with tempfile.TemporaryDirectory(prefix="weir-parity-") as root:
        return load_bundle(save_bundle(Path(root), task, contents, _KEY).folder, task, _KEY)


def check(task: Task, contents: Contents, frame: pd.DataFrame) -> tuple[Parity, Version | None]:
    """Compare the exported version with the trained estimators on rows; and that version.

    The trained estimators are asked as scikit-learn is, without what serving does to be quick, so
    that both a file that says something else and a short cut that errs are found.
    """
    try:
        with one_thread():
            manifest = build(task, contents, {})
            trained = Version(task, manifest, contents.model, contents.gate)
            version = exported(task, contents)
            pairs = [
                *_numbers(trained.predict(frame), version.predict(frame)),
                (trained.gate_scores(frame), version.gate_scores(frame)),
            ]
    except (UnsafeFile, BundleError, FitError) as error:
        return Parity(False, len(frame), note=str(error)), None
    largest = 0.0
    for was, found in pairs:
        if was is None or found is None:
            continue
        apart = np.abs(found - was) / np.maximum(np.abs(was), 1.0)
        largest = max(largest, float(apart.max()) if np.isfinite(apart).all() else np.inf)
    if not np.isfinite(largest):
        return Parity(False, len(frame), note="some answers are not finite"), version
    return Parity(largest <= TOLERANCE, len(frame), largest), version


def _numbers(was: Answers, found: Answers) -> list[tuple[Any, Any]]:
    if was.probabilities is not None:
        return [(was.probabilities, found.probabilities)]
    if was.probability is not None:
        return [(was.probability, found.probability)]
    return [(was.answer, found.answer)]
