"""A version's frame as the inputs of its ONNX form: one matrix of numbers, one of codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.features import Category, Feature
from streams.numbers import Numbers

NUMBERS, CODES = "numbers", "codes"
PROBABILITIES, VALUE, GATE = "probabilities", "value", "gate"
"""The names of a file's inputs and outputs."""
FACTS = "weir"
"""The file's metadata of that name say, as JSON, what its inputs are."""


@dataclass
class Inputs:
    """The names of the columns of both matrices, in order.

    numbers: float64, NaN for null, booleans 0 and 1. codes: int64, places in the version's
    vocabulary, -1 for missing.
    """

    numbers: Sequence[str]
    codes: Sequence[str]
    _columns: pd.Index | None = field(default=None, init=False, repr=False, compare=False)
    _numbers: Numbers | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, features: Sequence[Feature]) -> Inputs:
        """Of a task's inputs, each kind in their order."""
        return cls(
            [f.name for f in features if not isinstance(f, Category)],
            [f.name for f in features if isinstance(f, Category)],
        )

    def arrays(self, frame: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
        """The inputs for the rows of a frame."""
        found: dict[str, npt.NDArray[Any]] = {}
        if self.numbers:
            found[NUMBERS] = np.ascontiguousarray(self._read(frame))
        if self.codes:
            codes = np.empty((len(frame), len(self.codes)), np.int64)
            for at, name in enumerate(self.codes):
                codes[:, at] = frame[name].array.codes
            found[CODES] = codes
        return found

    def _read(self, frame: pd.DataFrame) -> npt.NDArray[np.float64]:
        """The numbers, read in the way that suits the frame's layout: a worker's all have one."""
        reads = self._numbers
        if reads is None or self._columns is None or not frame.columns.is_(self._columns):
            reads = self._numbers = Numbers(self.numbers, frame)
            self._columns = frame.columns
        return reads(frame)
