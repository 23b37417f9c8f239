"""How two versions differ, as values and in words."""

from __future__ import annotations

from typing import Any

from services.contrast import Side, contrast, told_words
from tests.services.test_projection import record


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "candidate": "logistic",
        "recipe": "3",
        "task": {
            "kind": "binary",
            "classes": ["no", "yes"],
            "declaration_sha256": "a" * 64,
            "features": [
                {"name": "price", "type": "Number", "low": 0},
                {"name": "visits", "type": "Integer"},
            ],
        },
        "selection": {"chosen": "logistic", "setting": {"C": 1.0}},
        "gate": {"threshold": 0.4, "test": {"auc": 0.64}, "cost": {"ratio": 0.05}},
        "verdict": {
            "accepted": True,
            "segments": [{"segment": "origin", "value": "JFK", "loss": 0.4}],
        },
        "libraries": {"numpy": "2.4.6"},
    } | changes


def told(first: Side, second: Side) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in contrast(first, second):
        found.setdefault(each.section, []).append(told_words(each))
    return found


def test_the_same_version_does_not_differ_from_itself() -> None:
    side = Side(record("a"), "champion", manifest())
    assert contrast(side, side) == []


def test_every_kind_of_difference_is_told_in_words() -> None:
    changed = manifest(
        selection={"chosen": "logistic+search", "setting": {"C": 0.1}},
        gate={"threshold": None, "why_none": "no better than chance", "cost": {"ratio": 0.9}},
        libraries={"numpy": "2.5.0"},
    )
    changed["task"] = {
        **changed["task"],
        "declaration_sha256": "b" * 64,
        "features": [
            {"name": "price", "type": "Number", "low": 0, "high": 9},
            {"name": "colour", "type": "Category"},
        ],
    }
    changed["verdict"] = {
        "accepted": True,
        "segments": [{"segment": "origin", "value": "JFK", "loss": 0.3}],
    }
    first = Side(record("a"), "archived", manifest())
    second = Side(
        record("b", rows=124, data_to=1_600_086_400_000, metrics={"log_loss": 0.4}),
        "champion",
        changed,
    )
    assert told(first, second) == {
        "role": ["role: archived → champion", "trained for: e-a → e-b"],
        "declaration": ["declaration: aaaaaaaaaaaa → bbbbbbbbbbbb"],
        "features": [
            "price: type=Number, low=0 → type=Number, low=0, high=9",
            "visits: only the first has it: type=Integer",
            "colour: only the second has it: type=Category",
        ],
        "data": ["rows: 100 → 124 (+24, +24.0%)", "to: 2020-09-13T12:26Z → 2020-09-14T12:26Z"],
        "model": ["chosen: logistic → logistic+search", "setting.C: 1 → 0.1 (-0.9, -90.0%)"],
        "metrics": ["log_loss: 0.5 → 0.4 (-0.1, -20.0%)"],
        "segments": ["origin JFK.loss: 0.4 → 0.3 (-0.1, -25.0%)"],
        "gate": [
            "threshold: only the first has it: 0.4",
            "test.auc: only the first has it: 0.64",
            "why_none: only the second has it: no better than chance",
        ],
        "libraries": ["numpy: 2.4.6 → 2.5.0"],
    }


def test_without_a_bundle_the_records_are_compared() -> None:
    first, second = Side(record("a"), "none", {}), Side(record("b", rows=50), "none", {})
    assert told(first, second)["data"] == ["rows: 100 → 50 (-50, -50.0%)"]
