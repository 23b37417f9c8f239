"""What refuses a trained version, and how it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from streams.bundle import load_bundle, save_bundle
from streams.declaration import json_text
from streams.frame import columns_of
from streams.manifest import Contents
from streams.task import (
    Comparison,
    Directional,
    Functionality,
    Invariance,
    Task,
    TaskError,
    Training,
)
from streams.training import parity
from streams.training.candidates import candidates, choose
from streams.training.data import STANDS_FOR, WEAK, prepare
from streams.training.held_out import rehearsed
from streams.training.metrics import loss
from streams.training.run import UNWATCHED
from streams.training.train import Trained, train
from streams.training.verdict import judge, judged
from streams.training.verdict_words import explained
from streams.version import Version
from tests.small_tasks import TUMOUR, tumour_task, tumours, two_eras

KEY = b"key"
LINEAR = {"linear": TUMOUR.candidates["linear"]}


def verdict_of(trained: Trained) -> Any:
    verdict = trained.contents.extra["verdict"]
    json_text(verdict)  # it is JSON
    assert verdict["accepted"] == trained.accepted == (not verdict["failed"])
    assert verdict["reason"] == trained.reason
    return verdict


def in_service(root: Path, task: Task, contents: Contents) -> Version:
    return load_bundle(save_bundle(root, task, contents, KEY).folder, task, KEY)


@pytest.fixture(scope="module")
def eras(tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, pd.DataFrame, Version]:
    task = tumour_task(candidates={"trees": TUMOUR.candidates["trees"]}, defer_budget=0)
    rows = two_eras()
    first = train(task, rows.head(300), "event-0")
    assert first.accepted, first.reason
    return task, rows[300:], in_service(tmp_path_factory.mktemp("b"), task, first.contents)


def test_a_version_that_is_better_overall_but_worse_on_a_segment_is_refused(
    eras: tuple[Task, pd.DataFrame, Version],
) -> None:
    task, rows, champion = eras
    trained = train(task, rows, "event-1", champion)
    verdict = verdict_of(trained)
    assert verdict["failed"] == ["segments"]
    assert verdict["paired"]["found"] == "better"
    assert verdict["loss"] < verdict["champion_loss"]
    assert f"trees is better than {champion.id}: log loss" in trained.reason
    assert "; clearly worse where shape is bent: log loss" in trained.reason
    assert {one["value"] for one in verdict["segments"] if one["worse"]} == {"bent"}
    assert verdict["champion_standing"] == "as it is"
    lines = explained(verdict)
    assert lines[0].startswith("refused: trees is better than")
    assert any(line.startswith("shape is bent: worse; ") for line in lines)

    # A task that has no such segment has nothing against it.
    plain = tumour_task(**{**vars_of(task), "segments": []})
    assert train(plain, rows, "event-1", champion).accepted


def vars_of(task: Task) -> dict[str, Any]:
    return {"candidates": task.candidates, "defer_budget": task.defer_budget}


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """Trained on the first 400 rows."""
    task = tumour_task(candidates=LINEAR, defer_budget=0)
    contents = train(task, tumours().head(400), "event-0").contents
    return in_service(tmp_path_factory.mktemp("bundles"), task, contents)


def small(**training: Any) -> Task:
    return tumour_task(candidates=LINEAR, defer_budget=0, training=Training(**training))


@pytest.mark.parametrize(
    ("margin", "unsure", "accepted", "words"),
    [
        (0.20, "estimate", False, "trees seems worse than "),
        (0.45, "estimate", True, "trees is no worse than {} as far as these rows can tell"),
        (0.45, "refuse", False, "trees is not shown to be no worse than "),
    ],
)
def test_where_the_rows_cannot_tell_the_estimate_decides_or_the_champion_stays(
    champion: Version, margin: float, unsure: Any, accepted: bool, words: str
) -> None:
    """The trees' loss is a third greater; 86 rows tell no more than a quarter to a half."""
    task = tumour_task(
        candidates={"trees": TUMOUR.candidates["trees"]},
        defer_budget=0,
        training=Training(comparison=Comparison(margin=margin, unsure=unsure)),
    )
    verdict = verdict_of(train(task, tumours(), "event-1", champion))
    paired = verdict["paired"]
    assert paired["found"] == "unsure"
    assert paired["interval"][0] < paired["margin"] < paired["interval"][1]
    assert paired["blocks"] == 10
    assert verdict["accepted"] == accepted
    assert verdict["reason"].startswith(words.format(champion.id))


def test_a_wide_margin_lets_it_pass_by_the_test_itself(champion: Version) -> None:
    task = small(comparison=Comparison(unsure="refuse", margin=1.0))
    verdict = verdict_of(train(task, tumours(), "event-1", champion))
    assert verdict["accepted"]
    assert verdict["paired"]["found"] in ("not worse", "better")
    assert verdict["paired"]["p"] < 0.05


def swapped(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(radius=30 - rows["radius"])


FAILS = Invariance(name="mirrored radius", features=["radius"], change=swapped, at_most=0.05)


def test_a_version_that_fails_a_behavioural_test_is_refused_with_an_example() -> None:
    trained = train(small(behaviour=[FAILS]), tumours(), "event-1")
    verdict = verdict_of(trained)
    assert verdict["failed"] == ["behaviour"]
    assert "; invariance 'mirrored radius' fails: " in trained.reason
    assert "e.g. radius " in trained.reason
    (found,) = verdict["behaviour"]
    assert (found["passed"], found["rows"]) == (False, 86)
    assert set(found["examples"][0]) == {"row", "changed", "before", "after"}
    assert any("invariance 'mirrored radius': failed" in line for line in explained(verdict))


def test_a_test_that_only_warns_refuses_nothing() -> None:
    warning = replace(FAILS, severity="warn")
    trained = train(small(behaviour=[warning]), tumours(), "event-1")
    verdict = verdict_of(trained)
    assert verdict["accepted"]
    assert "invariance 'mirrored radius' warns: " in trained.reason
    assert any("invariance 'mirrored radius': warning" in line for line in explained(verdict))


def test_tests_that_pass_are_told_too() -> None:
    task = small(
        behaviour=[
            Directional(name="larger", feature="radius", by=5, expect="not_higher"),
            Functionality(
                name="plain",
                rows=[{"radius": 8.0, "smooth": True}, {"radius": 28.0, "smooth": False}],
                answers=[True, False],
            ),
            Functionality(
                name="round ones",
                where={"shape": "round"},
                measure="accuracy",
                at_least=0.8,
                least_rows=20,
            ),
        ]
    )
    verdict = verdict_of(train(task, tumours(), "event-1"))
    assert verdict["accepted"]
    assert [found["passed"] for found in verdict["behaviour"]] == [True] * 3
    assert "accuracy is" in verdict["behaviour"][2]["note"]
    assert any(
        line.startswith("directional 'larger': passed; 0.0% of") for line in explained(verdict)
    )


class Custom(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Answers by the radius; no bundle may hold it."""

    def fit(self, frame: pd.DataFrame, target: Any) -> Custom:
        self.classes_ = np.array([False, True])
        return self

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        benign = np.where(frame["radius"] < 15, 0.9, 0.1)
        return np.column_stack([1 - benign, benign])


def test_a_version_that_cannot_be_exported_is_refused() -> None:
    task = tumour_task(candidates={"custom": Custom()}, defer_budget=0)
    verdict = verdict_of(train(task, tumours(), "event-1"))
    assert verdict["failed"] == ["parity"]
    assert "it cannot be exported: Custom holds types that no bundle may hold" in verdict["reason"]
    assert any(line.startswith("parity: failed; Custom") for line in explained(verdict))


def test_a_version_that_answers_otherwise_once_exported_is_refused(
    monkeypatch: pytest.MonkeyPatch, champion: Version
) -> None:
    monkeypatch.setattr(parity, "exported", lambda task, contents: champion)
    verdict = verdict_of(train(small(), tumours(), "event-1"))
    assert verdict["failed"] == ["parity"]
    assert "the exported version answers otherwise than the trained one: by 0." in verdict["reason"]
    assert verdict["parity"]["largest"] > verdict["parity"]["tolerance"]
    assert verdict["parity"]["rows"] == 86


def test_everything_that_fails_is_named_at_once() -> None:
    task = tumour_task(
        candidates={"custom": Custom()},
        baseline=TUMOUR.candidates["linear"],
        training=Training(behaviour=[FAILS]),
        defer_budget=0,
    )
    verdict = verdict_of(train(task, tumours(), "event-1"))
    assert verdict["failed"] == ["baseline", "parity"]
    assert verdict["reason"].startswith("custom does not beat the baseline: log loss")
    assert "; it cannot be exported: " in verdict["reason"]


def test_the_manifest_of_a_saved_version_holds_the_verdict(tmp_path: Path) -> None:
    trained = train(small(), tumours(), "event-1")
    info = save_bundle(tmp_path, TUMOUR, trained.contents, KEY)
    assert info.manifest["verdict"] == trained.contents.extra["verdict"]
    assert explained(info.manifest["verdict"])[0].startswith("accepted: linear beats the baseline")


def test_a_sentence_of_an_older_manifest_is_told_as_it_is() -> None:
    assert explained("linear is not worse than v-1") == ["linear is not worse than v-1"]
    assert explained({"reason": "learned from the stream"}) == ["learned from the stream"]


def test_only_true_labels_judge_by_their_weights(champion: Version) -> None:
    """Weak labels that are all wrong change nothing of the verdict."""
    task, table = small(comparison=Comparison(margin=0.05)), tumours()
    table[STANDS_FOR] = np.where(table["texture"] > 18, 4.0, 1.0)
    trained = train(task, table, "event-1", champion)
    verdict = verdict_of(trained)
    data = prepare(task, table)
    known = data.rows(data.test)
    assert verdict["rows"] == len(known[1]) == 86
    given = champion.predict(champion.frame(columns_of(task.inputs, known[0])))
    by_weight = loss(task, known[1], given, data.weights(data.test))
    assert verdict["champion_loss"] == pytest.approx(by_weight)
    assert verdict["champion_loss"] != pytest.approx(loss(task, known[1], given))

    wrong = table.assign(**{WEAK: True, "benign": ~table["benign"]}).tail(40)
    wrong["request_id"] = wrong["request_id"] + "-weak"
    mixed = pd.concat([table.assign(**{WEAK: False}), wrong], ignore_index=True)
    again = verdict_of(train(task, mixed, "event-1", champion))
    assert again["rows"] == 86
    assert again["champion_loss"] == pytest.approx(by_weight)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"margin": -0.1}, "training: comparison: margin -0.1 is a share: 0 or more"),
        ({"segment_margin": "a"}, "segment_margin 'a' is a share: 0 or more"),
        ({"error": 0.5}, "error 0.5 is a probability: above 0 to below 0.5"),
        ({"unsure": "toss"}, "unsure 'toss' is 'estimate' or 'refuse'"),
        ({"blocks": 1}, "blocks 1 is a whole number, 2 or more"),
        ({"segment_rows": 1.5}, "segment_rows 1.5 is a whole number, 2 or more"),
    ],
)
def test_a_wrong_comparison_is_refused_at_start(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(TaskError) as refused:
        small(comparison=Comparison(**settings))
    assert problem in str(refused.value)


def test_judging_twice_gives_the_same(champion: Version) -> None:
    task = small()
    trained = train(task, tumours(), "event-1", champion)
    data = prepare(task, tumours())
    pool = candidates(task, {}, champion)
    chosen = choose(task, data, pool, {}, UNWATCHED, (0.0, 1.0))
    tested = rehearsed(task, data, chosen, {}, UNWATCHED)
    again = judge(task, data, tested, champion, trained.contents)
    assert judged(trained.contents, again).extra["verdict"] == trained.contents.extra["verdict"]
