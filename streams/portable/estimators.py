"""Fitted estimators as ONNX: what they answer with, from columns or a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Ridge,
)
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from streams.portable.calibrated import calibrated
from streams.portable.encoding import (
    Given,
    Matrix,
    by_skl2onnx,
    matrix,
    transform,
)
from streams.portable.graph import Graph, NotConvertible
from streams.portable.trees import Coded, boosted, ensemble, forest_trees

FLOAT, DOUBLE = 1, 11
"""ONNX's numbers of the types."""
_LINEAR = (LinearRegression, Ridge, Lasso, ElasticNet)
_BOOSTED = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_FORESTS = (
    RandomForestClassifier,
    RandomForestRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
)
_TREES = (DecisionTreeClassifier, DecisionTreeRegressor)
_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "identity": ""}
_CODES = 256
"""The categories that histogram boosting tells apart are numbers below."""


def probabilities(graph: Graph, estimator: Any, given: Given) -> str:
    """What ``predict_proba`` of a fitted classifier gives, (rows, classes) float64.

    Raises NotConvertible.
    """
    estimator, given = _last(graph, estimator, given)
    if isinstance(estimator, CalibratedClassifierCV):
        return calibrated(graph, estimator, given, probabilities, margins)
    if type(estimator) in (LogisticRegression, HistGradientBoostingClassifier):
        return linked(graph, estimator, margins(graph, estimator, given))
    if type(estimator) in (*_FORESTS, *_TREES):
        return _forest(graph, estimator, matrix(graph, given), classifier=True)
    return _embedded(graph, estimator, given, at=1)


def values(graph: Graph, estimator: Any, given: Given) -> str:
    """What ``predict`` of a fitted regression gives, (rows, 1) float64. Raises NotConvertible."""
    estimator, given = _last(graph, estimator, given)
    kind = type(estimator)
    if kind in _LINEAR:
        return _weighted(graph, estimator, matrix(graph, given))
    if kind is HistGradientBoostingRegressor:
        total = _boosted(graph, estimator, given)
        if estimator.loss in ("poisson", "gamma"):
            return graph.op("Exp", total)
        return total
    if kind in (*_FORESTS, *_TREES):
        return _forest(graph, estimator, matrix(graph, given), classifier=False)
    found = _embedded(graph, estimator, given, at=0)
    return graph.op("Reshape", found, graph.constant([-1, 1], np.int64))


def margins(graph: Graph, estimator: Any, given: Given) -> str:
    """What ``decision_function`` of a fitted classifier gives, (rows, 1 or classes) float64."""
    estimator, given = _last(graph, estimator, given)
    if type(estimator) is LogisticRegression:
        return _weighted(graph, estimator, matrix(graph, given))
    if type(estimator) is HistGradientBoostingClassifier:
        return _boosted(graph, estimator, given)
    raise NotConvertible(f"the margins of {type(estimator).__name__}")


def network(graph: Graph, estimator: Any, given: Given) -> Matrix:
    """What a fitted network of numbers gives, a column an output. Raises NotConvertible."""
    estimator, given = _last(graph, estimator, given)
    if type(estimator) is not MLPRegressor or estimator.activation not in _ACTIVATIONS:
        raise NotConvertible(f"{type(estimator).__name__} as a network")
    value = matrix(graph, given).value
    for at, (weights, bias) in enumerate(
        zip(estimator.coefs_, estimator.intercepts_, strict=True), 1
    ):
        value = graph.op("MatMul", value, graph.constant(weights))
        value = graph.op("Add", value, graph.constant([bias]))
        kind = _ACTIVATIONS[estimator.activation]
        if at < len(estimator.coefs_) and kind:
            value = graph.op(kind, value)
    return Matrix(value, len(estimator.intercepts_[-1]))


def _last(graph: Graph, estimator: Any, given: Given) -> tuple[Any, Given]:
    """The estimator at a pipeline's end, and what it gets."""
    while isinstance(estimator, Pipeline | FrozenEstimator):
        if isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
            continue
        for _, step in estimator.steps[:-1]:
            given = transform(graph, step, given)
        estimator = estimator.steps[-1][1]
    return estimator, given


def linked(graph: Graph, estimator: Any, total: str) -> str:
    """Log odds (rows, 1), or scores by class, as probabilities."""
    if len(estimator.classes_) > 2:
        return graph.op("Softmax", total, axis=1)
    of_true = graph.op("Sigmoid", total)
    return graph.op("Concat", graph.op("Sub", graph.constant(1.0), of_true), of_true, axis=1)


def _weighted(graph: Graph, estimator: Any, given: Matrix) -> str:
    weights = np.atleast_2d(np.asarray(estimator.coef_, np.float64)).T
    total = graph.op("MatMul", given.value, graph.constant(weights))
    bias = np.broadcast_to(np.asarray(estimator.intercept_, np.float64), weights.shape[1])
    return graph.op("Add", total, graph.constant([bias]))


def _forest(graph: Graph, estimator: Any, given: Matrix, classifier: bool) -> str:
    trees = getattr(estimator, "estimators_", [estimator])
    targets = len(estimator.classes_) if classifier else 1
    # scikit-learn asks its trees in float32.
    rounded = graph.op("Cast", graph.op("Cast", given.value, to=FLOAT), to=DOUBLE)
    grown = forest_trees(trees, classifier, 1.0 / len(trees))
    return ensemble(graph, rounded, [(None, tree) for tree in grown], targets)


def _boosted(graph: Graph, estimator: Any, given: Given) -> str:
    mask = estimator.is_categorical_
    if mask is None or not mask.any():
        return boosted(graph, estimator, [], matrix(graph, given).value)
    encoder = estimator._preprocessor.named_transformers_["encoder"]
    if isinstance(given, Matrix):
        return _boosted_matrix(graph, estimator, given, encoder)
    names = np.array(given.names, object)
    categories = []
    for name, words in zip(names[mask].tolist(), encoder.categories_, strict=True):
        if name not in given.inputs.codes:
            raise NotConvertible(f"{name} is a number that the trees take for a category")
        number = {word: float(at) for at, word in enumerate(words)}
        entries = [number.get(word, np.nan) for word in given.samples[name].cat.categories]
        categories.append(Coded(given.codes(graph, name), np.array([*entries, np.nan])))
    rest = names[~mask].tolist()
    numbers = matrix(graph, given.only(rest)).value if rest else None
    return boosted(graph, estimator, categories, numbers)


def _boosted_matrix(graph: Graph, estimator: Any, given: Matrix, encoder: Any) -> str:
    """Categories that come as numbers, of an OrdinalEncoder before the trees, say."""
    mask = estimator.is_categorical_
    categories = []
    beyond = graph.constant(float(_CODES))
    for at, words in zip(np.flatnonzero(mask).tolist(), encoder.categories_, strict=True):
        known = [word for word in np.asarray(words, np.float64).tolist() if word == word]
        if any(word != int(word) or not 0 <= word < _CODES for word in known):
            raise NotConvertible("histogram boosting with categories that are no codes")
        number = {int(word): float(place) for place, word in enumerate(known)}
        column = graph.op("Gather", given.value, graph.constant(at, np.int64), axis=1)
        there = graph.op("And", graph.op("GreaterOrEqual", column, graph.constant(0.0)),
                         graph.op("Less", column, beyond))  # fmt: skip
        codes = graph.op("Cast", graph.op("Where", there, column, beyond), to=7)
        entries = [number.get(code, np.nan) for code in range(_CODES)]
        categories.append(Coded(codes, np.array([*entries, np.nan])))
    rest = np.flatnonzero(~mask).tolist()
    numbers = graph.columns(given.value, rest) if rest else None
    return boosted(graph, estimator, categories, numbers)


def _embedded(graph: Graph, estimator: Any, given: Given, at: int) -> str:
    """An estimator that skl2onnx converts; ``at``: which of its outputs counts."""
    some = matrix(graph, given)
    found = graph.embed(by_skl2onnx(estimator, some.width), some.value)
    if at >= len(found):
        raise NotConvertible(f"the ONNX form of {type(estimator).__name__} gives no probabilities")
    return graph.op("Cast", found[at], to=DOUBLE)
