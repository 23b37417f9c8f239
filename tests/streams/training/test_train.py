from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from streams.bundle import load_bundle, save_bundle
from streams.declaration import json_text
from streams.task import Task
from streams.training.errors import FitError
from streams.training.run import Facts, Run
from streams.training.train import Trained, train
from streams.version import Version
from tests.small_tasks import DIABETES, TUMOUR, WINE, timed, tumour_task, tumours

KEY = b"key"


FIRST: dict[str, Trained] = {}


def first(task: Task) -> Trained:
    """The first version of a task, trained once for all tests that look at it."""
    if task.name not in FIRST:
        FIRST[task.name] = trained(task)
    return FIRST[task.name]


def trained(task: Task, **options: Any) -> Trained:
    assert task.history is not None
    return train(task, task.history(), "event-1", **options)


@pytest.mark.parametrize("task", [TUMOUR, WINE, DIABETES], ids=lambda task: task.kind)
def test_the_same_rows_give_the_same_version_whatever_the_event(task: Task, tmp_path: Path) -> None:
    assert task.history is not None
    shuffled = task.history().sample(frac=1, random_state=1)
    one = save_bundle(tmp_path / "one", task, first(task).contents, KEY)
    other = save_bundle(tmp_path / "other", task, train(task, shuffled, "b").contents, KEY)
    assert one.id == other.id
    assert one.manifest["files"] == other.manifest["files"]  # byte for byte
    differs = {k for k in one.manifest if one.manifest[k] != other.manifest[k]}
    assert differs <= {"created_from", "gate"}  # the gate's cost is measured


@pytest.mark.parametrize(
    ("task", "measures"),
    [
        (TUMOUR, {"log_loss", "accuracy", "roc_auc", "brier", "calibration_error", "f1"}),
        (WINE, {"log_loss", "accuracy", "f1_macro"}),
        (DIABETES, {"mae", "rmse", "r2"}),
    ],
    ids=["binary", "multiclass", "regression"],
)
def test_a_good_model_is_accepted_with_the_measures_of_its_kind(
    task: Task, measures: set[str]
) -> None:
    result = first(task)
    assert result.accepted, result.reason
    assert measures <= set(result.contents.metrics)
    assert all(np.isfinite(value) for value in result.contents.metrics.values())
    if result.contents.gate is not None:
        assert {f"admitted_{name}" for name in measures} <= set(result.contents.metrics)
        assert result.contents.gate_metrics["cost"]["ratio"] > 0


def test_the_candidate_with_the_smallest_loss_is_chosen() -> None:
    contents = first(TUMOUR).contents
    selection = contents.extra["selection"]
    losses = selection["validation"]
    assert contents.candidate == selection["chosen"] == min(losses, key=losses.get)
    assert set(losses) == {"linear", "trees"}
    assert "search" not in selection  # the task asks for none
    assert selection["baselines"].keys() == {"majority"}


def test_what_is_saved_has_learned_from_the_newest_rows_too() -> None:
    table = tumours()
    table.loc[table.index[-40:], "shape"] = "new"
    contents = train(TUMOUR, table, "event-1").contents
    assert "new" in contents.vocabularies["shape"]
    assert contents.dataset["rows"] == 569
    encoder = contents.model[0].named_transformers_["onehotencoder"]
    assert "new" in encoder.categories_[0].tolist()


def test_a_version_that_does_not_beat_the_baseline_is_rejected() -> None:
    result = trained(tumour_task(candidates={"constant": DummyClassifier()}))
    assert not result.accepted
    assert "constant does not beat the baseline: log loss" in result.reason


class Fails(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    def fit(self, frame: pd.DataFrame, target: Any) -> None:
        raise RuntimeError("on purpose")

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        raise NotImplementedError


def test_a_candidate_that_fails_is_passed_over_with_its_reason() -> None:
    contents = trained(
        tumour_task(candidates={"fails": Fails(), "linear": TUMOUR.candidates["linear"]})
    ).contents
    assert contents.candidate == "linear"
    assert "RuntimeError: on purpose" in contents.extra["selection"]["refused"]["fails"]


def test_when_all_candidates_fail_there_is_no_version() -> None:
    with pytest.raises(FitError, match=r"no candidate can be used: fails: .* on purpose"):
        trained(tumour_task(candidates={"fails": Fails()}))


def test_a_candidate_that_would_fail_on_an_input_that_serving_allows_is_passed_over() -> None:
    strict = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="error"), ["shape"])),
        LogisticRegression(),
    )
    table = tumours()
    table = timed(table[table["shape"].notna()])
    task = tumour_task(candidates={"strict": strict, "linear": TUMOUR.candidates["linear"]})
    refused = train(task, table, "event-1").contents.extra["selection"]["refused"]
    assert "cannot answer an input whose shape is null, rare or unknown" in refused["strict"]


def test_a_budget_of_zero_makes_a_version_without_a_gate() -> None:
    contents = trained(tumour_task(defer_budget=0)).contents
    assert contents.gate is None
    assert contents.threshold is None
    assert contents.gate_metrics == {
        "deployed": False,
        "why_none": "the task's defer_budget is 0",
    }


def test_the_gate_keeps_to_the_budget_on_validation() -> None:
    contents = first(TUMOUR).contents
    assert 0 < contents.gate_metrics["validation"]["share_deferred"] <= TUMOUR.defer_budget


def test_the_profile_says_what_each_feature_looked_like() -> None:
    profile = first(TUMOUR).contents.profile
    assert json.loads(json_text(profile)) == profile
    assert list(profile["features"]) == ["radius", "texture", "smooth", "shape"]
    texture, shape = profile["features"]["texture"], profile["features"]["shape"]
    assert texture["missing"] == pytest.approx(tumours()["texture"].isna().mean())
    assert len(texture["shares"]) == len(texture["edges"]) + 1
    assert sum(texture["shares"]) == pytest.approx(1)
    assert shape["missing"] == pytest.approx(tumours()["shape"].isna().mean())
    assert sum(shape["shares"].values()) == pytest.approx(1)
    assert profile["target"]["shares"]["true"] == pytest.approx(tumours()["benign"].mean())


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """Trained on the first 400 rows."""
    contents = train(TUMOUR, tumours().head(400), "event-0").contents
    root = tmp_path_factory.mktemp("bundles")
    return load_bundle(save_bundle(root, TUMOUR, contents, KEY).folder, TUMOUR, KEY)


def test_a_version_that_is_not_worse_follows_the_champion(champion: Version) -> None:
    result = trained(TUMOUR, champion=champion)
    assert result.accepted
    assert f"no worse than {champion.id}" in result.reason.replace("not", "no")
    assert "on the newest 86 rows (as it is)" in result.reason
    assert result.contents.metrics["champion_log_loss"] > 0


def test_a_version_that_is_worse_is_rejected_with_both_losses(champion: Version) -> None:
    weak = make_pipeline(
        make_column_transformer((TUMOUR.candidates["linear"][0].transformers[0][1], ["texture"])),
        LogisticRegression(),
    )
    result = trained(tumour_task(candidates={"weak": weak}), champion=champion)
    assert not result.accepted
    assert f"weak is worse than {champion.id}: log loss" in result.reason


def test_a_champion_that_saw_the_test_rows_is_fitted_again_for_the_comparison(
    tmp_path: Path,
) -> None:
    contents = first(TUMOUR).contents
    info = save_bundle(tmp_path, TUMOUR, contents, KEY)
    result = trained(TUMOUR, champion=load_bundle(info.folder, TUMOUR, KEY))
    assert "fitted again on the same rows" in result.reason
    assert result.accepted  # the same estimator on the same rows is not worse


class Watched(Run):
    def __init__(self) -> None:
        self.steps: list[tuple[str, float, Facts]] = []

    @contextmanager
    def step(self, name: str, done: float) -> Iterator[Facts]:
        facts = Facts()
        yield facts
        self.steps.append((name, done, facts))


def test_a_run_is_told_of_each_step_in_order_and_what_it_found() -> None:
    run = Watched()
    contents = trained(WINE, run=run).contents
    assert run.steps[0] == ("checks", 0.0, {"warnings": []})
    assert run.steps[1][0] == "rows"
    assert run.steps[1][2] == {"dataset": contents.dataset["id"], "rows": 178}
    shares = [done for _, done, _ in run.steps]
    assert shares == sorted(set(shares))
    assert shares[-1] < 1
    assert {"candidates", "gate", "verdict", "refit"} <= {name for name, *_ in run.steps}
    json_text({name: facts for name, _, facts in run.steps})  # JSON data
