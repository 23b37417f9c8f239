"""Outcomes as lessons: which of a batch are learned from, in which order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schemas.columns import Columns
from streams.continual.learner import Learner
from streams.task import Task
from streams.training.data import prepare
from streams.version import Version


def lesson(learner: Learner, base: Version, outcomes: Columns) -> int:
    """Judge by a batch of outcomes, then learn from them; returns how many counted.

    Those do that are the first true label of a request that a version other than a shadow
    answered: so each request counts once. What is corrected afterwards is not unlearned, as no
    such learner can. The order is that in which truths became known.
    """
    rows = first_truths(outcomes)
    if not len(rows):
        return 0
    taken = {path: column.take(rows) for path, column in outcomes.items()}
    frame, truth = base.frame(taken), taken["truth"].values
    learner.judge(learner.say(base, frame), truth)
    learner.learn(frame, truth, taken["event_time"].values)
    return len(rows)


def first_truths(outcomes: Columns) -> npt.NDArray[np.int64]:
    """The rows of a batch that are learned from, in order."""
    before = outcomes["previous_truth"].valid
    first = np.zeros(len(outcomes["label"].values), bool) if before is None else ~before
    wanted = first & (outcomes["label"].values == "true") & (outcomes["role"].values != "shadow")
    rows = np.flatnonzero(wanted)
    ids = outcomes["request_id"].values[rows].astype(str)
    found: npt.NDArray[np.int64] = rows[np.lexsort((ids, outcomes["known_at"].values[rows]))]
    return found


def learn_history(learner: Learner, task: Task) -> int:
    """Learn from the task's history, in order of event time; returns the number of rows.

    Nothing is judged by them: the batch-trained version learned from them too. Raises DataError.
    """
    if task.history is None:
        return 0
    data = prepare(task, task.history())
    learner.learn(data.frame, data.target, data.times_ms)
    return len(data)
