"""What was said of n requests: then, as it is recorded, or now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columns import Column, Columns
from schemas.records import Kind

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_DTYPES: dict[Kind, Any] = {"binary": np.bool_, "multiclass": object, "regression": np.float64}


@dataclass(frozen=True, eq=False)
class Said:
    """The answers to n requests.

    answer: (n,), the fallback's where ``deferred``. probability: (n,), of true or of the answer;
    NaN where the model was not asked. probabilities: (n, k) by class, of a multi-class task.
    """

    deferred: Mask
    answer: npt.NDArray[Any]
    probability: Floats
    probabilities: Floats | None = None

    @classmethod
    def of(cls, kind: Kind, classes: int, columns: Columns) -> Said:
        """From fields of predictions none of which is rejected."""
        n = len(columns["status"])
        each = None
        if kind == "multiclass":
            each = np.full((n, classes), np.nan)
            for row, values in enumerate(columns["probabilities"].values):
                if values is not None and len(values) == classes:
                    each[row] = values
        return cls(
            np.asarray(columns["status"].values == "deferred", bool),
            np.array(columns["answer"].values, _DTYPES[kind]),
            _with_nan(columns["probability"]),
            each,
        )


def truths(kind: Kind, column: Column) -> tuple[npt.NDArray[Any], Mask]:
    """Truths, and where they are known."""
    known = column.present
    values = np.zeros(len(column), _DTYPES[kind])
    values[known] = column.values[known]
    return values, known


def _with_nan(column: Column) -> Floats:
    if column.valid is None:
        return np.asarray(column.values, np.float64)
    found = np.full(len(column), np.nan)
    found[column.valid] = column.values[column.valid]
    return found
