"""Histogram-boosted trees served without their encoder.

scikit-learn's histogram boosting encodes categories by a ColumnTransformer that takes two to six
milliseconds a batch, several times what the trees take. A version's categories are codes already:
one look-up each turns them into the trees' own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from streams.numbers import Numbers

Floats = npt.NDArray[np.float64]


def without_encoder(model: Any, samples: pd.DataFrame) -> Any:
    """The same fitted model with a quick encoder, if it is one that has the slow one.

    ``samples``: some rows of a version's frame. The model that is given is not changed. The
    encoder is a private part of scikit-learn's: where it is not as expected, or the two do not
    give the same numbers for every known category, the model is returned as it is.
    """
    if type(model) not in (HistGradientBoostingClassifier, HistGradientBoostingRegressor):
        return model
    try:
        slow = model._preprocessor
        quick = _Encoder.of(model, samples)
        check = _all_codes(samples)
        same = np.array_equal(quick.transform(check), slow.transform(check), equal_nan=True)
    except Exception:  # another version of scikit-learn: slower, not wrong
        return model
    if not same:
        return model
    quickened = copy.copy(model)
    quickened._preprocessor = quick
    return quickened


class _Encoder:
    """Frames to the matrix that the trees were grown on: categories first, then numbers."""

    def __init__(self, tables: Sequence[tuple[str, Floats]], numbers: Numbers) -> None:
        self._tables = tables
        self._numbers = numbers

    @classmethod
    def of(cls, model: Any, samples: pd.DataFrame) -> _Encoder:
        """Read the categories' numbers off the model's own encoder."""
        names = np.array(samples.columns, object)
        categories = names[model.is_categorical_]
        known = model._preprocessor.named_transformers_["encoder"].categories_
        tables = []
        for name, words in zip(categories, known, strict=True):
            number = {word: float(i) for i, word in enumerate(words)}
            entries = [number.get(word, np.nan) for word in samples[name].cat.categories]
            tables.append((name, np.array([*entries, np.nan])))  # the last is for missing, code -1
        return cls(tables, Numbers(names[~model.is_categorical_].tolist(), samples))

    def transform(self, frame: pd.DataFrame) -> Floats:
        """(n, features) float64."""
        matrix = np.empty((len(frame), len(self._tables) + len(self._numbers.names)))
        for at, (name, table) in enumerate(self._tables):
            matrix[:, at] = table[frame[name].array.codes]
        if self._numbers:
            matrix[:, len(self._tables) :] = self._numbers(frame)
        return matrix


def _all_codes(samples: pd.DataFrame) -> pd.DataFrame:
    """Rows that hold every category of every feature, and missing."""
    dtypes = {name: dtype for name, dtype in samples.dtypes.items()}
    words = [d for d in dtypes.values() if isinstance(d, pd.CategoricalDtype)]
    n = max(len(samples), *(len(dtype.categories) + 1 for dtype in words))
    rows = samples.iloc[np.arange(n) % len(samples)].reset_index(drop=True)
    for name, dtype in dtypes.items():
        if isinstance(dtype, pd.CategoricalDtype):
            codes = np.arange(n) % (len(dtype.categories) + 1) - 1
            rows[name] = pd.Categorical.from_codes(codes, dtype=dtype)
    return rows
