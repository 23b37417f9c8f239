"""Templates fitted to a task: the answer's type, the features' record, the task's namespace."""

from __future__ import annotations

import json

import fastavro
import pytest

from schemas.features import Category, Number
from schemas.records import ANSWER_TYPE, RECORDS, Kind, fit, record_schemas, template

FEATURES = [Number("answer", doc="Answer"), Category("features", nullable=True)]


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_every_record_is_a_schema_of_its_own(kind: Kind) -> None:
    schemas = record_schemas("some_task", kind, FEATURES)
    assert tuple(schemas) == RECORDS
    for schema in schemas.values():
        fastavro.parse_schema(schema)
        assert schema["namespace"] == "weir.some_task"
        assert '"Answer"' not in json.dumps(schema).replace('"doc": "Answer"', "")


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_the_answer_has_the_type_of_the_target(kind: Kind) -> None:
    schemas = record_schemas("t", kind, FEATURES)
    truth = {field["name"]: field["type"] for field in schemas["truth"]["fields"]}
    prediction = {field["name"]: field["type"] for field in schemas["prediction"]["fields"]}
    assert truth["truth"] == ANSWER_TYPE[kind]
    assert prediction["answer"] == ["null", ANSWER_TYPE[kind]]


def test_the_features_record_is_defined_once_and_then_named() -> None:
    text = json.dumps(
        {
            "type": "record",
            "name": "Two",
            "fields": [
                {"name": "now", "type": "Features", "default": "Features"},
                {"name": "before", "type": ["null", "Features"]},
                {"name": "all", "type": {"type": "array", "items": "Answer"}},
            ],
        }
    )
    features = {"type": "record", "name": "XFeatures", "fields": []}
    now, before, every = fit(text, "multiclass", features)["fields"]
    assert now["type"] == features
    assert now["default"] == "Features"  # only types are replaced
    assert before["type"] == ["null", "XFeatures"]
    assert every["type"]["items"] == "string"


def test_two_tasks_requests_are_two_types() -> None:
    one, other = (record_schemas(name, "binary", FEATURES)["request"] for name in ("a", "a_b"))
    assert one["namespace"] != other["namespace"]
    names = [schema["fields"][-1]["type"]["name"] for schema in (one, other)]
    assert names == ["AFeatures", "ABFeatures"]


def test_templates_are_documented_field_by_field() -> None:
    for record in RECORDS:
        schema = json.loads(template(record))
        assert schema["doc"]
        assert all(field["doc"] for field in schema["fields"])
