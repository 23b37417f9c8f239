"""The search for better settings of a candidate, on rows that lie before the validation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid, ParameterSampler

from streams.declaration import describe_value
from streams.task import Task
from streams.training.data import Dataset
from streams.training.errors import FitError
from streams.training.fitting import answers, check_answers_all, fit
from streams.training.halving import Rung, rungs
from streams.training.metrics import loss
from streams.training.run import Facts, Key, Run
from streams.training.search_policy import Search, Space, described


@dataclass(frozen=True)
class Searched:
    """What the search of one candidate found.

    settings: the best ones of its last rung but the final one, best first; that one is fitted
    beside all other candidates. rungs: as planned. tried: fits made; failed: those of them that
    gave no loss. best: the smallest loss on each rung. cut: the guard that ended it early, or "".
    """

    settings: Sequence[Mapping[str, Any]] = field(default_factory=list)
    rungs: list[Rung] = field(default_factory=list)
    tried: int = 0
    failed: int = 0
    best: list[float] = field(default_factory=list)
    cut: str = ""

    def facts(self) -> Facts:
        """As JSON data."""
        return {
            "rungs": [[rung.settings, rung.rows] for rung in self.rungs],
            "tried": self.tried,
            "failed": self.failed,
            "best": self.best,
            "found": [described(setting) for setting in self.settings],
            **({"cut": self.cut} if self.cut else {}),
        }


def search(task: Task, data: Dataset, base: Key, run: Run, span: tuple[float, float]) -> Found:
    """Search for settings of each candidate that the task gives a space.

    base: what names the data and the declaration. span: shares of the training's work at which
    the search begins and ends.
    """
    policy, found = task.training.search, {}
    begin, end = span
    each = (end - begin) / max(len(policy.spaces), 1)
    for i, (name, space) in enumerate(policy.spaces.items()):
        at = begin + i * each
        found[name] = _Search(task, data, name, space, base, run).go((at, at + each))
    return found


Found = dict[str, Searched]


def sample(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """So many settings of a space, drawn at random; fewer where there are no more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a space that is smaller than the count
        return [dict(one) for one in ParameterSampler(dict(space), count, random_state=seed)]


def size(space: Space) -> int:
    """How many different settings a space has; very many where a distribution is in it."""
    if any(hasattr(values, "rvs") for values in space.values()):
        return 1 << 30
    return len(ParameterGrid(dict(space)))


class _Search:
    def __init__(
        self, task: Task, data: Dataset, name: str, space: Space, base: Key, run: Run
    ) -> None:
        self._task, self._data, self._name, self._run = task, data, name, run
        self._policy: Search = task.training.search
        self._space, self._base = space, base
        self._asked = data.judged(data.validation)
        self._spent = 0.0

    def go(self, span: tuple[float, float]) -> Searched:
        rows, policy = self._data.train.stop, self._policy
        plan = rungs(rows, policy.budget, policy.least_rows, size(self._space))
        if not plan:
            return Searched()
        settings = sample(self._space, plan[0].settings, self._task.seed)
        kept = list(range(len(settings)))
        work = sum(rung.settings * rung.rows for rung in plan[:-1])
        done, tried, failed, cut = 0, 0, 0, ""
        best: list[float] = []
        for rung, following in pairwise(plan):
            losses: dict[int, float] = {}
            for number in kept[: rung.settings]:
                begin, end = span
                self._run.at(begin + (end - begin) * done / work)
                told = self._trial(settings[number], rung.rows)
                self._spent += told["seconds"]
                cut = told.get("cut", "")
                if cut:
                    break
                losses[number] = math.inf if told["loss"] is None else told["loss"]
                tried, failed = tried + 1, failed + (told["loss"] is None)
                done += rung.rows
            # Those that this rung did not come to stand behind those that it did.
            ranked = sorted(losses, key=lambda number: (losses[number], kept.index(number)))
            kept = [*ranked, *(number for number in kept if number not in losses)]
            kept = kept[: following.settings]
            if losses and min(losses.values()) < math.inf:
                best.append(min(losses.values()))
            if cut:
                break
        if cut and not tried:
            kept = []
        final = [settings[number] for number in kept[: plan[-1].settings]]
        return Searched(final, plan, tried, failed, best, cut)

    def _trial(self, setting: Mapping[str, Any], rows: int) -> Facts:
        """``loss`` on validation of a setting fitted on so many rows of train, None where it
        cannot be fitted; ``seconds``; or ``cut``, why it was not tried."""
        estimator = configured(self._task.candidates[self._name], setting)
        key = {**self._base, "trial": describe_value(estimator), "rows": rows}
        return self._run.found(key, lambda: self._judged(estimator, rows))

    def _judged(self, estimator: Any, rows: int) -> Facts:
        policy, began = self._policy, self._run.now()
        if self._spent > policy.seconds:
            return {"cut": f"it took longer than {policy.seconds:g} s", "seconds": 0.0}
        if self._run.memory_mb() > policy.memory_mb:
            why = f"the process held more than {policy.memory_mb:g} MB"
            return {"cut": why, "seconds": 0.0}
        data = self._data
        some = np.zeros(len(data), bool)
        some[np.linspace(0, data.train.stop - 1, rows).astype(int)] = True
        found: float | None = None
        try:
            frame, target = data.rows(some)
            model = fit(self._task, estimator, frame, target, data.lessons(some, stand=True))
            check_answers_all(self._task, model, frame)
            later, truth = data.rows(self._asked)
            given = answers(self._task, model, later)
            found = loss(self._task, truth, given, data.weights(self._asked))
        except FitError:
            pass
        return {"loss": found, "seconds": self._run.now() - began}


def configured(estimator: Any, setting: Mapping[str, Any]) -> Any:
    """A copy of an unfitted estimator with a setting of its parameters."""
    return clone(estimator).set_params(**setting)
