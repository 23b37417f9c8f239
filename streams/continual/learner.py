"""A learner: answers each outcome's input, is judged by its truth, and only then learns from it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from river.compose import Pipeline, TransformerUnion

from streams.continual.model import Floats, Learned, numbers, of_true, pool, probabilities
from streams.continual.prequential import Faded
from streams.continual.rows import rows_of
from streams.task import Task
from streams.training.fitting import one_thread
from streams.version import Answers, Version

CHAMPION, ALONE, TOGETHER = "champion", "alone", "together"
"""Who is judged: the batch-trained model, the learner, and both by the policy's share."""


@dataclass(frozen=True, eq=False)
class Said:
    """Answers to n inputs: (n, k) probabilities, or (n,) numbers of a regression."""

    champion: Floats
    alone: Floats
    together: Floats


class Learner:
    """A river model and its prequential scores. Nothing of it depends on how it is cut in batches
    but which answers come before which lessons: all of a batch are answered first.

    learned: rows learned from. newest_ms: the newest event time among them.
    """

    def __init__(self, task: Task) -> None:
        assert task.continual is not None
        self._task, self.policy = task, task.continual
        self.model: Any = self.policy.fresh()
        self.scores = Faded(self.policy.window)
        self.learned = 0
        self.newest_ms = 0

    def say(self, base: Version, frame: pd.DataFrame) -> Said:
        """What the batch-trained version, the learner and both say of a frame of the version's."""
        rows, share = rows_of(frame), self.policy.share
        classes = classes_of(self._task)
        with one_thread():
            if classes is None:
                theirs, mine = base.predict(frame).answer, numbers(self.model, rows)
                both = mine if share == 1 else (1 - share) * theirs + share * mine
            else:
                theirs = _of_all(base.predict(frame))
                mine = probabilities(self.model, rows, classes)
                both = mine if share == 1 else pool(theirs, mine, share)
        return Said(theirs, mine, both)

    def judge(self, said: Said, truth: npt.NDArray[Any]) -> None:
        """Take in how good answers were whose truth is now known."""
        if len(truth):
            self.scores.add(
                {
                    CHAMPION: losses(self._task, said.champion, truth),
                    ALONE: losses(self._task, said.alone, truth),
                    TOGETHER: losses(self._task, said.together, truth),
                }
            )

    def learn(self, frame: pd.DataFrame, truth: npt.NDArray[Any], times_ms: Any) -> None:
        """Learn from rows, in their order."""
        for row, answer in zip(rows_of(frame), truth.tolist(), strict=True):
            self.model.learn_one(row, answer)
        self.learned += len(truth)
        self.newest_ms = max(self.newest_ms, int(np.max(times_ms, initial=0)))

    @property
    def leads(self) -> bool:
        """Whether its share in the answers makes them better, as far as is known."""
        means = self.scores.means()
        return self.scores.outcomes >= self.policy.judged and means[TOGETHER] < means[CHAMPION]

    def served(self, base: Version) -> Learned:
        """The model that a version of it holds: as it is now, whatever it learns later."""
        kept = without_plans(copy.deepcopy(self.model))
        return Learned(
            base.model,
            kept,
            self.policy.share,
            classes_of(self._task),
            base.manifest.get("calibration"),
        )


def without_plans(model: Any) -> Any:
    """A river pipeline without what it keeps of its own shape: it makes that again, and written
    out each step would be there several times over."""
    if isinstance(model, Pipeline):
        model._plan, model._inference_transformers, model._last_step_cached = None, (), None
        for step in model.steps.values():
            without_plans(step)
    elif isinstance(model, TransformerUnion):
        for step in model.transformers.values():
            without_plans(step)
    return model


def _of_all(given: Answers) -> Floats:
    """The probabilities of all classes, (n, k)."""
    if given.probabilities is not None:
        return given.probabilities
    assert given.probability is not None
    return of_true(given.probability)


def classes_of(task: Task) -> list[Any] | None:
    """The answers that a classifier of the task chooses among; None of a regression."""
    if task.kind == "regression":
        return None
    return [False, True] if task.kind == "binary" else list(task.classes)


def losses(task: Task, given: Floats, truth: npt.NDArray[Any]) -> Floats:
    """Of each answer, as training measures it: log loss, or the absolute error."""
    classes = classes_of(task)
    if classes is None:
        error: Floats = np.abs(given - truth.astype(np.float64))
        return error
    at = np.array([classes.index(answer) for answer in truth.tolist()], np.intp)
    found: Floats = -np.log(np.maximum(given[np.arange(len(at)), at], 1e-15))
    return found
