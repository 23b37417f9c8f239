"""An ONNX file in use: what it answers to the rows of a frame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pandas as pd

from streams.portable.inputs import FACTS, GATE, PROBABILITIES, VALUE, Inputs

Floats = npt.NDArray[np.float64]


class Session:
    """A loaded ONNX file. It is data, not code: operators of ONNX alone, none of others.

    calibrated: whether its probabilities are the version's (else: its estimator's).
    classes_: the classes of ``predict_proba``'s columns, in the model's order.
    """

    def __init__(self, data: bytes, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        # A worker answers batches one after the other; its cores are for other workers.
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )
        facts = json.loads(self._session.get_modelmeta().custom_metadata_map[FACTS])
        self._inputs = Inputs(facts["numbers"], facts["codes"])
        self.classes_: Sequence[Any] = facts["classes"]
        self.calibrated: bool = facts["calibrated"]
        self.has_gate = GATE in {output.name for output in self._session.get_outputs()}

    def predict_proba(self, frame: pd.DataFrame) -> Floats:
        """(rows, classes), of a classifier."""
        return self._asked(PROBABILITIES, frame)

    def predict(self, frame: pd.DataFrame) -> Floats:
        """(rows,), of a regression."""
        return self._asked(VALUE, frame)[:, 0]

    def gate_scores(self, frame: pd.DataFrame) -> Floats:
        """(rows,), P(the model errs), of a file that holds a gate."""
        return self._asked(GATE, frame)

    def _asked(self, name: str, frame: pd.DataFrame) -> Floats:
        (found,) = self._session.run([name], self._inputs.arrays(frame))
        return np.asarray(found, np.float64)
