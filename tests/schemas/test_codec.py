"""One topic's values: framing, older writers, what cannot be read, and round trips."""

from __future__ import annotations

import io
import math
from typing import Any

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.codec import MAX_ID_BYTES, Codec
from schemas.columns import Column
from schemas.features import Boolean, Category, Feature, Integer, Number
from schemas.records import RECORDS, Schema, record_schemas
from schemas.registry import Registry, header, schema_id

OLD: list[Feature] = [Number("size"), Category("colour", nullable=True)]
NEW: list[Feature] = [*OLD, Integer("age", nullable=True), Boolean("fresh", nullable=True)]
OLDER, NEWER = record_schemas("t", "binary", OLD), record_schemas("t", "binary", NEW)

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def codec() -> Codec:
    """Of requests; knows what an older version of the task wrote, and the other records."""
    registry = Registry([OLDER["request"], *(NEWER[record] for record in RECORDS)])
    return Codec(NEWER["request"], registry)


def request(id_: str = "r1", **features: Any) -> dict[str, Any]:
    defaults = {"size": 1.5, "colour": "red", "age": 3, "fresh": True}
    return {"request_id": id_, "event_time": 12, "features": {**defaults, **features}}


def written_by_older(record: dict[str, Any], **features: Any) -> bytes:
    old = {**record, "features": {"size": 1.5, "colour": None, **features}}
    return Codec(OLDER["request"]).write(old)


def test_a_value_is_a_header_and_an_avro_body(codec: Codec) -> None:
    value = codec.write(request())
    assert value[:5] == header(schema_id(NEWER["request"]))
    read: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), NEWER["request"], None)
    assert read["request_id"] == "r1"


@pytest.mark.parametrize("n", [1, 3, 40])
def test_batches_go_through_columns_and_back(codec: Codec, n: int) -> None:
    values = [codec.write(request(f"r{i}", size=float(i), colour=None)) for i in range(n)]
    decoded = codec.decode(values)
    assert len(decoded) == n
    assert decoded.failures == []
    assert decoded.index.tolist() == list(range(n))
    assert decoded.columns["features.size"].values.tolist() == [float(i) for i in range(n)]
    assert codec.encode(decoded.columns, n) == values


def test_nothing_decodes_to_nothing(codec: Codec) -> None:
    decoded = codec.decode([])
    assert len(decoded) == 0
    assert decoded.failures == []
    assert len(decoded.columns["features.size"]) == 0
    assert decoded.index.dtype == "int64"


@given(
    st.builds(
        request,
        IDS,
        size=st.floats(),
        colour=st.none() | IDS,
        age=st.none() | st.integers(-(2**63), 2**63 - 1),
        fresh=st.none() | st.booleans(),
    )
)
def test_what_is_written_reads_back(codec: Codec, record: dict[str, Any]) -> None:
    read = codec.read(codec.write(record))
    assert repr(read["features"]) == repr(record["features"])
    assert (read["request_id"], read["event_time"]) == (record["request_id"], 12)
    assert read["entity"] is None  # a field that is left out takes its default


def test_older_writers_are_translated(codec: Codec) -> None:
    values = [written_by_older(request("old"), colour="blue"), codec.write(request("new"))]
    decoded = codec.decode(values)
    assert decoded.failures == []
    assert decoded.columns["request_id"].values.tolist() == ["old", "new"]
    assert decoded.columns["features.colour"].values.tolist() == ["blue", "red"]
    age = decoded.columns["features.age"]
    assert age.valid is not None
    assert age.valid.tolist() == [False, True]
    assert codec.read(values[0])["features"]["age"] is None


REFUSED: list[tuple[str, bytes | None, str, str]] = [
    ("no value", None, "empty", "has no value"),
    ("nothing", b"", "undecodable", "starts with nothing"),
    ("a zero byte", b"\0", "undecodable", "starts with 00, not with Confluent framing"),
    ("one byte", b"{", "undecodable", "starts with 7b"),
    ("half a header", b"\0\0\0\0", "undecodable", "starts with 00 00 00 00"),
    ("text", b'{"request_id": 1}', "undecodable", "starts with 7b 22 72 65 71 75 65 73, not"),
    ("a strange id", b"\0\0\0\0\x07rest", "unknown-schema", "schema id 7 is not known here"),
    ("a header alone", header(schema_id(NEWER["request"])), "undecodable", ""),
    ("an old header alone", header(schema_id(OLDER["request"])), "undecodable", ""),
]


@pytest.mark.parametrize(("name", "value", "reason", "said"), REFUSED, ids=lambda x: str(x)[:20])
def test_what_cannot_be_read_says_why(
    codec: Codec, name: str, value: bytes | None, reason: str, said: str
) -> None:
    good = codec.write(request())
    decoded = codec.decode([good, value, good])
    assert decoded.index.tolist() == [0, 2]
    (failure,) = decoded.failures
    assert (failure.position, failure.reason, failure.request_id) == (1, reason, None)
    assert said in failure.message
    with pytest.raises(ValueError, match=r".+"):
        codec.read(value)


def test_another_records_value_is_named(codec: Codec) -> None:
    truth = Codec(NEWER["truth"]).write({"request_id": "x", "known_at": 1, "truth": True})
    (failure,) = codec.decode([truth]).failures
    assert failure.reason == "unknown-schema"
    assert "is a Truth, and this topic carries Request" in failure.message


def test_failures_come_in_order(codec: Codec) -> None:
    values = [codec.write(request())[:-1], b"?", codec.write(request()) + b"!", None]
    assert [f.position for f in codec.decode(values).failures] == [0, 1, 2, 3]


def test_bytes_after_the_end_are_refused_in_every_version(codec: Codec) -> None:
    values = [codec.write(request("a")) + b"\0", written_by_older(request("b")) + b"\0"]
    first, second = codec.decode(values).failures
    assert (first.reason, first.request_id) == ("undecodable", "a")
    assert (second.reason, second.request_id) == ("undecodable", "b")


@pytest.mark.parametrize("old", [False, True], ids=["own version", "older version"])
@pytest.mark.parametrize(
    "id_", ["a", "x" * 63, "x" * 64, "x" * MAX_ID_BYTES, "ü" * 64, "a\0b", "\N{SNOWMAN}"]
)
def test_a_truncated_body_still_gives_its_id(codec: Codec, id_: str, old: bool) -> None:
    value = written_by_older(request(id_)) if old else codec.write(request(id_))
    whole = len(value) - 1
    start = 5 + (1 if len(id_.encode()) < 64 else 2) + len(id_.encode())
    for end in (start, start + 1, whole):
        (failure,) = codec.decode([value[:end]]).failures
        assert failure.request_id == id_
    (failure,) = codec.decode([value[: start - 1]]).failures
    assert failure.request_id is None


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\x00",  # an empty id
        b"\x01",  # length -1
        b"\x80",  # half a length
        b"\x80\x80\x01",  # a length of three bytes
        b"\x82\x02" + b"x" * 129,  # 129 bytes: no id of ours
        b"\x04\xff\xfe",  # not UTF-8
        b"\x08ab",  # cut within the id
    ],
)
def test_what_reads_as_no_id_is_none(codec: Codec, start: bytes) -> None:
    (failure,) = codec.decode([header(codec.id) + start]).failures
    assert failure.request_id is None


def test_records_that_begin_otherwise_give_no_id() -> None:
    codec = Codec(NEWER["tally"])
    (failure,) = codec.decode([header(codec.id) + b"\x02a"]).failures
    assert failure.request_id is None


@pytest.mark.parametrize("old", [False, True], ids=["own version", "older version"])
def test_a_value_beyond_the_limit_is_not_read(codec: Codec, old: bool) -> None:
    huge = request("huge", colour="x" * 1000)
    value = written_by_older(huge, colour="x" * 1000) if old else codec.write(huge)
    (failure,) = codec.decode([value], most_bytes=len(value) - 1).failures
    assert (failure.reason, failure.request_id) == ("too-large", "huge")
    assert f"has {len(value)} bytes; at most {len(value) - 1}" in failure.message
    assert codec.decode([value], most_bytes=len(value)).failures == []


@given(junk=st.binary(min_size=1, max_size=64))
def test_junk_beyond_the_limit_does_not_raise(codec: Codec, junk: bytes) -> None:
    for value in (junk, b"\0" + junk, header(codec.id) + junk):
        (failure,) = codec.decode([value], most_bytes=0).failures
        assert failure.reason == "too-large"


def _framed(draw: st.DrawFn, junk: bytes) -> bytes:
    ids = [schema_id(OLDER["request"]), *(schema_id(NEWER[record]) for record in RECORDS)]
    return header(draw(st.sampled_from(ids))) + junk


@st.composite
def values(draw: st.DrawFn) -> bytes | None:
    """Bytes of every degree of wrong, and some that are right."""
    junk = draw(st.binary(max_size=80))
    how = draw(st.integers(0, 4))
    if how == 0:
        return draw(st.none() | st.just(junk))
    if how == 1:
        return _framed(draw, junk)
    good = draw(
        st.sampled_from(
            [Codec(NEWER["request"]).write(request("good")), written_by_older(request("good"))]
        )
    )
    if how == 2:
        return good[: draw(st.integers(0, len(good)))]
    if how == 3:
        at = draw(st.integers(0, len(good) - 1))
        return good[:at] + bytes([draw(st.integers(0, 255))]) + good[at + 1 :]
    return good


@pytest.mark.parametrize("record", RECORDS)
def test_arbitrary_bytes_never_raise(record: str) -> None:
    schemas: list[Schema] = [OLDER[record], NEWER[record], OLDER["request"], NEWER["truth"]]
    codec = Codec(NEWER[record], Registry(schemas))

    @given(st.lists(values(), max_size=20))
    @example([header(codec.id) + b"\x01"])
    def check(batch: list[bytes | None]) -> None:
        decoded = codec.decode(batch)
        failed = [failure.position for failure in decoded.failures]
        assert sorted([*failed, *decoded.index.tolist()]) == list(range(len(batch)))
        assert all(len(column) == len(decoded) for column in decoded.columns.values())
        # What one reader takes, so does the other.
        for position in decoded.index.tolist():
            codec.read(batch[position])

    check()


def test_old_bodies_are_judged_as_strictly_as_new_ones(codec: Codec) -> None:
    """fastavro alone takes a string of length -1 for all the rest of the body."""
    for schema in (OLDER["request"], NEWER["request"]):
        decoded = codec.decode([header(schema_id(schema)) + b"\x01"])
        assert decoded.failures[0].reason == "undecodable"


@pytest.mark.parametrize(
    "record",
    [
        {"request_id": "x", "event_time": 1, "features": {"size": None}},
        {"request_id": "x", "event_time": "now", "features": {"size": 1.0}},
        {"request_id": "x"},
        {**request(), "surplus": 1},
        {},
    ],
)
def test_a_record_that_does_not_fit_is_not_written(codec: Codec, record: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a Request record"):
        codec.write(record)


def test_many_records_are_written_in_order(codec: Codec) -> None:
    records = [request("a"), request("b")]
    assert codec.write_many(records) == [codec.write(record) for record in records]


def test_a_column_that_does_not_fit_is_named(codec: Codec) -> None:
    columns = codec.decode([codec.write(request())]).columns
    with pytest.raises(ValueError, match="event_time"):
        codec.encode({**columns, "event_time": Column(columns["features.size"].values)}, 1)


def test_times_are_integers_of_milliseconds(codec: Codec) -> None:
    assert codec.read(codec.write(request()))["event_time"] == 12
    assert codec.decode([codec.write(request())]).columns["event_time"].values.tolist() == [12]


@pytest.mark.parametrize("size", [math.nan, math.inf, -math.inf, -0.0])
def test_strange_numbers_travel(codec: Codec, size: float) -> None:
    assert repr(codec.read(codec.write(request(size=size)))["features"]["size"]) == repr(size)
