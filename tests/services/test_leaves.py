"""JSON data as paths and scalars."""

from __future__ import annotations

from services.leaves import leaves


def test_records_and_steps_are_named_by_what_names_them() -> None:
    told = {
        "segments": [{"segment": "origin", "value": "JFK", "loss": 0.4}, {"loss": 1}],
        "steps": [["scale", {"mean": True}], ["split", {"drop": "first"}, ["a", "b"]]],
        "classes": ["no", "yes"],
        "none": None,
        "empty": [],
    }
    assert dict(leaves("", told)) == {
        "segments.origin JFK.loss": 0.4,
        "segments.1.loss": 1,
        "steps.scale.mean": True,
        "steps.split.drop": "first",
        "steps.split.of": ["a", "b"],
        "classes": ["no", "yes"],
        "empty": [],
    }
