"""What prepares columns for an estimator: of categories, of numbers, or of both.

Whatever a transformer makes of single categories is a table: it is asked once about every code of
each. Numbers go through the few operations that scikit-learn's usual transformers are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)

from streams.bends import Bends
from streams.portable.graph import ML_OPSET, OPSET, Graph, NotConvertible
from streams.portable.inputs import CODES, NUMBERS, Inputs

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Frame:
    """Columns of a version's frame, by name.

    samples: some rows, whose types tell the categories.
    """

    inputs: Inputs
    names: Sequence[str]
    samples: pd.DataFrame

    def categories(self) -> list[str]:
        """Those of the columns that are categories."""
        return [name for name in self.names if name in self.inputs.codes]

    def codes(self, graph: Graph, name: str) -> str:
        """The codes of a category, int64 (rows,)."""
        at = graph.constant(list(self.inputs.codes).index(name), np.int64)
        return graph.op("Gather", CODES, at, axis=1)

    def numbers(self, graph: Graph, names: Sequence[str]) -> str:
        """Some of the numbers as a matrix."""
        every = list(self.inputs.numbers)
        if list(names) == every:
            return NUMBERS
        return graph.columns(NUMBERS, [every.index(name) for name in names])

    def only(self, names: Sequence[str]) -> Frame:
        """Some of the columns."""
        return Frame(self.inputs, names, self.samples)


@dataclass(frozen=True)
class Matrix:
    """A matrix of numbers: a value of the graph, (rows, width) float64."""

    value: str
    width: int


Given = Frame | Matrix


def matrix(graph: Graph, given: Given) -> Matrix:
    """What is given, as a matrix. NotConvertible where it holds categories."""
    if isinstance(given, Matrix):
        return given
    words = given.categories()
    if words:
        raise NotConvertible(f"it takes the categories {', '.join(words)} as they are")
    return Matrix(given.numbers(graph, given.names), len(given.names))


def transform(graph: Graph, transformer: Any, given: Given) -> Given:
    """What a fitted transformer makes of columns. NotConvertible where that is not known."""
    if isinstance(transformer, str):
        if transformer != "passthrough":
            raise NotConvertible(f"the transformer {transformer!r}")
        return given
    if isinstance(transformer, ColumnTransformer):
        return _side_by_side(graph, transformer, given)
    if isinstance(transformer, Pipeline):
        if isinstance(given, Frame) and len(given.categories()) == len(given.names):
            return _tables(graph, transformer, given)
        for _, step in transformer.steps:
            given = transform(graph, step, given)
        return given
    if isinstance(transformer, FunctionTransformer) and transformer.func is None:
        return given
    if isinstance(given, Frame) and given.categories():
        if len(given.categories()) < len(given.names):
            what = type(transformer).__name__
            raise NotConvertible(
                f"{what} gets categories and numbers together: give each kind a transformer of its "
                "own in a ColumnTransformer"
            )
        return _tables(graph, transformer, given)
    return _numbers(graph, transformer, matrix(graph, given))


def _side_by_side(graph: Graph, transformer: ColumnTransformer, given: Given) -> Matrix:
    parts: list[Matrix] = []
    columns = transformer._transformer_to_input_indices
    for name, step, _ in transformer.transformers_:
        indices = [int(at) for at in columns.get(name, [])]
        if not indices or (isinstance(step, str) and step == "drop"):
            continue
        if isinstance(given, Frame):
            some: Given = given.only([given.names[at] for at in indices])
        else:
            some = Matrix(graph.columns(given.value, indices), len(indices))
        made = transform(graph, step, some)
        parts.append(matrix(graph, made))
    if len(parts) == 1:
        return parts[0]
    joined = graph.op("Concat", *(part.value for part in parts), axis=1)
    return Matrix(joined, sum(part.width for part in parts))


def _tables(graph: Graph, transformer: Any, given: Frame) -> Matrix:
    """A transformer of categories as a look-up for each.

    A column of the result follows one category: the one with which it changes. Where it changes
    with two, it is none of a single category, and is refused.
    """
    samples = given.samples
    tables: dict[str, Floats] = {}
    for name in given.names:
        codes = np.append(np.arange(len(samples[name].cat.categories)), -1)
        probe = pd.DataFrame(
            {
                other: _of_codes(
                    codes if other == name else np.zeros(len(codes), int), samples[other]
                )
                for other in given.names
            }
        )
        made = transformer.transform(probe)
        made = made.toarray() if hasattr(made, "toarray") else np.asarray(made)
        tables[name] = made.astype(np.float64)
    width = next(iter(tables.values())).shape[1]
    changes = np.array(
        [~_same(table, table[:1]).all(axis=0) for table in tables.values()]
    )  # (categories, width)
    if (changes.sum(axis=0) > 1).any():
        raise NotConvertible(f"{type(transformer).__name__} mixes categories")
    parts, order = [], []
    for name, mine in zip(given.names, changes, strict=True):
        if name == given.names[-1]:
            mine = mine | ~changes.any(axis=0)  # what never changes is anybody's
        if mine.any():
            parts.append(_looked_up(graph, tables[name][:, mine], given.codes(graph, name)))
            order += np.flatnonzero(mine).tolist()
    value = parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)
    if order != list(range(width)):
        value = graph.columns(value, np.argsort(order).tolist())
    return Matrix(value, width)


def _looked_up(graph: Graph, table: Floats, codes: str) -> str:
    """Rows of a table; in one byte a number where all are small whole ones, as of one-hot codes."""
    small = table.astype(np.uint8) if ((table >= 0) & (table < 256)).all() else None
    if small is None or (small != table).any():
        return graph.op("Gather", graph.constant(table), codes, axis=0)
    found = graph.op("Gather", graph.constant(small, np.uint8), codes, axis=0)
    return graph.op("Cast", found, to=11)


def _of_codes(codes: npt.NDArray[Any], like: pd.Series) -> pd.Categorical:
    return pd.Categorical.from_codes(codes, categories=like.cat.categories)


def _same(one: Floats, other: Floats) -> npt.NDArray[np.bool_]:
    same: npt.NDArray[np.bool_] = (one == other) | (np.isnan(one) & np.isnan(other))
    return same


def _numbers(graph: Graph, transformer: Any, given: Matrix) -> Matrix:
    kind = type(transformer)
    if kind is SimpleImputer:
        return _imputed(graph, transformer, given)
    if kind is Bends:
        return _bent(graph, transformer, given)
    if kind is StandardScaler:
        centre = transformer.mean_ if transformer.with_mean else None
        return _scaled(graph, given, centre, transformer.scale_)
    if kind is RobustScaler:
        return _scaled(graph, given, transformer.center_, transformer.scale_)
    if kind is MaxAbsScaler and not transformer.clip:
        return _scaled(graph, given, None, transformer.scale_)
    if kind is MinMaxScaler and not transformer.clip:
        times = graph.op("Mul", given.value, graph.constant([transformer.scale_]))
        return Matrix(graph.op("Add", times, graph.constant([transformer.min_])), given.width)
    return _by_skl2onnx(graph, transformer, given)


def _scaled(graph: Graph, given: Matrix, centre: Any, scale: Any) -> Matrix:
    value = given.value
    if centre is not None:
        value = graph.op("Sub", value, graph.constant([centre]))
    if scale is not None:
        value = graph.op("Div", value, graph.constant([scale]))
    return Matrix(value, given.width)


def _bent(graph: Graph, bends: Bends, given: Matrix) -> Matrix:
    """How far each number is across each of its stretches, and whether it is missing."""
    low, width = bends.low_.ravel(), bends.width_.ravel()
    each = graph.columns(
        given.value, np.repeat(np.arange(given.width), bends.low_.shape[1]).tolist()
    )
    start, end = graph.constant([low]), graph.constant([low + width])
    there = graph.op("Where", graph.op("IsNaN", each), start, each)
    kept = graph.op("Min", graph.op("Max", there, start), end)
    size = graph.constant([np.where(width > 0, width, np.inf)])
    across = graph.op("Div", graph.op("Sub", kept, start), size)
    missing = graph.op("Cast", graph.op("IsNaN", given.value), to=11)
    return Matrix(graph.op("Concat", across, missing, axis=1), len(low) + given.width)


def _imputed(graph: Graph, imputer: SimpleImputer, given: Matrix) -> Matrix:
    if not np.isnan(imputer.missing_values):
        raise NotConvertible("SimpleImputer of missing values other than NaN")
    values = np.asarray(imputer.statistics_, np.float64)
    kept = np.arange(given.width)
    if not imputer.keep_empty_features:
        kept = np.flatnonzero(~np.isnan(values))
    some = given.value if len(kept) == given.width else graph.columns(given.value, kept.tolist())
    filled = graph.op("Where", graph.op("IsNaN", some), graph.constant([values[kept]]), some)
    if imputer.indicator_ is None:
        return Matrix(filled, len(kept))
    asked = imputer.indicator_.features_.tolist()
    if not asked:
        return Matrix(filled, len(kept))
    missing = graph.op("IsNaN", graph.columns(given.value, asked))
    both = graph.op("Concat", filled, graph.op("Cast", missing, to=11), axis=1)  # 11: float64
    return Matrix(both, len(kept) + len(asked))


def _by_skl2onnx(graph: Graph, transformer: Any, given: Matrix) -> Matrix:
    model = by_skl2onnx(transformer, given.width)
    (value,) = graph.embed(model, given.value)
    width = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    if not width:
        width = len(transformer.get_feature_names_out([f"x{i}" for i in range(given.width)]))
    return Matrix(graph.op("Cast", value, to=11), width)


def by_skl2onnx(estimator: Any, width: int) -> Any:
    """An estimator of a matrix as skl2onnx converts it. NotConvertible where it does not."""
    try:
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import DoubleTensorType
    except ImportError as error:
        raise NotConvertible(f"{type(estimator).__name__} needs skl2onnx: {error}") from error
    options = {"zipmap": False} if hasattr(estimator, "classes_") else {}
    try:
        return convert_sklearn(
            estimator,
            initial_types=[("x", DoubleTensorType([None, width]))],
            options={id(estimator): options} if options else None,
            target_opset={"": OPSET, "ai.onnx.ml": min(ML_OPSET, 3)},
        )
    except Exception as error:
        said = str(error).strip().splitlines()
        raise NotConvertible(
            f"skl2onnx does not convert {type(estimator).__name__}: "
            f"{type(error).__name__}: {said[0] if said else ''}"
        ) from error
