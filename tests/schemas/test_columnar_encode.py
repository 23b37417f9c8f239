"""What encoders take and refuse, beyond what decoders give."""

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest

from schemas.avro_columns import RecordDecoder, RecordEncoder
from schemas.columnar.types import UnsupportedSchemaError
from schemas.columns import Column, constant
from tests.schemas.columnar_strategies import write
from tests.schemas.test_columnar import WAYS, record, way

ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
ARRAY = {"type": "array", "items": "double"}
NO_ROW = np.zeros(3, bool)
MIDDLE_NULL = np.array([True, False, True])


def objects(*values: Any) -> np.ndarray:
    return np.fromiter(values, object, len(values))


def encode(schema: Any, **columns: Any) -> list[bytes]:
    n = len(next(iter(columns.values())).values)
    return RecordEncoder(schema).encode(columns, n)


@WAYS
@pytest.mark.parametrize(
    ("kind", "column", "said"),
    [
        ("string", Column(objects("a", None, "b")), "x: row 1: null, and the field has no null"),
        ("double", Column(np.zeros(3), np.array([True, True, False])), "x: row 2: null"),
        ("string", Column(objects("a", "b", 3)), "x: row 2: 3 in a field of type string"),
        ("string", Column(objects("a", "\ud800", "b")), "x: row 1: the string holds a lone"),
        ("string", constant(None, 3), "x: row 0: null"),
        ("string", constant(5, 3), "x: row 0: 5 in a field of type string"),
        ("bytes", Column(objects(b"a", "b", b"c")), "x: row 1: 'b' in a field of type bytes"),
        ("double", Column(objects(1.0, "b", 2)), "x: row 1: 'b' in a field of type double"),
        ("double", Column(np.array(["a", "b", "c"])), "x: row 0: values of dtype <U1"),
        ("double", Column(objects(1.0, True, 2)), "x: row 1: True in a field of type double"),
        ("float", Column(np.array([0.0, 1e39, np.inf])), "x: row 1: 1e+39 is too large"),
        ("long", Column(np.zeros(3)), "x: row 0: values of dtype float64 in a field of type long"),
        ("long", Column(np.array([0, 0, 2**63], np.uint64)), "x: row 2: 9223372036854775808 is"),
        ("long", Column(objects(0, 2**64, 1)), "x: row 1: 18446744073709551616 is out of range"),
        ("int", Column(np.array([0, -(2**31) - 1, 0])), "x: row 1: -2147483649 is out of range"),
        ("boolean", Column(np.zeros(3, np.int64)), "x: row 0: values of dtype int64"),
        (ENUM, Column(objects("A", "B", "C")), "x: row 2: 'C' is not one of the symbols A, B"),
        (ENUM, Column(objects("A", ["B"], "B")), "x: row 1: ['B'] is not one of the symbols"),
        (ARRAY, Column(objects([1.0], ["a"], [])), "x: row 1: ['a'] is not a one-dimensional"),
        ({"type": "array", "items": "string"}, Column(objects([], "ab", [])), "x: row 1: 'ab'"),
        ({"type": "map", "values": "string"}, Column(objects({}, {}, {"a": 1})), "x: row 2: 1"),
        (
            {"type": "map", "values": "long"},
            Column(objects({}, {"a": 1.5}, {})),
            "x: row 1: 1.5 in",
        ),
        ({"type": "array", "items": "int"}, Column(objects([1], [2**31], [])), "x: row 1: 2147483"),
        ("double", Column(np.zeros(2)), "x: row 0: shape (2,) where (3,) was expected"),
        ("double", Column(np.zeros((3, 2))), "x: row 0: shape (3, 2)"),
        (["null", "double"], Column(np.zeros(3), np.ones(2, bool)), "x: row 0: `valid` must be"),
    ],
)
def test_what_does_not_fit_is_refused_with_field_and_row(
    small: int, kind: Any, column: Column, said: str
) -> None:
    with way(small), pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        RecordEncoder(record(("x", kind))).encode({"x": column}, 3)


def test_a_missing_column_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"inner\.y: row 0: the column is missing"):
        encode(record(("x", "double"), ("inner", record(("y", "long")))), x=Column(np.zeros(2)))


@WAYS
@pytest.mark.parametrize(
    ("kind", "column", "values"),
    [
        ("double", Column(np.array([1, 2, 3], np.int32)), [1.0, 2.0, 3.0]),
        ("double", Column(objects(1, 2.5, np.float32(3))), [1.0, 2.5, 3.0]),
        ("double", Column(np.arange(6.0)[::2]), [0.0, 2.0, 4.0]),
        ("double", Column(np.array([1.0, 2.0, 3.0], ">f8")), [1.0, 2.0, 3.0]),
        (["null", "double"], Column(objects(1.5, None, 2)), [1.5, None, 2.0]),
        (["double", "null"], Column(np.ones(3), np.array([False, True, False])), [None, 1.0, None]),
        ("long", Column(np.array([1, 2, 3], np.uint8)), [1, 2, 3]),
        ("int", Column(objects(1, -1, 2**31 - 1)), [1, -1, 2**31 - 1]),
        ("boolean", Column(objects(True, False, np.True_)), [True, False, True]),
        ("string", Column(np.array(["a", "é", ""])), ["a", "é", ""]),
        (["null", "string"], Column(objects("a", None, "b")), ["a", None, "b"]),
        (["null", "string"], Column(objects("a", 5, "b"), MIDDLE_NULL), ["a", None, "b"]),
        (["null", "string"], Column(objects(None, 5, "b"), MIDDLE_NULL), [None, None, "b"]),
        (["null", "string"], constant(None, 3), [None] * 3),
        (["null", ENUM], constant("B", 3), ["B"] * 3),
        (["null", ENUM], Column(objects("A", "", "B"), MIDDLE_NULL), ["A", None, "B"]),
        (["null", ENUM], Column(objects("", "", ""), NO_ROW), [None] * 3),
        ("double", constant(-0.0, 3), [-0.0] * 3),
        ("long", constant(7, 3), [7] * 3),
        ("boolean", constant(True, 3), [True] * 3),
        ("bytes", constant(b"abc", 3), [b"abc"] * 3),
        (ARRAY, Column(np.arange(6.0).reshape(3, 2)), [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]),
        (ARRAY, Column(np.asfortranarray(np.arange(6.0).reshape(3, 2))), [[0, 1], [2, 3], [4, 5]]),
        (ARRAY, Column(np.empty((3, 0))), [[], [], []]),
        (ARRAY, Column(np.ones((3, 2), np.int64)), [[1.0, 1.0]] * 3),
        (ARRAY, Column(objects((1, 2), [], np.array([0.5]))), [[1.0, 2.0], [], [0.5]]),
        (["null", ARRAY], Column(objects([1.0], None, [2.0])), [[1.0], None, [2.0]]),
        ({"type": "map", "values": "double"}, Column(objects({"a": 1}, {}, {"é": np.float64(2.5)})),
         [{"a": 1.0}, {}, {"é": 2.5}]),
        ({"type": "array", "items": "long"}, Column(objects([1], (), np.array([2**40]))),
         [[1], [], [2**40]]),
        ({"type": "array", "items": "boolean"},
         Column(objects([np.True_], [False], np.array([True]))), [[True], [False], [True]]),
        ("string", Column(objects("a" * 9000, "b", "")), ["a" * 9000, "b", ""]),
    ],
)  # fmt: skip
def test_what_fits_is_written_as_fastavro_writes_it(
    small: int, kind: Any, column: Column, values: list[Any]
) -> None:
    schema = record(("x", kind), ("y", "string"))
    with way(small):
        bodies = encode(schema, x=column, y=Column(objects("", "two", "x" * 70)))
    texts = ["", "two", "x" * 70]
    expected = [{"x": x, "y": y} for x, y in zip(values, texts, strict=True)]
    assert bodies == [write(schema, row) for row in expected]


@WAYS
def test_an_absent_record_hides_whatever_its_columns_hold(small: int) -> None:
    inner = record(("a", "double"), ("b", ENUM), ("c", "string"), ("d", ["null", "long"]))
    inner["name"] = "Inner"
    schema = record(("r", ["null", inner]), ("z", "long"))
    columns = {
        "r": Column(np.array([True, False, True])),
        "r.a": Column(np.array([1.0, 2.0, 3.0]), np.array([True, False, True])),
        "r.b": Column(objects("A", "no symbol", "B")),
        "r.c": Column(objects("x", None, "y")),
        "r.d": Column(np.array([1, 2, 3]), np.array([False, True, True])),
        "z": constant(5, 3),
    }
    with way(small):
        bodies = RecordEncoder(schema).encode(columns, 3)
    assert bodies == [
        write(schema, {"r": {"a": 1.0, "b": "A", "c": "x", "d": None}, "z": 5}),
        write(schema, {"r": None, "z": 5}),
        write(schema, {"r": {"a": 3.0, "b": "B", "c": "y", "d": 3}, "z": 5}),
    ]


def test_one_huge_string_among_many_records_does_not_widen_them_all() -> None:
    n, schema = 500, record(("x", "string"), ("y", ["null", "double"]))
    texts = [f"id-{i}" for i in range(n)]
    texts[77] = "é" * 1_000_000
    valid = np.arange(n) % 3 != 0
    tracemalloc.start()
    bodies = encode(schema, x=Column(objects(*texts)), y=Column(np.ones(n), valid))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    expected = [{"x": t, "y": 1.0 if ok else None} for t, ok in zip(texts, valid, strict=True)]
    assert bodies == [write(schema, row) for row in expected]
    decoded = RecordDecoder(schema).decode(bodies)
    assert decoded.columns["x"].values.tolist() == texts
    assert peak_bytes < 30_000_000


@pytest.mark.parametrize("value", ["text", b"raw", True, 3, 2.5, -0.0])
def test_a_constant_holds_one_value_whatever_its_length(value: Any) -> None:
    column = constant(value, 1_000_000)
    assert len(column) == 1_000_000
    assert column.values.strides == (0,)
    [same] = set(column.values[:3].tolist())
    assert repr(same) == repr(value)


def test_constants_that_are_equal_but_differ_are_kept_apart() -> None:
    assert [repr(constant(v, 1).values.tolist()[0]) for v in (1, 1.0, True, 0.0, -0.0)] == [
        "1", "1.0", "True", "0.0", "-0.0",
    ]  # fmt: skip


def test_take_selects_records_of_values_and_nulls_alike() -> None:
    column = Column(np.arange(4), np.array([True, False, True, True])).take(np.array([1, 3]))
    assert column.values.tolist() == [1, 3]
    assert column.valid is not None
    assert column.valid.tolist() == [False, True]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("null", "unsupported or unknown type 'null'"),
        ({"type": "fixed", "name": "F", "size": 4}, "unsupported type 'fixed'|fixed"),
        (["null", "string", "long"], "a union must be null and one other type"),
        (["string"], "a union must be null and one other type"),
        ({"type": "array", "items": "bytes"}, "array of 'bytes'; only of string, double"),
        ({"type": "map", "values": ["null", "long"]}, "map of .'null', 'long'.; only of"),
        ("Unheard", "unknown type 'Unheard'"),
        (["null", "R"], "record R contains itself"),
    ],
)
def test_a_schema_out_of_scope_is_refused_by_field(kind: Any, said: str) -> None:
    for make in (RecordDecoder, RecordEncoder):
        with pytest.raises(UnsupportedSchemaError, match=f"field x: .*({said})"):
            make(record(("x", kind)))


def test_a_schema_that_is_no_record_is_refused() -> None:
    with pytest.raises(UnsupportedSchemaError, match="not a record"):
        RecordDecoder({"type": "array", "items": "double"})


def test_a_named_type_may_be_used_again_by_its_name() -> None:
    inner = {"type": "record", "name": "In", "fields": [{"name": "e", "type": ENUM}]}
    schema = record(("a", inner), ("b", ["null", "In"]), ("c", "my.E")) | {"namespace": "my"}
    body = write(schema, {"a": {"e": "B"}, "b": {"e": "A"}, "c": "B"})
    decoded = RecordDecoder(schema).decode([body])
    got = {path: column.values.tolist() for path, column in decoded.columns.items()}
    assert got == {"a.e": ["B"], "b": [True], "b.e": ["A"], "c": ["B"]}
    assert RecordEncoder(schema).encode(decoded.columns, 1) == [body]
