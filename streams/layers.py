"""Small networks served without their pipeline.

What the pipeline gives to the units of the first layer is a sum: of a product with its numbers
(`streams.bends`), and of a row of a table for each category. The tables are read off the pipeline
(`streams.additive`); the rest are products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from schemas.features import Category, Feature
from streams.additive import TOLERANCE, mixed, read_off
from streams.bends import Bends
from streams.numbers import Numbers

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Layers:
    """A network of one layer of h rectified units.

    numbers, bends: d numbers and their stretches. weights: (5 d, h), of the numbers kept within
    the stretches. missing: (d, h), what a missing number adds beside what its zeros do.
    bias: (h,). tables: for each category (names + 1, h), the last row for missing.
    out, level: (h, outputs) and (outputs,), of the layer after it.
    """

    numbers: Numbers
    bends: Bends | None
    weights: Floats
    missing: Floats
    bias: Floats
    tables: Sequence[tuple[str, Floats]]
    out: Floats
    level: Floats

    def __call__(self, frame: pd.DataFrame) -> Floats:
        """What the network gives, (n,) for one output, else (n, outputs), float64."""
        units = np.empty((len(frame), len(self.bias)))
        units[:] = self.bias
        if self.bends is not None:
            values = self.numbers(frame)
            null = np.isnan(values)
            within = self.bends.clipped(values)  # a NaN stays one
            if null.any():
                units += null @ self.missing
                row, column = np.nonzero(null)
                within.reshape(len(frame), *self.bends.low_.shape)[row, column] = self.bends.low_[
                    column
                ]
            units += within @ self.weights
        for name, table in self.tables:
            units += table.take(frame[name].array.codes, axis=0, mode="wrap")  # -1: the last
        np.maximum(units, 0.0, out=units)
        found = units @ self.out
        found += self.level
        return found[:, 0] if found.shape[1] == 1 else found


def layers(estimator: Any, features: Sequence[Feature], samples: pd.DataFrame) -> Layers | None:
    """The network that `streams.training.imitation` fitted, or None where it is another estimator.

    ``samples``: a few rows of a version's frame, the more different the better.
    """
    if not (isinstance(estimator, Pipeline) and type(estimator.steps[-1][1]) is MLPRegressor):
        return None
    try:
        made = _read(estimator, features, samples)
        check = mixed(features, samples)
        agrees = np.allclose(made(check), estimator.predict(check), rtol=TOLERANCE, atol=TOLERANCE)
    except Exception:  # another network than ours: it is asked as it is
        return None
    return made if agrees else None


def _read(pipeline: Pipeline, features: Sequence[Feature], samples: pd.DataFrame) -> Layers:
    columns, network = pipeline[0], pipeline[-1]
    if not isinstance(columns, ColumnTransformer) or len(network.coefs_) != 2:
        raise ValueError("not a network of one layer")
    parts = {name: (step, named) for name, step, named in columns.transformers_}
    if not {type(step) for step, _ in parts.values()} <= {Bends, OneHotEncoder, str}:
        raise ValueError("not columns of ours")
    weights, bias = network.coefs_[0], network.intercepts_[0]
    terms = read_off(lambda rows: columns.transform(rows) @ weights + bias, features, samples)
    named = [f.name for f in features if not isinstance(f, Category)]
    bends, own = None, np.zeros((0, len(bias)))
    missing, base = own, terms.bias
    if named:
        at = next(name for name, (step, _) in parts.items() if type(step) is Bends)
        bends = parts[at][0]
        own = weights[columns.output_indices_[at]]
        base = base - bends.transform(terms.origin[None])[0] @ own
        own, missing = own[: bends.low_.size], own[bends.low_.size :]
        width = bends.width_.reshape(-1, 1)
        own = np.divide(own, width, out=np.zeros_like(own), where=width > 0)
        base = base - bends.low_.ravel() @ own
    return Layers(
        Numbers(named, samples),
        bends,
        np.ascontiguousarray(own),
        np.ascontiguousarray(missing),
        base,
        terms.tables,
        network.coefs_[1],
        network.intercepts_[1],
    )
