from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from streams.declaration import declaration, json_text, library_versions, sha256_of, version_id
from streams.task import Category
from tests.small_tasks import DIABETES, TUMOUR, WINE, tumour_task

LIBRARIES = {"scikit-learn": "1.9.1"}
OURS = version_id(TUMOUR, "ds-1", LIBRARIES)


def test_a_version_id_names_its_task() -> None:
    name, _, digest = OURS.rpartition("-")
    assert name == "tumour"
    assert len(digest) == 12
    assert int(digest, 16) >= 0


def test_the_same_declaration_made_again_has_the_same_id() -> None:
    assert version_id(tumour_task(), "ds-1", LIBRARIES) == OURS


def test_another_process_gets_the_same_id() -> None:
    code = (
        "from streams.declaration import version_id; from tests.small_tasks import TUMOUR;"
        f"print(version_id(TUMOUR, 'ds-1', {LIBRARIES!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == OURS


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"defer_budget": 0.2},
        {"fallback": True},
        {"features": [*TUMOUR.features[:3], Category("shape")]},
        {"candidates": {"linear": TUMOUR.candidates["linear"]}},
        {"candidates": dict(TUMOUR.candidates) | {"linear": LogisticRegression(C=2)}},
        {"baseline": DummyClassifier()},
    ],
)
def test_what_training_depends_on_changes_the_id(changes: dict[str, Any]) -> None:
    assert version_id(tumour_task(**changes), "ds-1", LIBRARIES) != OURS


def test_other_rows_and_other_libraries_change_the_id() -> None:
    assert version_id(TUMOUR, "ds-2", LIBRARIES) != OURS
    assert version_id(TUMOUR, "ds-1", {"scikit-learn": "1.9.2"}) != OURS


@pytest.mark.parametrize(
    "changes",
    [{"doc": "words"}, {"segments": []}, {"horizon": timedelta(days=1)}, {"partitions": 8}],
)
def test_what_training_does_not_depend_on_keeps_the_id(changes: dict[str, Any]) -> None:
    assert version_id(tumour_task(**changes), "ds-1", LIBRARIES) == OURS


def test_parameters_are_described_all_the_way_down_without_addresses() -> None:
    task = tumour_task(
        candidates={
            "any": make_pipeline(FunctionTransformer(print), LogisticRegression(tol=float("inf"))),
        }
    )
    text = json_text(declaration(task))
    assert "builtins.print" in text
    assert '"inf"' in text
    assert "0x" not in text


@pytest.mark.parametrize("task", [TUMOUR, WINE, DIABETES], ids=lambda task: task.kind)
def test_every_kind_of_task_can_be_described(task: Any) -> None:
    assert declaration(task)["kind"] == task.kind
    assert len(sha256_of(declaration(task))) == 64


def test_the_libraries_that_decide_a_model_are_named_with_python() -> None:
    assert {"python", "numpy", "scikit-learn", "skops", "river"} <= set(library_versions())
