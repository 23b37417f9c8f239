"""Estimates on their way: from a saved estimator to the prediction that carries them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from streams import skops_files
from streams.estimates.measures import SPREAD
from streams.estimates.saved import Saved, fit_saved, of_plain
from streams.frame import columns_of, frame
from streams.inference import infer
from streams.task import Task
from streams.version import Answers, Expected
from tests.streams.tasks import KINDS, task_of
from tests.streams.versions import VOCABULARIES, model_of, version_of

WIDTH = {"binary": 1, "multiclass": 3, "regression": 2}


def inputs(task: Task, n: int) -> Any:
    draw = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "size": draw.uniform(0, 100, n),
            "age": draw.integers(0, 90, n).astype(float),
            "fresh": draw.integers(0, 2, n).astype(bool),
            "colour": draw.choice(VOCABULARIES["colour"], n),
            "shop": draw.choice(VOCABULARIES["shop"], n),
        }
    )
    return columns_of(task.features, table)


def saved(task: Task) -> Saved:
    version = version_of(task, gated=False)
    rows = frame(task, inputs(task, 1_000), VOCABULARIES)
    answers = version.predict(rows)
    draw = np.random.default_rng(2)
    if task.kind == "regression":
        truth: Any = answers.answer + draw.normal(size=1_000)
    else:
        truth = np.where(draw.random(1_000) < 0.8, answers.answer, draw.permutation(answers.answer))
    made = fit_saved(task.kind, task.classes, rows, answers, truth, 0)
    assert made is not None
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_estimator_expects_what_it_did(kind: str) -> None:
    task = task_of(kind)
    one = saved(task)
    again = of_plain(skops_files.load(skops_files.dump(one.plain())))
    version = version_of(task, gated=False)
    rows = frame(task, inputs(task, 50), VOCABULARIES)
    answers = version.predict(rows)
    first, second = one.expect(rows, answers), again.expect(rows, answers)
    assert (first.values == second.values).all()
    assert (first.spread == second.spread).all()
    assert (first.outside == second.outside).all()
    assert first.values.shape == (50, WIDTH[kind])
    assert first.spread.shape == (len(SPREAD[task.kind]),)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_answered_has_an_expectation(kind: str) -> None:
    task = task_of(kind)
    version = version_of(task)
    version.estimates = saved(task)
    found = infer(version, inputs(task, 200), 200, lambda _: None)
    assert found.defer.any()
    assert found.expected is not None
    assert len(found.expected.values) == 200 - found.defer.sum()


def test_an_estimator_that_fails_keeps_nobody_from_an_answer() -> None:
    class Fails:
        def expect(self, frame: pd.DataFrame, answers: Answers) -> Expected:
            raise ValueError("no")

    task = task_of("binary")
    version = version_of(task, gated=False, model=model_of(task))
    version.estimates = Fails()
    found = infer(version, inputs(task, 10), 10, lambda _: None)
    assert not found.defer.any()
    assert found.expected is None


def test_too_few_rows_give_no_estimator() -> None:
    task = task_of("binary")
    rows = frame(task, inputs(task, 50), VOCABULARIES)
    answers = version_of(task, gated=False).predict(rows)
    assert fit_saved(task.kind, task.classes, rows, answers, answers.answer, 0) is None
