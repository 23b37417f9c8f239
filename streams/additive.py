"""Linear models served without their pipeline: one product and one look-up a category.

A scikit-learn pipeline of imputing, scaling, one-hot encoding and a linear model costs some
milliseconds a batch, however small the batch is, nearly all of it for checking and copying. What
it computes is a sum of one term a feature: so the terms are read off once, by asking the pipeline
about inputs that differ in one feature, and the sum is checked against the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    RobustScaler,
    StandardScaler,
)

from schemas.features import Category, Feature
from streams.numbers import Numbers

Floats = npt.NDArray[np.float64]

_COLUMNWISE = (
    SimpleImputer,
    StandardScaler,
    MinMaxScaler,
    MaxAbsScaler,
    RobustScaler,
    OneHotEncoder,
)
_LINEAR = (LogisticRegression, LinearRegression, Ridge, Lasso, ElasticNet)

_CHECK_ROWS = 64
"""Rows of the check: each takes every feature from another sample, or null."""
TOLERANCE = 1e-9
"""How far the sum may be from what it was read off."""


@dataclass(frozen=True, eq=False)
class Additive:
    """A sum of terms: bias, a weight for each number, a table for each category.

    The i-th number adds ``weights[i] * (x - origin[i])``, or ``missing[i]`` where it is NaN; a
    category adds its code's entry of the table, whose last entry is for missing (code -1).
    Where there are k sums at once, bias, weights, missing and the tables have k columns.
    """

    bias: Floats
    numbers: Numbers
    origin: Floats
    weights: Floats
    missing: Floats
    tables: Sequence[tuple[str, Floats]]

    def __call__(self, frame: pd.DataFrame) -> Floats:
        """The sum for each row, (n,) or (n, k) float64."""
        total = np.empty((len(frame), *self.bias.shape))
        total[:] = self.bias
        if self.numbers:
            block = self.numbers(frame) - self.origin
            null = np.isnan(block)
            if null.any():
                block[null] = 0.0
                # Column by column: a NaN in `missing`, of a number that is never null, must not
                # spread.
                for at in np.flatnonzero(null.any(axis=0)):
                    total[null[:, at]] += self.missing[at]
            total += block @ self.weights
        for name, table in self.tables:
            total += table.take(frame[name].array.codes, axis=0, mode="wrap")  # -1: the last
        return total


def additive(estimator: Any, features: Sequence[Feature], samples: pd.DataFrame) -> Additive | None:
    """The sum that a fitted estimator computes, or None where it is not known to be one.

    The sum is that of ``decision_function`` of a binary classifier or ``predict`` of a regressor.
    ``samples``: a few rows of a version's frame, the more different the better.
    """
    if not _is_additive(estimator):
        return None
    try:
        terms = read_off(lambda frame: _ask(estimator, frame), features, samples)
        check = mixed(features, samples)
        agrees = np.allclose(terms(check), _ask(estimator, check), rtol=TOLERANCE, atol=TOLERANCE)
    except Exception:  # it refuses an input that was tried: then it is asked as it is
        return None
    return terms if agrees else None


def _is_additive(estimator: Any) -> bool:
    """Whether all its parts work on single columns and its last step is a weighted sum."""
    if not isinstance(estimator, Pipeline):
        return False
    last = estimator.steps[-1][1]
    if type(last) not in _LINEAR or len(getattr(last, "classes_", ())) > 2:
        return False
    return all(is_columnwise(step) for _, step in estimator.steps[:-1])


def is_columnwise(step: Any) -> bool:
    """Whether what a fitted transformer makes of a column is linear in it, category by category."""
    if isinstance(step, str):
        return step in ("passthrough", "drop")
    if isinstance(step, Pipeline):
        return all(is_columnwise(inner) for _, inner in step.steps)
    if isinstance(step, ColumnTransformer):
        return all(is_columnwise(inner) for _, inner, _ in step.transformers_)
    if isinstance(step, FunctionTransformer):
        return step.func is None  # what "passthrough" becomes when it is fitted
    return type(step) in _COLUMNWISE


def _ask(estimator: Any, frame: pd.DataFrame) -> Floats:
    verb = "decision_function" if hasattr(estimator, "decision_function") else "predict"
    return np.asarray(getattr(estimator, verb)(frame), np.float64).reshape(len(frame))


def read_off(
    ask: Callable[[pd.DataFrame], Floats], features: Sequence[Feature], samples: pd.DataFrame
) -> Additive:
    """The terms of sums, (n,) or (n, k), that are asked for.

    Asked is about one row, and about rows that differ from it in one feature each.
    """
    # For each feature the values to try; the first of them is that of the one row.
    tried = {feature.name: _tried(feature, samples[feature.name]) for feature in features}
    count = 1 + sum(len(values) - 1 for values in tried.values())
    asked = {name: np.full(count, values[0]) for name, values in tried.items()}
    at = 1
    for name, values in tried.items():
        asked[name][at : at + len(values) - 1] = values[1:]
        at += len(values) - 1
    given = ask(_assemble(asked, samples))
    changes, at = {}, 1
    for name, values in tried.items():
        changes[name] = given[at : at + len(values) - 1] - given[0]
        at += len(values) - 1
    numbers = [f for f in features if not isinstance(f, Category)]
    origin = np.array([tried[f.name][0] for f in numbers])
    step = np.array([tried[f.name][1] for f in numbers]) - origin
    shape = (len(numbers), *given.shape[1:])
    never = np.full(given.shape[1:], np.nan)
    slopes = [changes[f.name][0] / step[i] for i, f in enumerate(numbers)]
    missing = [changes[f.name][1] if f.nullable else never for f in numbers]
    return Additive(
        bias=np.asarray(given[0]),
        numbers=Numbers([f.name for f in numbers], samples),
        origin=origin,
        weights=np.reshape(slopes, shape),
        missing=np.reshape(missing, shape),
        tables=[(f.name, _table(f, changes[f.name])) for f in features if isinstance(f, Category)],
    )


def _tried(feature: Feature, sample: pd.Series) -> npt.NDArray[Any]:
    """A number: its middle, another as far off as usual, NaN if it may be null. A category: all
    its codes, -1 if it may be missing."""
    if isinstance(feature, Category):
        codes = np.arange(len(sample.cat.categories))
        return np.append(codes, -1) if _may_be_missing(feature) else codes
    values = sample.to_numpy(float)
    values = values[~np.isnan(values)]
    middle, spread = (np.median(values), np.std(values)) if len(values) else (0.0, 1.0)
    two = [middle, middle + (spread or 1.0)]
    return np.array([*two, np.nan] if feature.nullable else two)


def _table(feature: Category, changes: Floats) -> Floats:
    other = changes.shape[1:]
    parts = [np.zeros((1, *other)), changes]  # the first code is the one row's
    if not _may_be_missing(feature):
        parts.append(np.full((1, *other), np.nan))
    return np.concatenate(parts)


def _may_be_missing(feature: Category) -> bool:
    return feature.nullable or feature.values is None


def _assemble(values: dict[str, npt.NDArray[Any]], samples: pd.DataFrame) -> pd.DataFrame:
    """A frame like ``samples`` from numbers and codes."""
    made: dict[str, Any] = {}
    for name, column in values.items():
        dtype = samples[name].dtype
        if isinstance(dtype, pd.CategoricalDtype):
            made[name] = pd.Categorical.from_codes(column, dtype=dtype)
        else:
            made[name] = column
    return pd.DataFrame(made)


def mixed(features: Sequence[Feature], samples: pd.DataFrame) -> pd.DataFrame:
    """Rows whose features come from different samples, a tenth of them null where they may be."""
    chance = np.random.default_rng(0)
    values: dict[str, npt.NDArray[Any]] = {}
    for feature in features:
        null = chance.random(_CHECK_ROWS) < 0.1
        if isinstance(feature, Category):
            known = len(samples[feature.name].cat.categories)
            values[feature.name] = chance.integers(0, known, _CHECK_ROWS)
            if _may_be_missing(feature):
                values[feature.name][null] = -1
        else:
            picked = chance.integers(0, len(samples), _CHECK_ROWS)
            values[feature.name] = samples[feature.name].to_numpy(float)[picked]
            if feature.nullable:
                values[feature.name][null] = np.nan
    return _assemble(values, samples)
