"""What a task may say of its triggers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streams.bounds import BOUNDED
from streams.drift.finding import KINDS
from streams.task import (
    AllOf,
    AnyOf,
    Budget,
    Checks,
    Drifted,
    LastN,
    MetricAbove,
    MetricBelow,
    NewLabels,
    PerformanceDrop,
    Schedule,
    TaskError,
    Trigger,
)
from streams.triggers import declare
from tests.streams.tasks import task_of


def millis(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type,misc]


def test_a_schedule_is_read_in_its_zone_over_the_change_of_clocks() -> None:
    monthly = Schedule("0 0 1 * *", "America/New_York")
    moments = [millis(2013, 2, 15)]
    for _ in range(3):
        moments.append(monthly.next(moments[-1]))
    assert moments[1:] == [millis(2013, 3, 1, 5), millis(2013, 4, 1, 4), millis(2013, 5, 1, 4)]
    assert Schedule("*/30 * * * *").next(millis(2013, 1, 1)) == millis(2013, 1, 1, 0, 30)


@pytest.mark.parametrize(
    ("when", "said"),
    [
        (Schedule("0 0 31 2 *"), "cron '0 0 31 2 *': Bad day-of-month"),
        (Schedule("61 * * * *"), "cron '61"),
        (Schedule("0 0 1 * *", "Mars/Olympus"), "not a time zone"),
        (NewLabels(0), "1 or more"),
        (MetricBelow("auc", 0.7), "metric 'auc' is one of"),
        (MetricBelow("rmse", 0.7), "a binary task has no metric 'rmse'"),
        (MetricAbove("calibration_error", 0.1), "no confidence bound"),
        (MetricBelow("accuracy", float("nan")), "threshold nan"),
        (MetricBelow("accuracy", 0.5, window="tumbling_2d"), "window 'tumbling_2d' is one of"),
        (MetricBelow("accuracy", 0.5, windows=0), "1 to 100"),
        (MetricBelow("accuracy", 0.5, least=0), "1 or more"),
        (MetricBelow("accuracy", 0.5, segment="size", value="1"), "segment 'size' is one of"),
        (PerformanceDrop("brier", by=0.1), "is one of accuracy, roc_auc"),
        (PerformanceDrop("accuracy", by=0), "more than 0"),
        (Drifted(["weather"]), "kinds is a list of data, target"),
        (Drifted("data"), "kinds is a list of data, target"),
        (Drifted(subjects=0), "1 or more"),
        (AnyOf(), "AnyOf of nothing"),
        (AllOf(NewLabels(5), AnyOf(NewLabels(-1))), "NewLabels(-1): 1 or more"),
    ],
)
def test_what_is_wrong_is_said(when: Any, said: str) -> None:
    with pytest.raises(TaskError) as error:
        task_of("binary", triggers=[Trigger(name="bad", when=when)])
    assert said in str(error.value)
    assert "trigger 'bad'" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "Bad"}, "lower-case"),
        ({"name": "manual"}, "who else asks"),
        ({"cooldown": timedelta(days=-1)}, "negative"),
        ({"budget": Budget(0, timedelta(days=1))}, "at least one event"),
        ({"budget": Budget(1, timedelta(0))}, "positive period"),
        ({"train_on": timedelta(0)}, "positive time"),
        ({"checks": Checks(labels=-1)}, "0 or more"),
        ({"checks": Checks(rejected=2)}, "0 to 1"),
    ],
)
def test_so_is_what_is_wrong_with_a_trigger(changes: dict[str, Any], said: str) -> None:
    given = {"name": "worse", "when": NewLabels(10), **changes}
    with pytest.raises(TaskError) as error:
        task_of("binary", triggers=[Trigger(**given)])
    assert said in str(error.value)


def test_all_problems_come_at_once_and_a_name_stands_once() -> None:
    triggers = [
        Trigger(name="one", when=NewLabels(0)),
        Trigger(name="one", when=Schedule("x")),
    ]
    with pytest.raises(TaskError) as error:
        task_of("binary", triggers=triggers)
    assert len(error.value.problems) == 3
    assert "declared twice" in str(error.value)


def test_labels_are_counted_by_windows_of_time_only() -> None:
    windows = [LastN(100)]
    with pytest.raises(TaskError) as error:
        task_of("binary", windows=windows, triggers=[Trigger(name="labels", when=NewLabels(10))])
    assert "labels are not counted" in str(error.value)
    assert "NewLabels needs a Window" in str(error.value)
    none = Checks(labels=0, of_class=0)
    bad = MetricBelow("accuracy", 0.5)
    task_of("binary", windows=windows, triggers=[Trigger(name="bad", when=bad, checks=none)])


def test_names_are_those_of_the_bounds_and_of_the_drifts() -> None:
    assert declare.BOUNDED == BOUNDED
    assert set(declare.DRIFTS) == {*KINDS, "other"}
