from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from streams.bundle import load_bundle, save_bundle
from streams.task import Task, Training
from streams.training import gating
from streams.training.gating import against_confidence, deployed, unsure
from streams.training.train import Trained, train
from streams.version import Answers
from tests.small_tasks import TUMOUR, tumour_task

KEY = b"key"
FOUND = {"auc": 0.7, "risk": 0.2, "risk_admitted": 0.15}
PAYS = {"f": 0.5, "i": 10.0, "b": 0.1, "pays": True}
DEAR = {"f": 2.0, "i": 10.0, "b": 0.1, "pays": False}


def must_pay(pays: bool) -> Task:
    return tumour_task(training=Training(gate_must_pay=pays))


def test_a_gate_that_pays_and_finds_errors_is_deployed() -> None:
    decided = deployed(must_pay(True), FOUND, PAYS)
    assert decided == {"deployed": True, "why_none": "", "unpaid": False}


@pytest.mark.parametrize(
    ("found", "cost", "why"),
    [
        (FOUND | {"auc": 0.5}, PAYS, "no better than chance"),
        (FOUND | {"auc": None}, PAYS, "no better than chance"),
        (FOUND, DEAR, "it costs 0.20 of what the model costs, and spares it 0.10 of the inputs"),
    ],
)
def test_a_gate_that_does_not_is_not_and_says_why(
    found: dict[str, Any], cost: dict[str, Any], why: str
) -> None:
    decided = deployed(must_pay(True), found, cost)
    assert not decided["deployed"]
    assert why in decided["why_none"]
    assert decided["unpaid"] == (cost is DEAR)


def test_a_task_may_want_its_gate_whatever_it_costs() -> None:
    assert deployed(must_pay(False), FOUND, DEAR)["deployed"]


def test_confidence_is_the_probability_of_the_answer() -> None:
    binary = Answers(np.array([True, False]), np.array([0.7, 0.4]))
    np.testing.assert_allclose(unsure(binary), [0.3, 0.4])  # type: ignore[arg-type]
    three = Answers(np.array(["a"], object), np.array([0.5]), np.array([[0.5, 0.3, 0.2]]))
    np.testing.assert_allclose(unsure(three), [0.5])  # type: ignore[arg-type]
    assert unsure(Answers(np.array([1.0]))) is None


def test_against_confidence_is_by_share_deferred() -> None:
    found = {
        "risk_by_coverage": [{"coverage": 1.0, "risk": 0.3}, {"coverage": 0.9, "risk": 0.2}],
        "confidence_by_coverage": [{"coverage": 1.0, "risk": 0.3}, {"coverage": 0.9, "risk": 0.25}],
    }
    assert against_confidence(found) == {"0.1": pytest.approx(-0.05)}
    assert against_confidence({"risk_by_coverage": []}) is None


def ring(n: int = 1500) -> pd.DataFrame:
    """Benign is what is near the middle, of two features that are alike: no sum says where."""
    draw = np.random.default_rng(1)
    x, y = draw.uniform(-1, 1, (2, n))
    away = (x**2 + y**2 - 0.6) * 6
    return pd.DataFrame(
        {
            "radius": x * 8 + 16,
            "texture": y * 8 + 20,
            "smooth": draw.random(n) < 0.5,
            "shape": "round",
            "benign": draw.random(n) < 1 / (1 + np.exp(away)),
            "event_time": pd.date_range("2024-01-01", periods=n, freq="h", tz="UTC"),
        }
    )


@pytest.fixture(scope="module")
def trained() -> Trained:
    """With an imitating gate, which so few rows would not get."""
    trees = {"trees": HistGradientBoostingClassifier(max_iter=15, max_leaf_nodes=7)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gating, "LEAST_ROWS", 500)
        return train(tumour_task(candidates=trees), ring(), "event-1")


def test_errors_near_a_boundary_that_bends_are_found_by_imitation(trained: Trained) -> None:
    gate = trained.contents.gate_metrics
    assert gate["form"] == "imitation"
    assert gate["forms"]["imitation"] < gate["forms"]["errors"]
    assert gate["deployed"]
    assert set(gate["against_confidence"]) == {"0.05", "0.1", "0.15", "0.2", "0.3", "0.4", "0.5"}
    assert gate["pays"] == (gate["f"] / gate["i"] < gate["b"])
    assert gate["test"]["risk_admitted"] < gate["test"]["risk"]


def test_a_bundle_with_an_imitating_gate_gives_the_same_scores(
    trained: Trained, tmp_path: Any
) -> None:
    task = tumour_task(candidates={"trees": HistGradientBoostingClassifier()})
    version = load_bundle(save_bundle(tmp_path, task, trained.contents, KEY).folder, task, KEY)
    rows = trained.contents.samples
    slope = trained.contents.gate_metrics["scale"][1]
    scores = version.gate_scores(rows)
    assert slope > 0
    assert scores is not None
    given = trained.contents.gate.predict(rows)  # type: ignore[union-attr]
    np.testing.assert_array_equal(np.argsort(scores), np.argsort(-np.abs(given - 0.5)))


def test_too_few_rows_are_not_imitated() -> None:
    contents = train(TUMOUR, ring(400), "event-1").contents
    assert contents.gate_metrics.get("form", "errors") == "errors"


def test_a_form_that_the_task_does_not_name_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gating, "LEAST_ROWS", 500)
    training = Training(gate_must_pay=False, gate_forms=["errors"])
    contents = train(tumour_task(training=training), ring(800), "event-1").contents
    assert list(contents.gate_metrics.get("forms", {"errors": 0.0})) == ["errors"]
