"""What is expected of a truth that is known: itself. So realised metrics are estimates too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from schemas.records import Kind
from streams.version import Answers

Floats = npt.NDArray[np.float64]


def certain(
    kind: Kind, classes: Sequence[str], answers: Answers, truth: npt.NDArray[np.generic]
) -> Floats:
    """As `Estimator.expect`, with probabilities 0 and 1, or the errors that were made."""
    if kind == "regression":
        error = answers.answer.astype(np.float64) - truth.astype(np.float64)
        return np.column_stack([np.abs(error), error**2])
    if kind == "binary":
        return truth.astype(np.float64)[:, None]
    return np.column_stack([np.asarray(truth == name, np.float64) for name in classes])
