"""The columnar codec agrees with fastavro on every schema, record and malformed body."""

from __future__ import annotations

import io
from typing import Any
from unittest.mock import patch

import fastavro
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schemas.avro_columns import RecordDecoder, RecordEncoder
from schemas.columnar.batch_read import BatchReader
from schemas.columnar.types import plan
from tests.schemas.columnar_strategies import batches, read, records_of, same, schemas, write

LOOSE = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
WAYS = pytest.mark.parametrize("small", [0, 1_000], ids=["batch", "one by one"])

# Words of the reasons for which we refuse what fastavro takes; see schemas.columnar.scalar_read.
STRICTER = ("boolean byte", "varint longer", "out of 32 bits", "union branch", "enum index")


def way(small: int) -> Any:
    """Send batches of up to `small` records down the path for small batches."""
    return patch.multiple("schemas.avro_columns", SMALL_DECODE=small, SMALL_ENCODE=small)


@WAYS
@given(batches())
@LOOSE
def test_what_fastavro_wrote_decodes_to_the_same_values(small: int, batch: Any) -> None:
    schema, records = batch
    bodies = [write(schema, record) for record in records]
    with way(small):
        decoded = RecordDecoder(schema).decode(bodies)
    assert decoded.errors == []
    assert decoded.ok.tolist() == [True] * len(records)
    expected = [read(schema, body) for body in bodies]
    assert same(records_of(schema, decoded.columns, len(records)), expected)


@given(batches())
@LOOSE
def test_no_record_that_fastavro_wrote_is_left_to_the_scalar_reader(batch: Any) -> None:
    schema, records = batch
    assume(records)
    _, odd = BatchReader(plan(schema)).read([write(schema, record) for record in records])
    assert odd.tolist() == []


def test_a_nullable_record_at_the_end_of_another_is_read_to_its_end() -> None:
    """The reader once stayed in front of it: its position moved after the last column only."""

    def within(name: str, field: Any) -> dict[str, Any]:
        return {"type": "record", "name": name, "fields": [{"name": "f", "type": field}]}

    schema = within("A", ["null", within("B", ["null", within("C", ["null", "double"])])])
    records = [{"f": None}, {"f": {"f": None}}, {"f": {"f": {"f": None}}}, {"f": {"f": {"f": 1.0}}}]
    _, odd = BatchReader(plan(schema)).read([write(schema, record) for record in records])
    assert odd.tolist() == []


@WAYS
@given(batches(), st.binary(max_size=6))
@LOOSE
def test_decoded_columns_encode_to_the_bytes_of_fastavro(
    small: int, batch: Any, prefix: bytes
) -> None:
    schema, records = batch
    bodies = [write(schema, record) for record in records]
    with way(small):
        columns = RecordDecoder(schema).decode(bodies).columns
        encoded = RecordEncoder(schema, prefix).encode(columns, len(bodies))
    assert encoded == [prefix + body for body in bodies]


@st.composite
def damage(draw: st.DrawFn, body: bytes) -> bytes:
    """The body cut, lengthened or changed; sometimes with a length or count that lies."""
    kind = draw(st.sampled_from(("cut", "append", "change", "insert", "noise")))
    at = draw(st.integers(0, len(body)))
    if kind == "cut":
        return body[:at]
    if kind == "append":
        return body + draw(st.binary(min_size=1, max_size=9))
    if kind == "noise":
        return draw(st.binary(max_size=60))
    odd = draw(
        st.sampled_from(
            (b"\x01", b"\x02", b"\x04", b"\x80", b"\x80\x00", b"\x82\x00", b"\xff" * 9 + b"\x01",
             b"\xfe" + b"\xff" * 8 + b"\x01", b"\xff" * 12, b"\xf0\x9f", b"\xff\xff\xff\xff\x0f")
        )
    )  # fmt: skip
    return body[:at] + odd + body[at + (len(odd) if kind == "change" else 0) :]


@st.composite
def damaged_batches(draw: st.DrawFn) -> tuple[dict[str, Any], list[bytes]]:
    schema, records = draw(batches(max_records=24))
    bodies = [write(schema, record) for record in records]
    for i in draw(st.lists(st.integers(0, max(0, len(bodies) - 1)), max_size=8)):
        if bodies:
            bodies[i] = draw(damage(bodies[i]))
    return schema, bodies


@given(damaged_batches())
@settings(LOOSE, max_examples=300)
def test_a_damaged_record_is_judged_as_fastavro_judges_it_and_spoils_no_other(batch: Any) -> None:
    schema, bodies = batch
    with way(0):
        decoded = RecordDecoder(schema).decode(bodies)
    with way(1_000):
        singly = RecordDecoder(schema).decode(bodies)
    assert decoded.errors == singly.errors
    assert decoded.ok.tolist() == singly.ok.tolist()
    good = int(decoded.ok.sum())
    ours = records_of(schema, decoded.columns, good)
    assert same(ours, records_of(schema, singly.columns, good))

    reasons = dict(decoded.errors)
    expected = []
    for i, body in enumerate(bodies):
        try:
            record = read(schema, body)
        except Exception:
            assert not decoded.ok[i], f"row {i} is good for us only"
            continue
        if decoded.ok[i]:
            expected.append(record)
        else:
            assert any(word in reasons[i] for word in STRICTER), reasons[i]
    assert same(ours, expected)


@given(schemas(), st.lists(st.binary(max_size=120), min_size=1, max_size=30))
@LOOSE
def test_noise_neither_crashes_nor_differs_between_the_two_ways(
    schema: Any, bodies: list[bytes]
) -> None:
    with way(0):
        decoded = RecordDecoder(schema).decode(bodies)
    with way(1_000):
        singly = RecordDecoder(schema).decode(bodies)
    assert decoded.errors == singly.errors
    good = int(decoded.ok.sum())
    assert same(records_of(schema, decoded.columns, good), records_of(schema, singly.columns, good))


def record(*fields: tuple[str, Any]) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "R",
        "fields": [{"name": name, "type": kind} for name, kind in fields],
    }


@WAYS
def test_an_empty_batch_gives_empty_columns_of_the_right_dtype(small: int) -> None:
    schema = record(("a", ["null", "double"]), ("b", "string"), ("c", "long"), ("d", "boolean"))
    with way(small):
        decoded = RecordDecoder(schema).decode([])
        assert RecordEncoder(schema).encode(decoded.columns, 0) == []
    dtypes = [column.values.dtype for column in decoded.columns.values()]
    assert dtypes == [np.float64, np.dtype(object), np.int64, np.bool_]
    assert decoded.ok.shape == (0,)


@WAYS
@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("double", b"\x00" * 7, "x: byte 1: the body ends inside this field"),
        ("string", b"\x08ab", "x: byte 1: length 4 but 2 bytes left"),
        ("string", b"\x03ab", "x: byte 1: length -2 is negative"),
        ("string", b"\x04\xc3\x28", "x: byte 2: invalid UTF-8"),
        ("bytes", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "x: byte 1: length 92233720"),
        ("boolean", b"\x02", "x: byte 1: boolean byte 2 is neither 0 nor 1"),
        ("long", b"\xff" * 10 + b"\x00", "x: byte 1: varint longer than 64 bits"),
        ("long", b"\xff" * 9 + b"\x02", "x: byte 1: varint longer than 64 bits"),
        ("int", b"\x81\x80\x80\x80\x10", "x: byte 1: int -2147483649 out of 32 bits"),
        ("int", b"\x80\x80\x80\x80\x20", "x: byte 1: int 4294967296 out of 32 bits"),
        (["null", "long"], b"\x04\x00", "x: byte 1: union branch 2 is neither 0 nor 1"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02", "byte 1: enum index 1 not in"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x01", "byte 1: enum index -1 not in"),
        ({"type": "array", "items": "double"}, b"\x04" + b"\0" * 9, "2 items declared but 9 bytes"),
        ({"type": "array", "items": "double"}, b"\xfe\xff\xff\xff\x0f", "items declared but 0"),
        ("long", b"\x00\x00", "byte 2: 1 bytes after the end of the record"),
    ],
)  # fmt: skip
def test_the_reason_names_the_field_and_the_byte(
    small: int, kind: Any, body: bytes, reason: str
) -> None:
    schema = record(("first", "boolean"), ("x", kind))
    good = {
        "double": b"\x00" * 8, "string": b"\x02a", "bytes": b"\x00", "boolean": b"\x01",
        "long": b"\x02", "int": b"\x02",
    }.get(kind if isinstance(kind, str) else "", b"\x00")  # fmt: skip
    with way(small):
        decoded = RecordDecoder(schema).decode([b"\x01" + good, b"\x01" + body, b"\x00" + good])
    assert decoded.ok.tolist() == [True, False, True]
    assert decoded.columns["first"].values.tolist() == [True, False]
    assert len(decoded.columns["x"].values) == 2
    [(row, said)] = decoded.errors
    assert row == 1
    assert reason in said


@WAYS
def test_a_count_or_length_far_beyond_the_body_costs_no_memory(small: int) -> None:
    huge = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"
    arrays = [{"type": "array", "items": items} for items in ("double", "string")]
    for kind in ("string", "bytes", {"type": "map", "values": "string"}, *arrays):
        with way(small):
            decoded = RecordDecoder(record(("x", kind))).decode([huge, b"\x00"])
        assert decoded.ok.tolist() == [False, True]


@WAYS
def test_arrays_and_maps_in_several_blocks_or_with_block_sizes_are_read(small: int) -> None:
    strings = record(("x", {"type": "array", "items": "string"}))
    doubles = record(("x", {"type": "array", "items": "double"}))
    one = np.array([1.5]).tobytes()
    with way(small):
        out = RecordDecoder(strings).decode([b"\x02\x02a\x01\x04\x02b\x00", b"\x00"])
        assert out.columns["x"].values.tolist() == [["a", "b"], []]
        out = RecordDecoder(doubles).decode([b"\x02" + one + b"\x01\x10" + one + b"\x00"])
        assert [v.tolist() for v in out.columns["x"].values] == [[1.5, 1.5]]


def test_values_of_logical_types_are_the_raw_integers() -> None:
    schema = record(("at", {"type": "long", "logicalType": "timestamp-millis"}))
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, {"at": 1_700_000_000_123})
    decoded = RecordDecoder(schema).decode([out.getvalue()])
    assert decoded.columns["at"].values.tolist() == [1_700_000_000_123]


@WAYS
def test_a_second_block_is_not_taken_for_the_next_field(small: int) -> None:
    # Skipped, the second block would read as the bytes of `y` and end with the record.
    schema = record(("x", {"type": "array", "items": "double"}), ("y", "bytes"))
    item = b"\x12" + b"\0" * 7
    with way(small):
        decoded = RecordDecoder(schema).decode([b"\x02" + item + b"\x02" + item + b"\x00\x00"])
    assert [len(v) for v in decoded.columns["x"].values] == [2]
    assert decoded.columns["y"].values.tolist() == [b""]


@WAYS
def test_strings_of_one_length_that_begin_and_end_alike_stay_apart(small: int) -> None:
    schema = record(("x", "string"), ("y", "string"))
    rows = [{"x": x, "y": "const é"} for x in ("same", "diff", "same")]
    with way(small):
        columns = RecordDecoder(schema).decode([write(schema, row) for row in rows]).columns
    assert columns["x"].values.tolist() == ["same", "diff", "same"]
    assert columns["y"].values.tolist() == ["const é"] * 3


@WAYS
def test_integers_of_every_width_survive(small: int) -> None:
    schema = record(("x", "long"))
    edges = [0, *(2**k + d for k in range(6, 63) for d in (-1, 0)), 2**63 - 1]
    mixed = [sign * edge - (sign < 0) for edge in edges for sign in (1, -1)]
    with way(small):
        for values in [[value] * 3 for value in mixed] + [mixed]:
            bodies = [write(schema, {"x": value}) for value in values]
            decoded = RecordDecoder(schema).decode(bodies)
            assert decoded.columns["x"].values.tolist() == values
            assert RecordEncoder(schema).encode(decoded.columns, len(values)) == bodies
