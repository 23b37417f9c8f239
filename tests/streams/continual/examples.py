"""What the tests of continual learning share: a small task with a learner, and a version of it."""

from __future__ import annotations

from typing import Any

from river.compose import SelectType
from river.linear_model import LinearRegression, LogisticRegression
from river.optim import SGD
from river.preprocessing import OneHotEncoder, StandardScaler

from streams.manifest import Contents
from streams.task import Continual, Task
from streams.training.train import train
from tests.small_tasks import diabetes_task, tumour_task


def pipeline(last: Any) -> Any:
    return (SelectType(str) | OneHotEncoder()) + (SelectType(float) | StandardScaler()) | last


def continual(**changes: Any) -> Continual:
    settings = {"learner": pipeline(LogisticRegression(SGD(0.01))), "share": 0.4, "judged": 50}
    return Continual(**(settings | changes))


TUMOUR = tumour_task(continual=continual())
DIABETES = diabetes_task(continual=continual(learner=pipeline(LinearRegression(SGD(0.01)))))


def trained(task: Task) -> Contents:
    """A batch-trained version of a task, of the first 300 rows of its history."""
    assert task.history is not None
    return train(task, task.history().head(300), "first").contents
