"""The evaluation of a training: of the demo's task, with a search that fits its candidates."""

from __future__ import annotations

import pytest

from services.demo.flight_delay import FlightDelay
from services.evaluate.training import Printed, one_line, task_with
from streams.training.spaces import HISTOGRAM_BOOSTING


def test_the_budget_is_what_the_trees_are_searched_for() -> None:
    assert task_with(0) is FlightDelay
    search = task_with(9).training.search
    assert (search.budget, search.spaces) == (9, {"trees": HISTOGRAM_BOOSTING})


def test_a_step_is_a_line_with_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    with Printed().step("rows", 0.0) as facts:
        facts |= {"rows": 7, "of": ["a b"]}
    said = capsys.readouterr().out
    assert said.startswith("rows ")
    assert said.endswith(f"{one_line({'of': ['a b'], 'rows': 7})}\n")
