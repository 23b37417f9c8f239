"""What rows must be like to be trained on; everything that is wrong is told at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.declaration import declaration
from streams.task import Category, DataChecks, Number, Task, TaskError, Training
from streams.training.checks import ChecksFailed, check
from streams.training.data import STANDS_FOR, WEAK, prepare
from streams.training.profile import answers_of, profile
from streams.training.train import train
from streams.version import Answers
from tests.small_tasks import (
    DIABETES,
    TUMOUR,
    WINE,
    diabetes_task,
    patients,
    tumour_task,
    tumours,
    wines,
)

ASKED = int(pd.Timestamp("2024-03-01", tz="UTC").timestamp() * 1000)
"""Later than all rows of the small tables."""


def with_values(column: str, value: Any, rows: Any) -> pd.DataFrame:
    table = tumours()
    table[column] = table[column].astype(object)
    table.loc[rows, column] = value
    return table


def failure(task: Task, table: pd.DataFrame, **options: Any) -> str:
    with pytest.raises(ChecksFailed) as failed:
        check(task, table, **options)
    return str(failed.value)


@pytest.mark.parametrize(
    ("task", "table"),
    [(TUMOUR, tumours()), (WINE, wines()), (DIABETES, patients())],
    ids=lambda one: one.kind if isinstance(one, Task) else "",
)
def test_good_rows_pass_without_a_word(task: Task, table: pd.DataFrame) -> None:
    assert check(task, table, asked_at_ms=ASKED) == []
    data = prepare(task, table)
    assert check(task, table, profile(task, data, Answers(data.target)), ASKED) == []


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (tumours().head(59), "59 rows are too few to train on; 60 are needed"),
        (tumours().drop(columns="radius"), "the data has no column 'radius'"),
        (tumours().drop(columns="benign"), "the data has no column 'benign'"),
        (tumours().drop(columns="event_time"), "the data has no column 'event_time'"),
        (with_values("benign", None, [3]), "target 'benign' is null in 1 of 569 rows"),
        (with_values("benign", "maybe", [3]), "target 'benign' is neither true nor false in 1 of"),
        (with_values("smooth", 7, [3]), "feature 'smooth' is neither true nor false in 1 of 569"),
        (with_values("radius", None, [3]), "'radius' is null in 1 of 569 rows; declare it null"),
        (with_values("radius", np.inf, [3]), "feature 'radius' is not a finite number in 1 of 569"),
        (with_values("radius", "wide", [3]), "feature 'radius' is not a finite number in 1 of 569"),
        (
            with_values("radius", -1.0, range(9)),
            "feature 'radius' is below 0 in 9 of 569 rows (-1)",
        ),
        (with_values("event_time", None, [3]), "1 rows have no event_time"),
        (with_values("event_time", "soon", [3]), "'event_time' does not hold times in 1 of 569"),
        (
            with_values("request_id", "x", [3, 4]),
            "request id is there twice in 2 of 569 rows ('x')",
        ),
        (pd.concat([tumours(), tumours().head(99).drop(columns="request_id")]), "99 of 668 rows"),
        (
            tumours().assign(known_at=tumours()["event_time"] - pd.Timedelta(hours=1)),
            "the label was known before the event in 569 of 569 rows",
        ),
        (
            tumours().assign(radius=tumours()["benign"] * 2.0),
            "'radius' alone tells the label (AUC 1",
        ),
        (
            tumours().assign(shape=np.where(tumours()["benign"], "b", "m")),
            "feature 'shape' alone tells the label (AUC 1.0000)",
        ),
    ],
)
def test_bad_rows_are_refused_with_the_reason(table: pd.DataFrame, says: str) -> None:
    assert says in failure(TUMOUR, table, asked_at_ms=ASKED)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    table = with_values("radius", None, [3]).drop(columns="texture")
    table["benign"] = table["benign"].astype(object).mask(table.index < 40, None)
    table["event_time"] += pd.Timedelta(days=365)
    said = failure(TUMOUR, table, asked_at_ms=ASKED)
    assert said.startswith("4 checks failed: ")
    for part in ("no column 'texture'", "'radius' is null", "'benign' is null", "in the future"):
        assert part in said


def test_an_event_in_the_future_is_refused_whoever_asks() -> None:
    table = tumours()
    late = int(table["event_time"].min().timestamp() * 1000)
    assert "lies in the future in" in failure(TUMOUR, table, asked_at_ms=late)
    assert check(TUMOUR, table) == []  # nobody says when it was asked for


def test_times_outside_the_tasks_are_refused() -> None:
    task = tumour_task(event_times=(datetime(2024, 1, 2, tzinfo=UTC), None))
    assert "outside the task's event_times in 24 of 569" in failure(task, tumours())


def test_a_few_values_out_of_range_are_a_warning() -> None:
    features = [
        Number("radius", low=0),
        *TUMOUR.features[1:3],
        Category("shape", values=["bent", "ragged", "round"], nullable=True),
    ]
    task = tumour_task(features=features)
    table = with_values("radius", -1.0, [3])
    table.loc[5, "shape"] = "square"
    assert check(task, table) == [
        "feature 'radius' is below 0 in 1 of 569 rows (-1)",
        "feature 'shape' is not one of the declared names in 1 of 569 rows ('square')",
    ]
    strict = tumour_task(features=features, training=Training(checks=DataChecks(out_of_range=0)))
    assert failure(strict, table).startswith("2 checks failed: ")


def test_a_feature_that_says_nothing_is_a_warning() -> None:
    table = tumours().assign(smooth=True, texture=None)
    assert check(TUMOUR, table) == [
        "feature 'texture' is null in all rows: nothing is learned from it",
        "feature 'smooth' has one value in all rows",
    ]


def test_what_was_there_for_the_champion_must_not_be_missing_now() -> None:
    data = prepare(TUMOUR, tumours())
    before = profile(TUMOUR, data, Answers(data.target))
    some, many = (with_values("texture", None, range(n)) for n in (120, 300))
    (warning,) = check(TUMOUR, some, before)
    assert warning.startswith("feature 'texture' is null in 30% of the rows, 10% in the champion's")
    assert "is null in 58% of the rows" in failure(TUMOUR, many, profile=before)


EASY = Training(checks=DataChecks(leak=1))


@pytest.mark.parametrize(
    ("task", "table", "says"),
    [
        (tumour_task(training=EASY), tumours().query("benign or radius > 22"), "false is"),
        (WINE, wines().query("cultivar != 'cultivar-1'"), "cultivar-1 is 0% of them, 40% in the"),
        (diabetes_task(training=EASY), patients().query("progression > 200"), "their mean is"),
    ],
    ids=["binary", "multiclass", "regression"],
)
def test_labels_that_are_quite_others_than_the_champions_are_refused(
    task: Task, table: pd.DataFrame, says: str
) -> None:
    assert task.history is not None
    before = {"target": answers_of(prepare(task, task.history()).target)}
    said = failure(task, table, profile=before)
    assert "of the labels have moved" in said
    assert says in said


def test_rows_are_compared_with_the_champions_as_the_requests_that_they_stand_for() -> None:
    before = profile(TUMOUR, prepare(TUMOUR, tumours()), Answers(prepare(TUMOUR, tumours()).target))
    rare = tumours().query("benign or request_id.str.endswith('7')")  # a tenth of the malignant
    assert "of the labels have moved" in failure(TUMOUR, rare, profile=before)
    fair = rare.assign(**{STANDS_FOR: np.where(rare["benign"], 1.0, 10.0)})
    assert check(TUMOUR, fair, before) == []
    # Weak labels speak for nobody: all of these are wrong.
    wrong = tumours().assign(benign=False, request_id=lambda t: t["request_id"] + "-weak")
    wrong["event_time"] += pd.Timedelta("1min")
    weak = pd.concat([tumours().assign(**{WEAK: False}), wrong.assign(**{WEAK: True})])
    assert not any("labels" in warning for warning in check(TUMOUR, weak, before))


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_a_label_in_disguise_is_found_in_every_kind_of_task(kind: str) -> None:
    if kind == "multiclass":
        many = pd.concat([wines()] * 2, ignore_index=True).drop(columns="request_id")
        many["event_time"] = pd.date_range("2024-01-01", periods=len(many), freq="h", tz="UTC")
        codes = many["cultivar"].astype("category").cat.codes
        assert "'hue' alone tells the label" in failure(WINE, many.assign(hue=codes * 1.0))
    else:
        table = patients()
        table = table.assign(bmi=table["progression"].round(-1) + 0.5)
        checks = Training(checks=DataChecks(leak=0.97))
        assert "'bmi' alone tells the label (R²" in failure(diabetes_task(training=checks), table)


def test_a_leak_may_be_allowed() -> None:
    table = tumours().assign(radius=tumours()["benign"] * 2.0)
    assert check(tumour_task(training=Training(checks=DataChecks(leak=1))), table) == []


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_noise_tells_no_label(seed: int) -> None:
    chance = np.random.default_rng(seed)
    table = tumours().assign(
        radius=chance.random(569),
        texture=chance.integers(0, 3, 569) * 1.0,
        shape=chance.integers(0, 300, 569).astype(str),
        benign=chance.random(569) < 0.1,
    )
    assert check(TUMOUR, table) == []


def test_weak_labels_do_not_count_as_rows() -> None:
    table = tumours().head(100).assign(**{WEAK: np.arange(100) < 50})
    assert "50 rows with a true label (and 50 weak ones)" in failure(TUMOUR, table)


def test_warnings_are_in_the_manifest_and_change_no_version() -> None:
    table = with_values("radius", -1.0, [3])
    contents = train(tumour_task(candidates={"linear": TUMOUR.candidates["linear"]}), table, "a")
    assert contents.contents.extra["checks"] == {
        "warnings": ["feature 'radius' is below 0 in 1 of 569 rows (-1)"]
    }
    other = Training(checks=DataChecks(leak=1), gate_must_pay=TUMOUR.training.gate_must_pay)
    assert declaration(tumour_task(training=other)) == declaration(TUMOUR)


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"rows": 5}, "rows 5"), ({"leak": 2}, "leak 2"), ({"duplicates": "few"}, "'few'")],
)
def test_limits_that_are_none_are_told_at_the_start(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(TaskError, match=says):
        tumour_task(training=Training(checks=DataChecks(**changes)))
