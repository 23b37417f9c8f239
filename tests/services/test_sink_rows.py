"""The sink's pure parts: columns of a table, values to rows, what is past an offset."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from schemas.codec import Codec
from schemas.features import Category, Integer, Number
from schemas.records import record_schemas
from schemas.topics import BY_NAME, TOPICS
from services.sink.database import DatabaseError, changes
from services.sink.rows import decode
from services.sink.tables import Column, Table

FEATURES = [Number("distance"), Integer("hour", nullable=True), Category("carrier", nullable=True)]


@dataclass
class Message:
    value: bytes | None
    offset: int
    partition: int = 0
    timestamp: int = 1_700_000_000_000
    key: bytes | None = None
    headers: list[tuple[str, bytes]] = field(default_factory=list)


def table(topic: str, kind: str = "binary") -> Table:
    schemas = record_schemas("t", kind, FEATURES)  # type: ignore[arg-type]
    return Table.of(BY_NAME[topic], schemas[BY_NAME[topic].record])


def types(topic: str, kind: str = "binary") -> dict[str, str]:
    return {column.name: column.type for column in table(topic, kind).columns}


def test_every_topic_has_a_table_of_typed_columns() -> None:
    for topic in TOPICS:
        assert table(topic.name).columns


def test_types_follow_the_schema() -> None:
    found = types("predictions")
    assert found["request_id"] == "String"
    assert found["event_time"] == "DateTime64(3, 'UTC')"
    assert found["status"] == "LowCardinality(String)"
    assert found["probability"] == "Nullable(Float64)"
    assert found["probabilities"] == "Array(Float64)"
    assert found["timings.batch_size"] == "Int32"
    assert types("models")["metrics"] == "Map(LowCardinality(String), Float64)"
    assert types("retrain")["data_from"] == "Nullable(DateTime64(3, 'UTC'))"
    assert types("dead-letters")["value"] == "Nullable(String)"


def test_features_are_null_only_where_they_may_be() -> None:
    assert types("requests")["features.distance"] == "Float64"
    assert types("requests")["features.hour"] == "Nullable(Int64)"
    assert types("requests")["features.carrier"] == "LowCardinality(Nullable(String))"
    # A rejected request's prediction has no features at all.
    assert types("predictions")["features.distance"] == "Nullable(Float64)"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("binary", "Nullable(Bool)"),
        ("multiclass", "LowCardinality(Nullable(String))"),
        ("regression", "Nullable(Float64)"),
    ],
)
def test_the_answers_type_is_the_tasks(kind: str, expected: str) -> None:
    assert types("predictions", kind)["answer"] == expected


def test_good_and_bad_values_part_ways_with_their_origin() -> None:
    codec = Codec(record_schemas("t", "binary", FEATURES)["truth"])
    truth = {"request_id": "r", "known_at": 5, "truth": True, "source": "s"}
    good = codec.write(truth)
    headers = [("traceparent", b"00-ab")]
    messages = [
        Message(good, 10, key=b"k", headers=headers),
        Message(None, 11),
        Message(good, 7, partition=1),
        Message(b"junk", 8, partition=1),
    ]
    rows, bad = decode(table("truth"), codec, messages)
    by_name = dict(zip(rows.names, rows.columns, strict=True))
    assert rows.last() == {0: 10, 1: 7}
    assert by_name["_key"] == [b"k", b""]
    assert by_name["_traceparent"] == [b"00-ab", b""]
    assert by_name["truth"] == [True, True]
    assert by_name["known_at"] == [5, 5]
    kept = dict(zip(bad.names, bad.columns, strict=True))
    assert kept["_topic"] == ["truth", "truth"]
    assert kept["_offset"] == [11, 8]
    assert kept["reason"] == ["empty", "undecodable"]
    assert kept["value"] == [None, b"junk"]


def test_only_rows_past_the_tables_offsets_are_left() -> None:
    codec = Codec(record_schemas("t", "binary", FEATURES)["truth"])
    good = codec.write({"request_id": "r", "known_at": 5, "truth": True, "source": "s"})
    messages = [Message(good, offset, partition) for partition in (0, 1) for offset in range(4)]
    rows, _ = decode(table("truth"), codec, messages)
    left = rows.after({0: 1, 1: 3})
    assert (left.partitions, left.offsets) == ([0, 0], [2, 3])
    assert all(len(column) == 2 for column in left.columns)
    assert len(rows.after({})) == 8
    assert len(rows.after({0: 9, 1: 9})) == 0


def test_a_column_changes_where_every_value_fits_the_new_type() -> None:
    wanted = Table("t", "t", (Column("a", "Nullable(Float64)"), Column("b", "String")))
    have = {column.name: column.type for column in wanted.all_columns}
    assert changes("d", wanted, have) == []
    for kind in ("Float64", "Int64", "Nullable(Int32)"):
        (change,) = changes("d", wanted, have | {"a": kind})
        assert change.startswith("MODIFY COLUMN `a` Nullable(Float64)")
    del have["b"]
    (added,) = changes("d", wanted, have)
    assert added == "ADD COLUMN IF NOT EXISTS `b` String COMMENT '' AFTER `a`"


@pytest.mark.parametrize(
    ("have", "want"),
    [("Nullable(Float64)", "Float64"), ("Float64", "Int64"), ("String", "Float64")],
)
def test_a_change_that_would_lose_values_is_refused(have: str, want: str) -> None:
    wanted = Table("t", "t", (Column("a", want),))
    found = {column.name: column.type for column in wanted.all_columns} | {"a": have}
    with pytest.raises(DatabaseError, match=r"d\.t\.a is a"):
        changes("d", wanted, found)


def test_a_key_without_a_value_takes_a_record_back_in_a_compacted_topic_alone() -> None:
    gone = [Message(None, 7, key=b"a cell")]
    for topic, undecodable in (("features", 0), ("truth", 1)):
        codec = Codec(record_schemas("t", "binary", FEATURES)[BY_NAME[topic].record])
        rows, bad = decode(table(topic), codec, gone)
        assert (len(rows), len(bad)) == (0, undecodable)
