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

from streams.portable.encoding import Frame
from streams.portable.estimators import probabilities, values
from streams.portable.graph import Graph, NotConvertible
from streams.portable.inputs import CODES, FACTS, GATE, NUMBERS, PROBABILITIES, VALUE, Inputs
from streams.task import Task


def convert(task: Task, model: Any, samples: pd.DataFrame, gate: Any | None = None) -> bytes:
    """The ONNX form of a fitted model, and of a gate (None: without).

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
            graph.output(values(graph, model, frame), VALUE, 1)
            classes: Sequence[Any] = ()
        else:
            classes = [name if isinstance(name, str) else bool(name) for name in model.classes_]
            graph.output(probabilities(graph, model, frame), PROBABILITIES, len(classes))
        if gate is not None:
            of_true = graph.constant(1, np.int64)
            scores = graph.op("Gather", probabilities(graph, gate, frame), of_true, axis=1)
            graph.output(scores, GATE, None)
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
    }
    return graph.model({FACTS: json.dumps(facts)})
