"""Frames as river takes them: a dict an input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

Row = dict[str, Any]


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """Each row as its values by name: numbers as float, categories as str; without the missing.

    river learns row by row; making a dict costs a tenth of what it does with it.
    """
    names = [str(name) for name in frame]
    words = [name for name in names if isinstance(frame[name].dtype, pd.CategoricalDtype)]
    numeric = [name for name in names if name not in words]
    numbers = frame[numeric].to_numpy(np.float64)
    found: list[Row] = [dict(zip(numeric, row, strict=True)) for row in numbers.tolist()]
    for at, column in zip(*np.nonzero(np.isnan(numbers)), strict=True):
        del found[at][numeric[column]]
    for name in words:
        for row, word in zip(found, frame[name].astype(object), strict=True):
            if isinstance(word, str):
                row[name] = word
    return found
