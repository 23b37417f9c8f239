"""Behavioural tests, on models that hang on the size alone."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from schemas.features import Number
from streams.declaration import json_text
from streams.frame import columns_of, frame
from streams.task import (
    Directional,
    Functionality,
    Invariance,
    Regression,
    Task,
    TaskError,
    Training,
)
from streams.training.behaviour import Behaviour, facts
from streams.training.checklist import Finding, Rows, as_table, run
from streams.training.fitting import one_thread
from streams.version import Answers
from tests.streams.tasks import task_of
from tests.streams.versions import VOCABULARIES, Odd, model_of, truth_of, version_of

KIND = {"binary", "multiclass", "regression"}
RED = {"colour": "red"}


def table(n: int = 200, seed: int = 3) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": draw.uniform(0, 100, n),
            "age": np.where(draw.random(n) < 0.2, np.nan, draw.integers(0, 90, n)),
            "fresh": draw.choice([0.0, 1.0, np.nan], n),
            "colour": draw.choice(np.array(["red", "green", "blue", None], object), n),
            "shop": draw.choice(np.array(["x", "y"], object), n),
        }
    )


def finding_of(
    test: Behaviour, kind: str = "binary", weight: Any = None, model: Any = None
) -> Finding:
    task = task_of(kind, training=Training(behaviour=[test]))
    version = version_of(task, gated=False, model=model or fitted(kind))
    rows = table()
    truth = np.array([truth_of(kind, size) for size in rows["size"]])
    if kind == "multiclass":
        truth = truth.astype(object)
    asked = version.frame(columns_of(task.inputs, rows))
    try:
        held_out = version.predict(asked)
    except ValueError:  # of a model that is to fail
        held_out = Answers(truth)
    with one_thread():
        (found,) = run(task, version, Rows(rows, truth, held_out, weight))
    json_text(found.facts())  # it is JSON
    return found


@lru_cache
def fitted(kind: str) -> Any:
    with one_thread():
        return model_of(task_of(kind))


def mirrored(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(size=100 - rows["size"], shop="y")


def other_colour(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(colour=np.where(rows["colour"] == "red", "blue", "red"), size=0.0)


@pytest.mark.parametrize("kind", sorted(KIND))
def test_what_does_not_matter_may_change(kind: str) -> None:
    # The change touches the size as well, which is not among the features: it stays as it is.
    test = Invariance(name="colour", features=["colour"], change=other_colour, at_most=0.001)
    found = finding_of(test, kind)
    assert (found.passed, found.rows, found.failed) == (True, 200, 0.0)


@pytest.mark.parametrize("kind", sorted(KIND))
def test_an_answer_that_moves_too_far_fails_with_the_worst_rows(kind: str) -> None:
    test = Invariance(name="size", features=["size", "shop"], change=mirrored, at_most=0.1)
    found = finding_of(test, kind)
    assert not found.passed
    assert found.failed > 0.5
    assert len(found.examples) == 3
    moves = [abs(one["after"] - one["before"]) for one in found.examples]
    assert moves == sorted(moves, reverse=True)
    first = found.examples[0]
    assert set(first["row"]) == {"size", "age", "fresh", "colour", "shop"}
    assert first["changed"] == {"size": 100 - first["row"]["size"], "shop": "y"}
    assert ("of" in first) == (kind == "multiclass")


def test_a_share_of_the_rows_may_move() -> None:
    test = Invariance(name="n", features=["size"], change=mirrored, at_most=0.1, share=0.99)
    found = finding_of(test)
    assert found.passed == (found.failed <= 0.99)


def test_rows_count_by_their_weights_and_only_those_meant() -> None:
    def larger(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(size=rows["size"] + 20)

    test = Invariance(name="n", features=["size"], change=larger, at_most=0.5, where=RED)
    rows = table()
    red = (rows["colour"] == "red").to_numpy()
    moves = rows["size"].between(32, 48).to_numpy()  # over the 50 that all hangs on
    found = finding_of(test)
    assert found.rows == red.sum()
    assert (red & moves).sum() / red.sum() <= found.failed < 0.5
    by_weight = finding_of(test, weight=np.where(moves, 50.0, 1.0))
    assert by_weight.failed > 0.8


def test_a_change_that_fails_fails_the_test_and_says_how() -> None:
    def broken(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.head(3)

    found = finding_of(Invariance(name="n", features=["size"], change=broken, at_most=0.1))
    assert not found.passed
    assert found.note == "it failed: ValueError: change gave 3 rows for 200"
    unnamed = Invariance(name="n", features=["size"], change=lambda t: t[["age"]], at_most=1)
    assert finding_of(unnamed).note == "it failed: KeyError: 'size'"


def test_answers_that_are_no_numbers_fail() -> None:
    test = Directional(name="n", feature="size", by=10, expect="not_lower")
    assert "not finite" in finding_of(test, model=Odd()).note


@pytest.mark.parametrize(("kind", "of"), [("binary", ""), ("multiclass", "c"), ("regression", "")])
def test_the_right_direction_passes_and_the_wrong_one_fails(kind: str, of: str) -> None:
    up = {"name": "size", "feature": "size", "by": 40.0, "of": of, "at_most": 0.01}
    found = finding_of(Directional(**up, expect="not_lower"), kind)  # type: ignore[arg-type]
    assert found.passed
    assert found.rows == 200
    against = finding_of(Directional(**up, expect="not_higher"), kind)  # type: ignore[arg-type]
    assert not against.passed
    example = against.examples[0]
    assert example["after"] > example["before"] + 0.01
    raised = min(example["row"]["size"] + 40, 100)  # within its range
    assert example["changed"]["size"] == pytest.approx(raised)
    down = up | {"by": -40.0}
    assert finding_of(Directional(**down, expect="not_higher"), kind).passed  # type: ignore[arg-type]


def test_rows_in_which_a_feature_is_null_or_cannot_move_are_left_out() -> None:
    found = finding_of(Directional(name="age", feature="age", by=1, expect="not_lower"))
    assert found.rows == table()["age"].notna().sum()
    nowhere = Directional(name="n", feature="size", by=1, expect="not_lower", where={"shop": "z"})
    assert finding_of(nowhere).passed
    assert "not judged" in finding_of(nowhere).note


def test_plain_cases_must_be_answered_right() -> None:
    big, small = ({"size": size, "shop": "x"} for size in (95.0, 5.0))
    assert finding_of(Functionality(name="n", rows=[big, small], answers=[True, False])).passed
    found = finding_of(Functionality(name="n", rows=[big, small], answers=[True, True]))
    assert (found.passed, found.failed, found.rows) == (False, 0.5, 2)
    (example,) = found.examples
    assert (example["expected"], example["answered"]) == (True, False)
    assert example["row"] == {
        "size": 5.0,
        "age": None,
        "fresh": None,
        "colour": None,
        "shop": "x",
    }
    half = Functionality(name="n", rows=[big, small], answers=[True, True], share=0.5)
    assert finding_of(half).passed


def test_plain_cases_of_other_kinds() -> None:
    big = {"size": 95.0, "shop": "x"}
    assert finding_of(Functionality(name="n", rows=[big], answers=["c"]), "multiclass").passed
    assert not finding_of(Functionality(name="n", rows=[big], answers=["a"]), "multiclass").passed
    near = Functionality(name="n", rows=[big], answers=[190], within=15)
    assert finding_of(near, "regression").passed
    assert not finding_of(Functionality(name="n", rows=[big], answers=[150]), "regression").passed


def test_a_slice_must_be_good_enough() -> None:
    good = Functionality(name="n", where=RED, measure="accuracy", at_least=0.8, least_rows=10)
    found = finding_of(good)
    assert found.passed
    assert found.value is not None
    assert found.value >= 0.8
    assert found.rows == (table()["colour"] == "red").sum()
    never = Functionality(name="n", where={}, measure="accuracy", at_most=0.5)
    assert not finding_of(never).passed
    assert finding_of(never).note.endswith("must be at most 0.5")
    rare = Functionality(name="n", where={"shop": "z"}, measure="accuracy", at_least=1.0)
    assert finding_of(rare).passed
    assert finding_of(rare).note == "0 such rows are fewer than 50: not judged"
    several = {"colour": ["red", "blue"], "fresh": True}
    both = Functionality(name="n", where=several, measure="brier", at_most=1, least_rows=1)
    rows = table()
    assert (
        finding_of(both).rows == (rows["colour"].isin(["red", "blue"]) & (rows["fresh"] == 1)).sum()
    )


def test_a_table_is_what_the_model_gets_and_gives_the_same_frame() -> None:
    task, rows = task_of(), table()
    made = frame(task, columns_of(task.inputs, rows), VOCABULARIES)
    back = as_table(task.inputs, made)
    pd.testing.assert_frame_equal(frame(task, columns_of(task.inputs, back), VOCABULARIES), made)
    assert back["colour"].dtype == object
    assert back["colour"].isna().sum() == rows["colour"].isna().sum()


@pytest.mark.parametrize(
    ("test", "problem"),
    [
        (
            Invariance(name="n", features=["siez"], change=mirrored, at_most=0.1),
            "behaviour 'n': 'siez' is no feature of the task",
        ),
        (Invariance(name="n", features=[], change=mirrored, at_most=0.1), "features is a list"),
        (Invariance(name="n", features=["size"], change=3, at_most=0.1), "change is a function"),  # type: ignore[arg-type]
        (
            Invariance(name="n", features=["size"], change=mirrored, at_most=-1),
            "at_most -1 is a number, 0 or more",
        ),
        (
            Directional(name="n", feature="colour", by=1, expect="not_lower"),
            "'colour' is not a number",
        ),
        (Directional(name="n", feature="size", by=0, expect="not_lower"), "by 0 is a number"),
        (
            Directional(name="n", feature="size", by=1, expect="up"),  # type: ignore[arg-type]
            "expect 'up' is 'not_lower' or 'not_higher'",
        ),
        (
            Directional(name="n", feature="size", by=1, expect="not_lower", of="a"),
            "of belongs to a multi-class target",
        ),
        (Functionality(name="n"), "give either rows with their answers, or a measure"),
        (Functionality(name="n", rows=[{}], answers=[True]), "row 1: 'size' may not be null"),
        (
            Functionality(name="n", rows=[{"size": 500, "shop": "x"}], answers=[True]),
            "row 1: 'size' 500 is not a number in its range",
        ),
        (
            Functionality(name="n", rows=[{"size": 1, "shop": "x", "colour": "pink"}], answers=[1]),
            "'colour' 'pink' is not one of its names",
        ),
        (Functionality(name="n", rows=[{"size": 1, "shop": "x"}], answers=[]), "1 rows have 0"),
        (
            Functionality(name="n", rows=[{"size": 1, "shop": "x"}], answers=["a"]),
            "answer 'a' is not a binary answer",
        ),
        (Functionality(name="n", measure="mae", at_most=1), "measure 'mae' is one of log_loss"),
        (Functionality(name="n", measure="f1"), "set at_least or at_most to a number"),
        (
            Functionality(name="n", measure="f1", at_least=0.5, where={"nought": 1}),
            "'nought' is no feature of the task",
        ),
        (
            Functionality(name="n", measure="f1", at_least=0.5, severity="stop"),  # type: ignore[arg-type]
            "severity 'stop' is 'refuse' or 'warn'",
        ),
        (Functionality(name="", measure="f1", at_least=0.5), "behaviour '': it needs a name"),
        ("a test", "behaviour: 'a test' is no Invariance, Directional or Functionality"),
    ],
)
def test_a_wrong_declaration_is_refused_at_start(test: Any, problem: str) -> None:
    with pytest.raises(TaskError) as refused:
        task_of(training=Training(behaviour=[test]))
    assert problem in str(refused.value)


def test_two_tests_of_one_name_are_refused() -> None:
    test = Functionality(name="n", measure="f1", at_least=0.5)
    with pytest.raises(TaskError, match="behaviour 'n' is declared twice"):
        task_of(training=Training(behaviour=[test, test]))


def test_a_test_is_told_as_json_with_its_function_by_name() -> None:
    test = Invariance(name="n", features=("size",), change=mirrored, at_most=0.1, where=RED)
    told = facts(test)
    json_text(told)
    assert told["change"] == "mirrored"
    assert (told["kind"], told["features"]) == ("invariance", ["size"])
    training = Training(behaviour=[test])
    assert training.facts()["behaviour"] == [told]
    assert Training().facts()["behaviour"] == []


def test_a_windowed_feature_may_be_tested() -> None:
    task = Task(
        name="t",
        features=[Number("size")],
        target=Regression("price"),
        candidates={"any": task_of("regression").candidates["linear"]},
        fallback=0.0,
        training=Training(
            behaviour=[Directional(name="n", feature="size", by=1, expect="not_lower")]
        ),
    )
    assert task.training.behaviour
