"""Calibration as ONNX: scikit-learn's, and a version's own (`streams.calibration`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV

from streams.calibration import LEAST, Calibrator
from streams.portable.encoding import Given
from streams.portable.graph import Graph, NotConvertible

Convert = Callable[[Graph, Any, Given], str]

_LEAST = 1e-12
"""What scikit-learn adds to a probability before it takes its logarithm."""


def calibrated(
    graph: Graph,
    model: CalibratedClassifierCV,
    given: Given,
    probabilities: Convert,
    margins: Convert,
) -> str:
    """The mean of what the calibrated classifiers give, (rows, classes).

    probabilities, margins: convert what each asks its own classifier for.
    """
    parts = []
    for one in model.calibrated_classifiers_:
        estimator, classes = one.estimator, len(one.classes)
        if hasattr(estimator, "decision_function"):
            told, logits = margins(graph, estimator, given), True
        else:
            told, logits = probabilities(graph, estimator, given), False
        parts.append(_one(graph, one, told, classes, logits))
    total = parts[0]
    for part in parts[1:]:
        total = graph.op("Add", total, part)
    if len(parts) == 1:
        return total
    return graph.op("Div", total, graph.constant(float(len(parts))))


def corrected(graph: Graph, calibrator: Calibrator, given: str, order: Sequence[int] | None) -> str:
    """Probabilities (rows, classes) set right as a version does it.

    order: of each column its place among the task's classes; None of a binary task, whose second
    column is that of true.
    """
    if order is None:
        return _both(graph, _corrected(graph, calibrator, graph.columns(given, [1]), 0))
    if calibrator.method == "temperature":
        least = graph.op("Max", given, graph.constant(LEAST))
        times = graph.constant(float(calibrator.slope[0]))
        return graph.op("Softmax", graph.op("Mul", graph.op("Log", least), times), axis=1)
    each = [
        _corrected(graph, calibrator, graph.columns(given, [at]), k) for at, k in enumerate(order)
    ]
    found = graph.op("Concat", *each, axis=1)
    total = graph.op("ReduceSum", found, graph.constant([1], np.int64), keepdims=1)
    return graph.op("Div", found, total)


def _corrected(graph: Graph, calibrator: Calibrator, column: str, k: int) -> str:
    if calibrator.method == "isotonic":
        return _interpolated(graph, calibrator.x[k], calibrator.y[k], column)
    ends = graph.constant(LEAST), graph.constant(1 - LEAST)
    p = graph.op("Min", graph.op("Max", column, ends[0]), ends[1])
    odds = graph.op("Log", graph.op("Div", p, graph.op("Sub", graph.constant(1.0), p)))
    total = graph.op("Mul", odds, graph.constant(float(calibrator.slope[k])))
    if calibrator.method == "sigmoid":
        total = graph.op("Add", total, graph.constant(float(calibrator.intercept[k])))
    return graph.op("Sigmoid", total)


def _one(graph: Graph, one: Any, told: str, classes: int, logits: bool) -> str:
    if one.method == "temperature":
        return _tempered(graph, float(one.calibrators[0].beta_), told, classes, logits)
    if one.method not in ("sigmoid", "isotonic"):
        raise NotConvertible(f"calibration by {one.method}")
    if list(one.estimator.classes_) != list(one.classes):
        raise NotConvertible("calibration of a classifier that met fewer classes")
    if classes == 2:
        column = told if logits else graph.columns(told, [1])
        of_true = _calibrator(graph, one.calibrators[0], column)
        return _both(graph, of_true)
    each = [
        _calibrator(graph, calibrator, graph.columns(told, [at]))
        for at, calibrator in enumerate(one.calibrators)
    ]
    found = graph.op("Concat", *each, axis=1)
    total = graph.op("ReduceSum", found, graph.constant([1], np.int64), keepdims=1)
    none = graph.op("Equal", total, graph.constant(0.0))
    share = graph.op("Div", found, graph.op("Where", none, graph.constant(1.0), total))
    return graph.op("Where", none, graph.constant(1.0 / classes), share)


def _calibrator(graph: Graph, calibrator: Any, column: str) -> str:
    if hasattr(calibrator, "a_"):
        total = graph.op("Add", graph.op("Mul", column, graph.constant(float(calibrator.a_))),
                         graph.constant(float(calibrator.b_)))  # fmt: skip
        return graph.op("Sigmoid", graph.op("Neg", total))
    if calibrator.out_of_bounds != "clip":
        raise NotConvertible(f"an isotonic regression that is {calibrator.out_of_bounds!r} outside")
    return _interpolated(graph, calibrator.X_thresholds_, calibrator.y_thresholds_, column)


def _interpolated(graph: Graph, at: Any, values: Any, column: str) -> str:
    """The line through points, flat beyond the first and the last."""
    at, values = np.asarray(at, np.float64), np.asarray(values, np.float64)
    if len(at) == 1:
        zero = graph.op("Mul", column, graph.constant(0.0))
        return graph.op("Add", zero, graph.constant(float(values[0])))
    ends = graph.constant(float(at[0])), graph.constant(float(at[-1]))
    inside = graph.op("Min", graph.op("Max", column, ends[0]), ends[1])
    # How many of the inner points are at or below: the stretch that a value lies in.
    below = graph.op("GreaterOrEqual", inside, graph.constant([at[1:-1]]))
    if len(at) == 2:
        stretch = graph.op("Cast", graph.op("Mul", inside, graph.constant(0.0)), to=7)
        stretch = graph.op("Squeeze", stretch, graph.constant([1], np.int64))
    else:
        counted = graph.op("Cast", below, to=7)  # 7: int64
        stretch = graph.op("ReduceSum", counted, graph.constant([1], np.int64), keepdims=0)
    slope = np.diff(values) / np.where(np.diff(at) > 0, np.diff(at), np.inf)
    table = np.stack([at[:-1], values[:-1], slope], axis=1)
    found = graph.op("Gather", graph.constant(table), stretch, axis=0)
    start, level, steep = (graph.columns(found, [column_]) for column_ in range(3))
    along = graph.op("Mul", graph.op("Sub", inside, start), steep)
    return graph.op("Add", level, along)


def _tempered(graph: Graph, beta: float, told: str, classes: int, logits: bool) -> str:
    times = graph.constant(beta)
    if not logits:  # probabilities: their logarithms are logits
        told = graph.op("Log", graph.op("Add", told, graph.constant(_LEAST)))
    elif classes == 2:  # a margin x stands for the logits -x and x
        twice = graph.constant(2 * beta)
        return _both(graph, graph.op("Sigmoid", graph.op("Mul", told, twice)))
    return graph.op("Softmax", graph.op("Mul", told, times), axis=1)


def _both(graph: Graph, of_true: str) -> str:
    return graph.op("Concat", graph.op("Sub", graph.constant(1.0), of_true), of_true, axis=1)
