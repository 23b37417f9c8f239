"""Columns of a batch as the data frame that a model version gets.

The same function makes the frames of training and of serving, so the two cannot differ.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import repeat

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.internals import (  # type: ignore[import-not-found]
    create_dataframe_from_blocks,
)

from schemas.columns import Column, Columns
from schemas.features import Boolean, Category, Feature
from streams.task import Task

Vocabularies = Mapping[str, Sequence[str]]
"""For each Category feature the names that a model version knows, in the order of their codes."""

PREFIX = "features."


def frame(
    task: Task, columns: Columns, vocabularies: Vocabularies, prefix: str = PREFIX
) -> pd.DataFrame:
    """The features of a batch, a column each in the task's order, rows numbered from 0.

    Number, Integer and Boolean become float64 with NaN for null (true is 1.0). Category becomes
    a pandas Categorical over ``vocabularies[name]``; null and names that are not in the
    vocabulary are missing. ``vocabularies`` must not change after the first call with it.
    Raises KeyError where ``columns`` lacks a feature.
    """
    return _framer(task, vocabularies)(columns, prefix)


class Framer:
    """Makes frames for one list of features and one set of vocabularies.

    pandas spends over 100 µs on making a frame from a dict of 20 columns; putting one block of
    numbers and the categories' codes together takes 15.
    """

    def __init__(self, features: Sequence[Feature], vocabularies: Vocabularies) -> None:
        self._names = pd.Index([feature.name for feature in features])
        self._numeric = [f.name for f in features if not isinstance(f, Category)]
        self._numeric_at = np.array(
            [i for i, f in enumerate(features) if not isinstance(f, Category)], np.intp
        )
        self._categories: list[tuple[str, npt.NDArray[np.intp], _Coder]] = [
            (f.name, np.array([i], np.intp), _Coder(f.name, vocabularies))
            for i, f in enumerate(features)
            if isinstance(f, Category)
        ]

    def __call__(self, columns: Columns, prefix: str = PREFIX) -> pd.DataFrame:
        """The frame of a batch; see `frame`."""
        n = len(columns[prefix + self._names[0]])
        blocks: list[tuple[object, npt.NDArray[np.intp]]] = []
        if self._numeric:
            block = np.empty((len(self._numeric), n))
            for row, name in zip(block, self._numeric, strict=True):
                _fill(row, columns[prefix + name])
            blocks.append((block, self._numeric_at))
        for name, at, coder in self._categories:
            blocks.append((coder(columns[prefix + name]), at))
        made: pd.DataFrame = create_dataframe_from_blocks(blocks, pd.RangeIndex(n), self._names)
        return made


class _Coder:
    """Names to codes of one vocabulary."""

    def __init__(self, name: str, vocabularies: Vocabularies) -> None:
        words = list(vocabularies[name])
        # Object dtype: the categories must not depend on whether pyarrow is installed.
        self.dtype = pd.CategoricalDtype(pd.Index(words, dtype=object))
        self.codes = {word: code for code, word in enumerate(words)}
        self.code_dtype = np.min_scalar_type(-max(len(words), 1))

    def __call__(self, column: Column) -> pd.Categorical:
        values = column.values
        if len(values) > 1 and values.strides == (0,):  # one value for all rows
            codes = np.full(len(values), self.codes.get(values[0], -1), self.code_dtype)
        else:
            found = map(self.codes.get, values.tolist(), repeat(-1))
            codes = np.fromiter(found, self.code_dtype, len(values))
        if column.valid is not None:
            codes[~column.valid] = -1
        return pd.Categorical.from_codes(codes, dtype=self.dtype, validate=False)


def _fill(row: npt.NDArray[np.float64], column: Column) -> None:
    """Write a numeric column into ``row``, NaN where it is null."""
    if column.valid is None:
        row[:] = column.values
    elif column.values.dtype == object:  # such as a column of nulls, which holds no numbers
        row[:] = np.nan
        row[column.valid] = column.values[column.valid]
    else:
        row[:] = column.values
        row[~column.valid] = np.nan


def columns_of(features: Sequence[Feature], table: pd.DataFrame, prefix: str = PREFIX) -> Columns:
    """A table's features as columns of a batch: training data on its way to `frame`.

    Null is None, NaN or pandas.NA. Raises ValueError naming a column that is missing or holds
    values of another type.
    """
    columns: Columns = {}
    for feature in features:
        if feature.name not in table:
            raise ValueError(f"the data has no column {feature.name!r}, which is a feature")
        series = table[feature.name]
        valid = series.notna().to_numpy(bool)
        columns[prefix + feature.name] = Column(
            _values(feature, series, valid), None if valid.all() else valid
        )
    return columns


def _values(
    feature: Feature, series: pd.Series, valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.generic] | npt.NDArray[np.object_]:
    try:
        if isinstance(feature, Category):
            values = np.full(len(series), "", object)
            values[valid] = series[valid].astype(str).to_numpy(object)
            return values
        numbers = np.full(len(series), np.nan)
        numbers[valid] = series[valid].to_numpy(float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"column {feature.name!r} of the data is not {feature.avro}: {error}"
        ) from error
    if isinstance(feature, Boolean) and not np.isin(numbers[valid], (0, 1)).all():
        raise ValueError(f"column {feature.name!r} of the data holds more than true and false")
    return numbers


_FRAMERS_KEPT = 64
"""Versions in service at once are a handful; 64 leaves room for a test of many."""
_framers: OrderedDict[tuple[int, int], tuple[Task, Vocabularies, Framer]] = OrderedDict()


def _framer(task: Task, vocabularies: Vocabularies) -> Framer:
    """The framer of a task and a version; kept, as making one costs as much as many frames."""
    key = (id(task), id(vocabularies))
    known = _framers.get(key)
    if known is not None:  # the entry holds both objects, so that their ids stay theirs
        return known[2]
    framer = Framer(task.inputs, vocabularies)
    _framers[key] = (task, vocabularies, framer)
    while len(_framers) > _FRAMERS_KEPT:
        _framers.popitem(last=False)
    return framer
