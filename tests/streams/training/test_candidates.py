"""What is compared: the declared estimators, what a search found, the champion's settings."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier

from streams.task import Task
from streams.training.candidates import CHAMPION, Choice, candidates, choose
from streams.training.data import prepare
from streams.training.fitting import bare_version, fit
from streams.training.run import UNWATCHED
from streams.training.searching import Searched
from streams.version import Version
from tests.small_tasks import TUMOUR, tumour_task, tumours

DATA = prepare(TUMOUR, tumours())
BASE = {"of": "test"}


def champion(estimator: Any, name: str = "trees", task: Task = TUMOUR) -> Version:
    version = bare_version(task, fit(task, estimator, *DATA.rows(DATA.train)))
    version.manifest = {**version.manifest, "candidate": name}
    return version


def test_a_champion_with_settings_of_its_own_is_fitted_again_beside_the_declared() -> None:
    own = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=7)
    pool = candidates(TUMOUR, {}, champion(own))
    assert [one.label for one in pool] == ["linear", "trees", CHAMPION]
    assert pool[-1].name == "trees"
    assert pool[-1].estimator.get_params()["max_iter"] == 7
    assert not hasattr(pool[-1].estimator, "n_features_in_")  # it has learned nothing yet
    assert set(choose(TUMOUR, DATA, pool, BASE, UNWATCHED, (0, 1)).losses) == {
        *("linear", "trees", CHAMPION)
    }


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (TUMOUR.candidates["trees"], "trees"),  # as it is declared
        (DummyClassifier(), "dropped"),  # of a candidate that the task has no longer
    ],
)
def test_a_champion_that_adds_nothing_is_no_candidate(estimator: Any, name: str) -> None:
    pool = candidates(TUMOUR, {}, champion(estimator, name))
    assert [one.label for one in pool] == ["linear", "trees"]


def test_a_champion_that_is_no_estimator_of_scikit_learns_is_no_candidate() -> None:
    own = champion(TUMOUR.candidates["trees"])
    own.model = object()
    assert [one.label for one in candidates(TUMOUR, {}, own)] == ["linear", "trees"]


def test_a_champion_whose_settings_the_search_found_again_is_there_once() -> None:
    found = {"trees": Searched([{"max_iter": 7}])}
    own = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=7)
    pool = candidates(TUMOUR, found, champion(own))
    assert [one.label for one in pool] == ["linear", "trees", "trees searched"]
    both = candidates(TUMOUR, {"trees": Searched([{"max_iter": 7}, {"max_iter": 9}])}, None)
    assert [one.label for one in both[2:]] == ["trees searched 1", "trees searched 2"]


def test_both_baselines_are_reported_and_the_better_one_is_to_be_beaten() -> None:
    def chosen(baseline: Any) -> Choice:
        task = tumour_task(baseline=baseline)
        return choose(task, DATA, candidates(task, {}, None), BASE, UNWATCHED, (0, 1))

    assert chosen(None).baselines.keys() == {"majority"}
    poor = chosen(DummyClassifier(strategy="constant", constant=True))
    assert poor.baselines["majority"] < poor.baselines["heuristic"]
    assert poor.baseline == poor.baselines["majority"]
    good = chosen(TUMOUR.candidates["linear"])
    assert good.baseline == good.baselines["heuristic"] < good.baselines["majority"]
