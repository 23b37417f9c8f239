"""The numbers of a frame as one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]


class Numbers:
    """Reads some columns of float64 from frames that are laid out alike.

    pandas keeps them as one block. Picking columns by their names copies it in five times the
    time that it takes to look at a slice of it: so where they are next to each other, the slice
    is what is read. False where there are none.

    names: of the columns, in the order wanted; like: some frame.
    """

    def __init__(self, names: Sequence[str], like: pd.DataFrame) -> None:
        self.names = list(names)
        at: list[int] = like.columns.get_indexer(pd.Index(self.names)).tolist()
        together = bool(at) and at[0] >= 0 and at == list(range(at[0], at[0] + len(at)))
        self._slice = slice(at[0], at[0] + len(at)) if together else None

    def __bool__(self) -> bool:
        return bool(self.names)

    def __call__(self, frame: pd.DataFrame) -> Floats:
        """(n, columns) float64, to be read only: it may be the frame's own memory."""
        if self._slice is not None:
            return frame.iloc[:, self._slice].to_numpy(np.float64)
        return frame[self.names].to_numpy(np.float64)


def read_numbers(frame: pd.DataFrame, names: tuple[str, ...]) -> Floats:
    """Some columns of float64, (n, names), to be read only; of a frame of any layout."""
    return _reader(tuple(frame.columns), names)(frame)


@lru_cache(maxsize=64)
def _reader(layout: tuple[str, ...], names: tuple[str, ...]) -> Numbers:
    return Numbers(names, pd.DataFrame(columns=list(layout)))
