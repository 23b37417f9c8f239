"""What a version makes of inputs outside of serving: the same steps on the same columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.columns import Columns
from streams.exploration import explored
from streams.inference import infer
from streams.predicted import predicted
from streams.task import Task
from streams.validate import validate
from streams.version import Version


@dataclass(frozen=True, slots=True)
class Scored:
    """What became of n inputs.

    rows: of the n, those that the version was asked about, in order. columns: for each of these
    the fields of a prediction (`streams.predicted`). refused: of each other row why.
    """

    rows: npt.NDArray[np.intp]
    columns: Columns
    refused: Mapping[int, str]


def score(task: Task, version: Version, role: str, inputs: Columns, now_ms: int) -> Scored:
    """Validate ► gate ► infer, as serving does it.

    inputs: the columns of requests (request_id, event_time, entity, ``features.…``), with those of
    the task's windowed features, which serving looks up. now_ms: event times are held against it.
    """
    checked = validate(task, inputs, now_ms)
    rows = np.flatnonzero(checked.good)
    if not len(rows):
        return Scored(rows, {}, checked.reasons)
    good = checked.columns
    if len(rows) < len(checked.good):
        good = {path: column.take(rows) for path, column in good.items()}
    share = task.exploration
    free = explored(good["request_id"].values, task.name, share) if share else None
    inferred = infer(version, good, len(rows), _nobody, free, share)
    return Scored(rows, predicted(task, version, role, inferred, free), checked.reasons)


def _nobody(stage: str) -> None:
    """Nobody asks how long a stage takes."""
