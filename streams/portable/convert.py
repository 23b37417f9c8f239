"""A version as one ONNX file: its model, and its gate where it has one.

    numbers (rows, k) float64 ─┐            ┌─► probabilities (rows, classes) or value (rows, 1)
                               ├─► the file ┤
    codes   (rows, c) int64 ───┘            └─► gate (rows,), where it holds a gate

The file's metadata say what the columns of both inputs are (``weir``, JSON).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from streams.calibration import Calibrator
from streams.doubts import SURE
from streams.portable.calibrated import corrected
from streams.portable.encoding import Frame
from streams.portable.estimators import linked, network, probabilities, values
from streams.portable.graph import Graph, NotConvertible
from streams.portable.inputs import CODES, FACTS, GATE, NUMBERS, PROBABILITIES, VALUE, Inputs
from streams.task import Task


def convert(
    task: Task,
    model: Any,
    samples: pd.DataFrame,
    gate: Any | None = None,
    calibrator: Calibrator | None = None,
    scale: Sequence[float] | None = None,
) -> bytes:
    """The ONNX form of a fitted model, and of a gate (None: without).

    scale: of a gate that foresees doubts (`streams.training.gate`), as the manifest has it.
    calibrator: the version's, where the file is to give its probabilities; None: the estimator's.

    A model may be several regressions whose answers are log odds (``trees`` and ``classes_``, as of
    `services.export.forms.Student`).

    samples: some rows of the version's frame; their types tell the categories. The columns of
    ``probabilities`` are the model's classes in its own order. Raises NotConvertible.
    """
    graph, inputs = Graph(), Inputs.of(task.inputs)
    if inputs.numbers:
        graph.input(NUMBERS, np.float64, len(inputs.numbers))
    if inputs.codes:
        graph.input(CODES, np.int64, len(inputs.codes))
    frame = Frame(inputs, [feature.name for feature in task.inputs], samples)
    try:
        if task.kind == "regression":
            graph.output(_answered(graph, model, frame), VALUE, 1)
            classes: Sequence[Any] = ()
        else:
            classes = [name if isinstance(name, str) else bool(name) for name in model.classes_]
            given = _shared(graph, model, frame)
            if calibrator is not None:
                given = corrected(graph, calibrator, given, _order(task, classes))
            graph.output(given, PROBABILITIES, len(classes))
        if gate is not None:
            graph.output(_gate(graph, gate, frame, scale), GATE, None)
    except NotConvertible:
        raise
    except (AttributeError, KeyError, TypeError, IndexError, ValueError) as error:
        # Parts of scikit-learn that are private to it: another version may have others.
        raise NotConvertible(
            f"{type(model).__name__} is not as this release of scikit-learn has it: {error!r}"
        ) from error
    facts = {
        "kind": task.kind,
        "numbers": list(inputs.numbers),
        "codes": list(inputs.codes),
        "classes": list(classes),
        "calibrated": calibrator is not None or hasattr(model, "trees"),
    }
    return graph.model({FACTS: json.dumps(facts)})


def _gate(graph: Graph, gate: Any, frame: Frame, scale: Sequence[float] | None) -> str:
    """P(the model errs), (rows,)."""
    if scale is None:
        of_true = graph.constant(1, np.int64)
        return graph.op("Gather", probabilities(graph, gate, frame), of_true, axis=1)
    given = network(graph, gate, frame)
    one = graph.constant(1.0)
    if given.width == 1:
        sure = graph.op("Max", given.value, graph.op("Sub", one, given.value))
    else:
        sure = graph.op("ReduceMax", given.value, graph.constant([1], np.int64), keepdims=1)
    right = graph.op("Min", graph.op("Max", sure, graph.constant(SURE)), graph.constant(1 - SURE))
    wrong = graph.op("Sub", one, right)
    doubt = graph.op("Sub", graph.op("Log", wrong), graph.op("Log", right))
    total = graph.op(
        "Add",
        graph.op("Mul", doubt, graph.constant(float(scale[1]))),
        graph.constant(float(scale[0])),
    )
    return graph.op("Squeeze", graph.op("Sigmoid", total), graph.constant([1], np.int64))


def _order(task: Task, classes: Sequence[Any]) -> list[int] | None:
    """Of each of the model's classes the place among the task's; None of a binary task."""
    if task.kind == "binary":
        return None
    if len(classes) < len(task.classes):
        raise NotConvertible("calibration of a model that has not met all classes")
    return [task.classes.index(str(name)) for name in classes]


def _answered(graph: Graph, model: Any, frame: Frame) -> str:
    parts = getattr(model, "trees", None)
    return values(graph, model if parts is None else parts[0], frame)


def _shared(graph: Graph, model: Any, frame: Frame) -> str:
    """Probabilities of a classifier, or of regressions that answer with its log odds."""
    parts = getattr(model, "trees", None)
    if parts is None:
        return probabilities(graph, model, frame)
    totals = [values(graph, part, frame) for part in parts]
    total = totals[0] if len(totals) == 1 else graph.op("Concat", *totals, axis=1)
    return linked(graph, model, total)
