"""What a task may say of drift."""

from __future__ import annotations

import pytest

from streams.drift.policy import Drift
from streams.task import TaskError
from tests.streams.tasks import task_of


def test_what_is_wrong_is_told_at_once() -> None:
    with pytest.raises(TaskError) as caught:
        task_of(
            drift=Drift(
                false_alarm_every=10,
                tolerance=0,
                harm=float("nan"),
                seasonality=["hour"],
                shift=-1,
                kinds=["data", "data", "volume"],
            )
        )
    text = str(caught.value)
    for word in (
        "false_alarm_every 10",
        "tolerance 0",
        "shift -1",
        "harm nan",
        "'hour'",
        "'volume'",
        "twice",
    ):
        assert word in text


def test_facts_make_it_again() -> None:
    policy = Drift(tolerance=0.2, seasonality=["day_of_week"], kinds=["concept"])
    assert Drift.of(policy.facts()) == policy
    assert Drift.of({"of a later Weir": 1}) == Drift()


def test_names_are_a_list() -> None:
    assert any("list of names" in one for one in Drift(kinds="data").problems())
