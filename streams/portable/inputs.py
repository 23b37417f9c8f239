"""A version's frame as the inputs of its ONNX form: one matrix of numbers, one of codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.features import Category, Feature
from streams.portable.graph import Graph

NUMBERS, CODES = "numbers", "codes"


@dataclass(frozen=True)
class Inputs:
    """The names of the columns of both matrices, in order.

    numbers: float64, NaN for null, booleans 0 and 1. codes: int64, places in the version's
    vocabulary, -1 for missing.
    """

    numbers: Sequence[str]
    codes: Sequence[str]

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
            numbers = frame if not self.codes else frame[list(self.numbers)]
            found[NUMBERS] = np.ascontiguousarray(numbers.to_numpy(np.float64))
        if self.codes:
            codes = np.empty((len(frame), len(self.codes)), np.int64)
            for at, name in enumerate(self.codes):
                codes[:, at] = frame[name].array.codes
            found[CODES] = codes
        return found

    def declare(self, graph: Graph) -> None:
        """As inputs of a graph."""
        if self.numbers:
            graph.input(NUMBERS, np.float64, len(self.numbers))
        if self.codes:
            graph.input(CODES, np.int64, len(self.codes))
