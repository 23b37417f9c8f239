"""Our judgement of two schemas agrees with Apache Avro's, and says where they conflict."""

from __future__ import annotations

from typing import Any

import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import make_avsc_object
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.compatibility import conflicts

PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "string", "bytes"]
DEFAULTS: dict[str, Any] = {
    "null": None,
    "boolean": True,
    "int": 1,
    "long": 1,
    "float": 1.5,
    "double": 1.5,
    "string": "s",
    "bytes": "b",
}

primitives = st.sampled_from(PRIMITIVES)


@st.composite
def enums(draw: st.DrawFn) -> dict[str, Any]:
    symbols = draw(st.lists(st.sampled_from("ABC"), min_size=1, unique=True))
    enum = {"type": "enum", "name": draw(st.sampled_from(["E", "F"])), "symbols": symbols}
    return enum | ({"default": symbols[0]} if draw(st.booleans()) else {})


@st.composite
def types(draw: st.DrawFn, names: frozenset[str] = frozenset()) -> Any:
    kind = draw(st.sampled_from(["primitive"] * 4 + ["enum", "array", "map", "union", "name"]))
    if kind == "name" and names:
        return draw(st.sampled_from(sorted(names)))
    if kind == "enum" and not names:
        return draw(enums())
    if kind == "array":
        return {"type": "array", "items": draw(primitives)}
    if kind == "map":
        return {"type": "map", "values": draw(primitives)}
    if kind == "union":
        return draw(st.lists(primitives, min_size=2, max_size=3, unique=True))
    return draw(primitives)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    names: frozenset[str] = frozenset()
    fields = []
    for name in draw(st.lists(st.sampled_from("abcd"), max_size=4, unique=True)):
        of_type = draw(types(names))
        field: dict[str, Any] = {"name": name, "type": of_type}
        if isinstance(of_type, dict) and of_type["type"] == "enum":
            names |= {of_type["name"]}
        if isinstance(of_type, str) and of_type in DEFAULTS and draw(st.booleans()):
            field["default"] = DEFAULTS[of_type]
        fields.append(field)
    return {"type": "record", "name": draw(st.sampled_from(["R", "R", "R", "S"])), "fields": fields}


@settings(max_examples=500)
@given(records(), records())
def test_the_verdict_is_apache_avros(reader: dict[str, Any], writer: dict[str, Any]) -> None:
    theirs = ReaderWriterCompatibilityChecker().get_compatibility(
        make_avsc_object(reader), make_avsc_object(writer)
    )
    compatible = theirs.compatibility is SchemaCompatibilityType.compatible
    assert (conflicts(reader, writer) == []) == compatible
    assert (conflicts(reader, writer, newer="writer") == []) == compatible


def record(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": list(fields)}


INNER = {"type": "record", "name": "I", "fields": [{"name": "x", "type": "long"}]}
TIME = {"type": "long", "logicalType": "timestamp-millis"}


@pytest.mark.parametrize(
    ("reader", "writer", "said"),
    [
        (
            record({"name": "a", "type": {**INNER, "fields": [{"name": "y", "type": "int"}]}}),
            record({"name": "a", "type": INNER}),
            "a.y: is new and has no default, so old records lack it",
        ),
        (
            record({"name": "a", "type": "long"}),
            record({"name": "a", "type": ["null", "long"]}),
            "a: was null, is now long",
        ),
        (
            record({"name": "a", "type": ["null", "long"]}),
            record({"name": "a", "type": "string"}),
            "a: was string, is now null or long",
        ),
        (
            record({"name": "a", "type": "long"}),
            record({"name": "a", "type": TIME}),
            "a: was timestamp-millis, is now plain",
        ),
        (
            record({"name": "a", "type": {"type": "array", "items": "long"}}),
            record({"name": "a", "type": {"type": "array", "items": "string"}}),
            "a[]: was string, is now long",
        ),
        (
            record({"name": "a", "type": {"type": "enum", "name": "E", "symbols": ["A"]}}),
            record({"name": "a", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}}),
            "a: B is gone and the enum has no default",
        ),
    ],
)
def test_a_conflict_says_where_and_what(
    reader: dict[str, Any], writer: dict[str, Any], said: str
) -> None:
    assert conflicts(reader, writer) == [said]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            record({"name": "a", "type": "long"}, {"name": "b", "type": "long"}),
            record({"name": "a", "type": "long"}),
            "b: is gone and had no default, so old readers miss it",
        ),
        (
            record({"name": "a", "type": "long"}),
            record({"name": "a", "type": ["null", "long"]}),
            "a: was long, may now be null",
        ),
        (
            record({"name": "a", "type": "long"}),
            record({"name": "a", "type": "double"}),
            "a: was long, may now be double",
        ),
        (
            record({"name": "a", "type": TIME}),
            record({"name": "a", "type": "long"}),
            "a: was timestamp-millis, may now be plain",
        ),
        (
            record({"name": "a", "type": {"type": "enum", "name": "E", "symbols": ["A"]}}),
            record({"name": "a", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}}),
            "a: B is new and the enum had no default",
        ),
        (
            record({"name": "a", "type": INNER}),
            record({"name": "a", "type": {**INNER, "name": "J", "aliases": ["I"]}}),
            "a: the type was called I, is now J",
        ),
    ],
)
def test_what_breaks_old_readers_is_told_in_order_of_time(
    old: dict[str, Any], new: dict[str, Any], said: str
) -> None:
    assert conflicts(old, new, newer="writer") == [said]


def test_a_field_renamed_with_an_alias_reads_old_records() -> None:
    new = record({"name": "b", "aliases": ["a"], "type": "long"})
    assert conflicts(new, record({"name": "a", "type": "int"})) == []


def test_a_type_that_only_a_dropped_field_defined_is_still_known() -> None:
    enum = {"type": "enum", "name": "E", "symbols": ["A"]}
    old = record({"name": "a", "type": enum}, {"name": "b", "type": "E"})
    new = record({"name": "b", "type": enum})
    assert conflicts(new, old) == []


def test_a_record_that_holds_itself_is_compared_once() -> None:
    tree = record({"name": "children", "type": {"type": "array", "items": "R"}})
    assert conflicts(tree, tree) == []
