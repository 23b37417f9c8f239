"""Arrow columns hold what the codec's own columns hold, for every schema, record and damage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.arrow_columns import ArrowReader
from schemas.codec import Codec
from schemas.columns import Column
from schemas.features import Boolean, Category, Feature, Integer, Number
from schemas.records import RECORDS, record_schemas
from schemas.registry import Registry
from tests.schemas.columnar_strategies import batches, same, values, write
from tests.schemas.test_columnar import LOOSE, damaged_batches, record

OLD: list[Feature] = [Number("size"), Category("colour", nullable=True)]
NEW: list[Feature] = [*OLD, Integer("age", nullable=True), Boolean("fresh", nullable=True)]


def expected(column: Column) -> list[Any]:
    """A column of the codec as Python values: None for null."""
    listed = [v.tolist() if isinstance(v, np.ndarray) else v for v in column.values.tolist()]
    if column.valid is None:
        return listed
    return [v if there else None for v, there in zip(listed, column.valid, strict=True)]


def found(array: Any) -> list[Any]:
    """An Arrow column likewise."""
    listed = array.to_pylist()
    return [dict(v) for v in listed] if pa.types.is_map(array.type) else listed


def agree(codec: Codec, framed: list[bytes | None]) -> None:
    """Both readers give the same records, at the same positions, and the same failures."""
    one, other = codec.decode(framed), ArrowReader(codec).decode(framed)
    assert other.index.tolist() == one.index.tolist()
    assert other.failures == one.failures
    for path, array in other.columns.items():
        array.validate(full=True)
        wanted = expected(one.columns[path])
        if pa.types.is_list(array.type) or pa.types.is_map(array.type):
            none: Any = [] if pa.types.is_list(array.type) else {}
            wanted = [none if value is None else value for value in wanted]
        assert same(found(array), wanted), path


@given(batches())
@LOOSE
def test_any_record_of_any_schema(batch: Any) -> None:
    schema, records = batch
    assume(schema["fields"])
    codec = Codec(schema)
    agree(codec, [codec.header + write(schema, one) for one in records])


@given(damaged_batches())
@settings(LOOSE, max_examples=300)
def test_damaged_records_fail_alike_and_spoil_no_other(batch: Any) -> None:
    schema, bodies = batch
    assume(schema["fields"])
    codec = Codec(schema)
    agree(codec, [codec.header + body for body in bodies])


@st.composite
def topics(draw: st.DrawFn) -> tuple[Codec, list[bytes | None]]:
    """Values of one topic: by this version of the task, by an older one, foreign, null, junk."""
    kind = draw(st.sampled_from(("binary", "multiclass", "regression")))
    name = draw(st.sampled_from(sorted(RECORDS)))
    older, newer = record_schemas("t", kind, OLD), record_schemas("t", kind, NEW)
    codec = Codec(newer[name], Registry([*older.values(), *newer.values()]))
    writers = [newer[name]] * 3 + [
        older[name],
        draw(st.sampled_from(sorted(newer.values(), key=str))),
    ]
    framed: list[bytes | None] = []
    for schema in draw(st.lists(st.sampled_from(writers), max_size=12)):
        writer = Codec(schema)
        framed.append(writer.header + write(_plain(schema), draw(_of(schema))))
    framed += draw(st.lists(st.none() | st.binary(max_size=30), max_size=3))
    return codec, draw(st.permutations(framed))


def _plain(node: Any) -> Any:
    """The schema without logical types, so that times are integers."""
    if isinstance(node, dict):
        return {k: _plain(v) for k, v in node.items() if k != "logicalType"}
    return [_plain(v) for v in node] if isinstance(node, list) else node


def _of(schema: Any) -> st.SearchStrategy[Any]:
    return values(_inlined(_plain(schema), {}))


def _inlined(node: Any, named: dict[str, Any]) -> Any:
    """The schema with every name replaced by what it names."""
    if isinstance(node, list):
        return [_inlined(part, named) for part in node]
    if isinstance(node, str):
        return named.get(node, node)
    if node["type"] == "record":
        fields = [{**f, "type": _inlined(f["type"], named)} for f in node["fields"]]
        named[node["name"]] = {**node, "fields": fields}
        return named[node["name"]]
    if node["type"] == "enum":
        named[node["name"]] = node
        return node
    if isinstance(node["type"], (dict, list)):
        return _inlined(node["type"], named)
    return node["type"] if node["type"] not in ("array", "map") else node


@given(topics())
@LOOSE
def test_every_topic_with_several_versions_of_its_schema(topic: Any) -> None:
    agree(*topic)


@pytest.mark.parametrize("size", [0, 1, 11, 12, 13, 4000])
@pytest.mark.parametrize("letter", ["a", "é", "☃", "😀", "\0"])
def test_text_of_every_length_and_alphabet(size: int, letter: str) -> None:
    schema = record(("x", ["null", "string"]), ("y", "bytes"))
    codec = Codec(schema)
    rows = [{"x": letter * size, "y": b"\xff" * size}, {"x": None, "y": b""}, {"x": "b", "y": b"c"}]
    agree(codec, [codec.header + write(schema, row) for row in rows * 3])


def test_arrays_in_several_blocks_are_read() -> None:
    codec = Codec(record(("x", {"type": "array", "items": "double"}), ("y", "string")))
    one = np.array([1.5]).tobytes()
    odd = b"\x02" + one + b"\x01\x10" + one + b"\x00" + b"\x04ab"
    plain = b"\x02" + one + b"\x00" + b"\x02c"
    batch = ArrowReader(codec).decode([codec.header + body for body in (plain, odd, plain)])
    assert batch.columns["x"].to_pylist() == [[1.5], [1.5, 1.5], [1.5]]
    assert batch.columns["y"].to_pylist() == ["c", "ab", "c"]


def test_nothing_decodes_to_nothing() -> None:
    codec = Codec(record_schemas("t", "binary", NEW)["prediction"])
    for empty in ([], [None], [b"junk"]):
        batch = ArrowReader(codec).decode(empty)
        assert len(batch) == 0
        assert len(batch.failures) == len(empty)
        assert all(len(array) == 0 for array in batch.columns.values())
    agree(codec, [])
