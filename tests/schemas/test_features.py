"""Features as declared: what is wrong with them, and the Avro fields they become."""

from __future__ import annotations

import math
from typing import Any

import pytest

from schemas.features import Boolean, Category, Feature, Integer, Number, record_schema


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        (Number("Distance"), "'Distance': a name is lower-case"),
        (Number("2nd"), "'2nd': a name is lower-case"),
        (Number("size\n"), r"'size\n': a name is lower-case"),
        (Number(5), "5: a name is lower-case"),  # type: ignore[arg-type]
        (Number("d", low=2, high=1), "low 2 is above high 1"),
        (Number("d", low=math.nan), "low nan is not a finite number"),
        (Number("d", high=math.inf), "high inf is not a finite number"),
        (Integer("d", low="1"), "low '1' is not a finite number"),  # type: ignore[arg-type]
        (Category("c", values=[]), "values is empty"),
        (Category("c", values="abc"), "values is not a list of names"),
        (Category("c", values=[1, 2]), "values is not a list of names"),  # type: ignore[list-item]
        (Category("c", values=["a", "b", "a"]), "values holds a name twice"),
        (Category("c", unknown="skip"), "not 'skip'"),  # type: ignore[arg-type]
        (Category("c", unknown="missing"), "needs nullable=True"),
    ],
)
def test_a_wrong_declaration_says_what_is_wrong(feature: Feature, said: str) -> None:
    (problem,) = feature.problems()
    assert said in problem


def test_all_problems_of_a_feature_are_told() -> None:
    found = Category("C", values=["a", "a"], unknown="missing").problems()
    assert len(found) == 3
    assert len(Number("N", low=math.nan, high=math.inf).problems()) == 3


@pytest.mark.parametrize(
    ("feature", "type_"),
    [
        (Number("x"), "double"),
        (Integer("x"), "long"),
        (Boolean("x"), "boolean"),
        (Category("x"), "string"),
        (Number("x", nullable=True), ["null", "double"]),
        (Category("x", nullable=True), ["null", "string"]),
    ],
)
def test_a_feature_is_a_typed_field(feature: Feature, type_: Any) -> None:
    assert feature.problems() == []
    field = feature.field()
    assert field["type"] == type_
    # null comes first in the union, so that null may be the default: older records lack the field.
    assert ("default" in field) is isinstance(type_, list)


def test_unit_and_range_are_in_the_fields_doc() -> None:
    doc = Number("x", unit="mi", low=0, high=10, doc="how far").field()["doc"]
    assert doc == "how far; unit mi; range 0..10"
    assert Integer("x", high=0).field()["doc"] == "range ..0"


def test_the_record_has_the_features_in_order() -> None:
    schema = record_schema("XFeatures", [Number("b"), Boolean("a")])
    assert schema["name"] == "XFeatures"
    assert [field["name"] for field in schema["fields"]] == ["b", "a"]
