"""Smaller forms of a model: rounded to float32, with fewer trees, or a student of its answers."""

from __future__ import annotations

import copy
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper
from scipy.special import expit, logit, softmax
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)

from streams.task import Task
from streams.training.fitting import fit
from streams.version import Version

Floats = npt.NDArray[np.float64]

STUDENT_TREES, STUDENT_LEAVES = 24, 12
LEAST = 1e-6
"""A student learns logarithms of probabilities; none is taken for smaller."""


def rounded(data: bytes) -> bytes:
    """The same file with all its numbers in float32; inputs and outputs stay float64.

    That is as small as trees get: onnxruntime has no operator for them in anything smaller, and
    quantises products of matrices alone (`in_int8`).
    """
    model = onnx.load_from_string(data)
    graph = model.graph
    for tensor in graph.initializer:
        _round(tensor)
    casts, rename = [], {}
    for given in graph.input:
        if given.type.tensor_type.elem_type == TensorProto.DOUBLE:
            rename[given.name] = f"{given.name}_float32"
            casts.append(
                helper.make_node("Cast", [given.name], [rename[given.name]], to=TensorProto.FLOAT)
            )
    outputs = {output.name for output in graph.output}
    for node in graph.node:
        node.input[:] = [rename.get(name, name) for name in node.input]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _round(attribute.t)
            if node.op_type == "Cast" and attribute.i == TensorProto.DOUBLE:
                attribute.i = TensorProto.FLOAT
        if node.op_type == "Identity" and node.output[0] in outputs:
            node.op_type = "Cast"
            node.attribute.append(helper.make_attribute("to", TensorProto.DOUBLE))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    made: bytes = model.SerializeToString(deterministic=True)
    return made


def in_int8(data: bytes) -> bytes | None:
    """A file in float32 with the weights of its products of matrices in int8, by onnxruntime's
    dynamic quantisation; None where there are none."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load_from_string(data)
    if not any(node.op_type in ("MatMul", "Gemm") for node in model.graph.node):
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        logging.disable(logging.WARNING)  # it recommends a preparation that is for images
        try:
            quantize_dynamic(model, path, weight_type=QuantType.QInt8)
        finally:
            logging.disable(logging.NOTSET)
        small = onnx.load(path)
    del small.metadata_props[:]
    small.metadata_props.extend(model.metadata_props)
    made: bytes = small.SerializeToString(deterministic=True)
    return made


def _round(tensor: Any) -> None:
    if tensor.data_type == TensorProto.DOUBLE:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def with_fewer_trees(model: Any, share: float) -> Any | None:
    """A copy with the first trees only; None of a model that is no ensemble of trees."""
    if isinstance(model, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        smaller = copy.copy(model)
        smaller._predictors = model._predictors[: _some(len(model._predictors), share)]
        return smaller
    if isinstance(model, RandomForestClassifier | RandomForestRegressor):
        smaller = copy.copy(model)
        smaller.estimators_ = model.estimators_[: _some(len(model.estimators_), share)]
        return smaller
    return None


def _some(count: int, share: float) -> int:
    return max(1, round(count * share))


@dataclass(eq=False)
class Student:
    """Small boosted trees that learned a version's answers (Hinton, Vinyals and Dean 2015,
    Distilling the knowledge in a neural network: soft targets, here as log odds).

    trees: one regression of the answer or of the log odds of true; of several classes one each.
    classes_: as a classifier's, empty of a regression.
    """

    trees: list[Any]
    classes_: list[Any]

    def _totals(self, frame: pd.DataFrame) -> Floats:
        return np.stack([one.predict(frame) for one in self.trees], axis=1)

    def predict(self, frame: pd.DataFrame) -> Floats:
        """(rows,), of a regression."""
        return self._totals(frame)[:, 0]

    def predict_proba(self, frame: pd.DataFrame) -> Floats:
        """(rows, classes), of a classifier."""
        totals = self._totals(frame)
        if len(self.classes_) > 2:
            found: Floats = softmax(totals, axis=1)
            return found
        of_true = expit(totals[:, 0])
        return np.stack([1 - of_true, of_true], axis=1)


def taught(task: Task, version: Version, inputs: pd.DataFrame) -> Student:
    """A student of a version's answers to some inputs; truths are not looked at."""
    answers = version.predict(inputs)
    classes: list[Any] = []
    if task.kind == "regression":
        targets = [answers.answer]
    elif task.kind == "binary":
        assert answers.probability is not None
        classes = [False, True]
        targets = [logit(np.clip(answers.probability, LEAST, 1 - LEAST))]
    else:
        assert answers.probabilities is not None
        classes = [str(name) for name in version.model.classes_]  # in the order of what it replaces
        known = answers.probabilities[:, [task.classes.index(name) for name in classes]]
        logs = np.log(np.clip(known, LEAST, 1.0))
        targets = list((logs - logs.mean(axis=1, keepdims=True)).T)
    trees = HistGradientBoostingRegressor(
        max_iter=STUDENT_TREES,
        max_leaf_nodes=STUDENT_LEAVES,
        learning_rate=0.25,
        categorical_features="from_dtype",
        early_stopping=False,
    )
    return Student([fit(task, trees, inputs, target) for target in targets], classes)
