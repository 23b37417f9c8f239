"""The search: a plan within its budget, the same result each time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import loguniform
from sklearn.ensemble import HistGradientBoostingClassifier

from streams.declaration import version_id
from streams.task import Search, TaskError, Training
from streams.training.data import prepare
from streams.training.halving import FACTOR, MOST_RUNGS, rungs
from streams.training.run import UNWATCHED, Facts, Key, Run
from streams.training.searching import sample, search
from streams.training.spaces import HISTOGRAM_BOOSTING, LOGISTIC, inside
from streams.training.train import train
from tests.small_tasks import tumour_task, tumours

SPACE = {"max_iter": [3, 10, 20], "max_leaf_nodes": [4, 8, 15], "learning_rate": [0.001, 0.1, 0.3]}
SEARCH = Search(spaces={"trees": SPACE}, budget=3.0, least_rows=40)
TASK = tumour_task(training=Training(search=SEARCH, gate_must_pay=False))
DATA = prepare(TASK, tumours())
BASE = {"of": "test"}


@given(st.integers(1, 10**6), st.floats(0, 300), st.integers(1, 5000), st.integers(1, 10**6))
@example(9000, 9.0, 1000, 10**6)
def test_a_plan_keeps_to_its_budget_and_ends_on_all_rows(
    rows: int, budget: float, least: int, most: int
) -> None:
    plan = rungs(rows, budget, least, most)
    assert sum(rung.settings * rung.rows for rung in plan) <= budget * rows
    assert len(plan) <= MOST_RUNGS
    if not plan:
        assert budget < 1
        return
    assert plan[-1].rows == rows
    assert all(1 <= rung.settings <= most for rung in plan)
    assert all(rung.rows >= min(least, rows) for rung in plan)
    for rung, following in pairwise(plan):
        assert following.settings == rung.settings // FACTOR
        assert following.rows >= FACTOR * rung.rows


def test_nine_fits_buy_27_settings_on_a_ninth_of_the_rows() -> None:
    assert [(r.settings, r.rows) for r in rungs(9000, 9.0, 1000, 10**6)] == [
        (27, 1000),
        (9, 3000),
        (3, 9000),
    ]


class Noting(Run):
    """Notes what was tried; the one of a number, and those after it, take very long."""

    def __init__(self, ends_after: int = 10**9) -> None:
        self.trials: list[Key] = []
        self.kept: dict[str, Facts] = {}
        self._ends_after, self._clock = ends_after, 0.0

    def found(self, key: Key, work: Callable[[], Facts]) -> Facts:
        self.trials.append(key)
        name = repr(key)
        if name not in self.kept:
            self.kept[name] = work()
        return self.kept[name]

    def now(self) -> float:
        self._clock += 1e4 if len(self.trials) >= self._ends_after else 0.0
        return self._clock


def test_the_search_finds_settings_that_are_better_than_most() -> None:
    run = Noting()
    found = search(TASK, DATA, BASE, run, (0.0, 1.0))["trees"]
    assert [(r.settings, r.rows) for r in found.rungs] == [(9, 44), (3, 132), (1, 398)]
    assert (found.tried, found.failed, found.cut) == (12, 0, "")
    assert [key["rows"] for key in run.trials] == [44] * 9 + [132] * 3
    (setting,) = found.settings
    assert set(setting) == set(SPACE)
    assert setting["learning_rate"] > 0.001  # that one learns nothing in so few steps
    again = search(TASK, DATA, BASE, UNWATCHED, (0.0, 1.0))["trees"]
    assert again.facts() == found.facts()


def test_what_was_kept_is_not_tried_again_and_gives_the_same() -> None:
    run = Noting()
    found = search(TASK, DATA, BASE, run, (0.0, 1.0))["trees"]
    again = Noting()
    again.kept = dict(run.kept)

    def never() -> Any:
        raise AssertionError("it was kept")

    again.found = lambda key, work: Noting.found(again, key, never)  # type: ignore[method-assign]
    assert search(TASK, DATA, BASE, again, (0.0, 1.0))["trees"].facts() == found.facts()


@pytest.mark.parametrize("after", [1, 5, 10])
def test_a_guard_that_bites_leaves_the_best_so_far_and_is_followed_later(after: int) -> None:
    run = Noting(ends_after=after)
    found = search(TASK, DATA, BASE, run, (0.0, 1.0))["trees"]
    assert "longer than 900 s" in found.cut
    assert found.tried == after
    assert len(found.settings) == 1
    quick = Noting()
    quick.kept = dict(run.kept)
    assert search(TASK, DATA, BASE, quick, (0.0, 1.0))["trees"].facts() == found.facts()


def test_how_far_a_cut_search_came_is_part_of_the_versions_id() -> None:
    cut = train(TASK, tumours(), "a", run=Noting(ends_after=5)).contents
    assert cut.extra["selection"]["search"]["trees"]["cut"]
    assert cut.id == version_id(TASK, DATA.id, cut.libraries, {"search_cut": {"trees": 5}})
    assert cut.id != version_id(TASK, DATA.id, cut.libraries)


def test_too_much_memory_ends_it_too() -> None:
    class Full(Run):
        def memory_mb(self) -> float:
            return 1e6

    found = search(TASK, DATA, BASE, Full(), (0.0, 1.0))["trees"]
    assert "more than 4000 MB" in found.cut
    assert (found.tried, list(found.settings)) == (0, [])


def test_what_the_search_found_is_a_candidate_beside_the_declared() -> None:
    contents = train(TASK, tumours(), "a").contents
    selection = contents.extra["selection"]
    assert contents.id == version_id(TASK, DATA.id, contents.libraries)
    assert set(selection["validation"]) == {"linear", "trees", "trees searched"}
    assert selection["search"]["trees"]["found"]
    best = min(selection["validation"], key=selection["validation"].get)
    assert selection["chosen"] == best
    assert contents.candidate == best.removesuffix(" searched")


def test_settings_that_cannot_be_fitted_are_passed_over() -> None:
    space = {"max_leaf_nodes": [-5, 4], "learning_rate": [0.05, 0.1, 0.2]}
    task = tumour_task(training=Training(search=Search(spaces={"trees": space}, least_rows=40)))
    found = search(task, DATA, BASE, UNWATCHED, (0.0, 1.0))["trees"]
    assert found.failed > 0
    assert all(setting["max_leaf_nodes"] == 4 for setting in found.settings[:1])


def test_the_same_seed_draws_the_same_settings() -> None:
    space = {"learning_rate": loguniform(0.01, 1.0)}
    assert sample(space, 5, 1) == sample(space, 5, 1) != sample(space, 5, 2)
    assert len(sample({"a": [1, 2]}, 5, 1)) == 2


def test_other_distributions_give_other_versions_and_equal_ones_the_same() -> None:
    def of(low: float) -> str:
        space = {"learning_rate": loguniform(low, 1.0)}
        task = tumour_task(training=Training(search=Search(spaces={"trees": space})))
        return version_id(task, "ds", {})

    assert of(0.01) == of(0.01) != of(0.02)


def test_ready_made_spaces_fit_their_estimators() -> None:
    spaces = {"trees": HISTOGRAM_BOOSTING, "linear": inside("logisticregression", LOGISTIC)}
    task = tumour_task(training=Training(search=Search(spaces=spaces)))
    for setting in sample(HISTOGRAM_BOOSTING, 50, 0):
        HistGradientBoostingClassifier(**setting)._validate_params()
    assert task.training.search.spaces == spaces


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"spaces": {"forest": {"a": [1]}}}, "'forest' is not a candidate"),
        ({"spaces": {"trees": {"leaves": [1]}}}, "no parameter 'leaves'"),
        ({"spaces": {"trees": {"max_iter": []}}}, "a list of one or more values"),
        ({"spaces": {"trees": {"max_iter": 5}}}, "a distribution with rvs"),
        ({"spaces": {"trees": {}}}, "is empty"),
        ({"budget": -1}, "budget -1"),
        ({"least_rows": 0}, "least_rows 0"),
        ({"seconds": "long"}, "seconds 'long'"),
    ],
)
def test_a_search_that_cannot_be_is_told_at_the_start(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(TaskError, match=says):
        tumour_task(training=Training(search=Search(**changes)))
