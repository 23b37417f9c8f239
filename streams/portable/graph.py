"""An ONNX graph in the making: values by name, operators appended, constants kept once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

OPSET = 21
ML_OPSET = 5
"""The first with TreeEnsemble, whose thresholds and leaves may be float64."""
IR_VERSION = 10
"""Of the file: the oldest that holds these operators."""
ML = "ai.onnx.ml"


class NotConvertible(ValueError):
    """No ONNX form of an estimator is known; the message says of which and why."""


class Graph:
    """Operators in order. A value is the name that `op`, `constant` or `input` gave it.

    Numbers are float64 throughout: what scikit-learn computes in float64 comes out the same.
    """

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._count = 0

    def input(self, name: str, dtype: Any, width: int) -> str:
        """An input of the graph, (rows, width)."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._inputs.append(helper.make_tensor_value_info(name, kind, ["rows", width]))
        return name

    def output(self, value: str, name: str, width: int | None) -> None:
        """Give a value, (rows, width) or (rows,), out under a name."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        shape: list[Any] = ["rows"] if width is None else ["rows", width]
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape))

    def constant(self, values: npt.ArrayLike, dtype: Any = np.float64) -> str:
        """A constant."""
        name = self._name("c")
        self._constants[name] = numpy_helper.from_array(np.asarray(values, dtype), name)
        return name

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """The value that an operator gives."""
        name = self._name("v")
        self._nodes.append(
            helper.make_node(kind, list(inputs), [name], domain=domain, **attributes)
        )
        return name

    def columns(self, matrix: str, which: Sequence[int]) -> str:
        """Some columns of a matrix, in that order."""
        return self.op("Gather", matrix, self.constant(list(which), np.int64), axis=1)

    def embed(self, model: Any, given: str) -> list[str]:
        """Another model's operators, its one input being a value; its outputs."""
        if len(model.graph.input) != 1:
            raise NotConvertible("a converted part wants more than one input")
        inner = compose.add_prefix_graph(model.graph, f"{self._name('m')}_")
        rename = {inner.input[0].name: given}
        for tensor in inner.initializer:
            self._constants[tensor.name] = tensor
        for node in inner.node:
            node.input[:] = [rename.get(name, name) for name in node.input]
            self._nodes.append(node)
        return [output.name for output in inner.output]

    def model(self, facts: dict[str, str]) -> bytes:
        """The whole as a file's bytes: the same graph gives the same bytes."""
        made = helper.make_graph(
            self._nodes, "weir", self._inputs, self._outputs, list(self._constants.values())
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)]
        model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION)
        model.producer_name = "weir"
        helper.set_model_props(model, facts)
        onnx.checker.check_model(model)
        data: bytes = model.SerializeToString(deterministic=True)
        return data

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"
