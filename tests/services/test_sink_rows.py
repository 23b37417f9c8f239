"""The sink's pure parts: columns of a table, values to rows, what is past an offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.arrow_columns import ArrowReader
from schemas.codec import Codec
from schemas.features import Category, Integer, Number
from schemas.records import record_schemas
from schemas.topics import BY_NAME, TOPICS
from services.sink.database import DatabaseError, changes
from services.sink.rows import MOST_KEY_BYTES, MOST_VALUE_BYTES, Records, Rows, decode, values
from services.sink.tables import Column, Table

FEATURES = [Number("distance"), Integer("hour", nullable=True), Category("carrier", nullable=True)]


def records(values: Sequence[bytes | None], partitions: Sequence[int] = ()) -> Records:
    """Records of these values, each with the offset of its position."""
    n = len(values)
    return Records(
        np.array(partitions or [0] * n, np.int64),
        np.arange(n, dtype=np.int64),
        np.full(n, 1_700_000_000_000),
        [None] * n,
        values,
        [b""] * n,
    )


def columns(rows: Rows) -> dict[str, list[Any]]:
    return dict(rows.columns.to_pydict())


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
    good = codec.write({"request_id": "r", "known_at": 5, "truth": True, "source": "s"})
    all_ = replace(
        records([good, None, good, b"junk"], [0, 0, 1, 1]),
        offsets=np.array([10, 11, 7, 8]),
        keys=[b"k", None, None, b""],
        traceparents=[b"00-ab", b"", b"", b""],
    )
    rows, bad = decode(table("truth"), ArrowReader(codec), all_)
    assert rows.last() == {0: 10, 1: 7}
    kept = columns(rows)
    assert kept["_partition"] == [0, 1]
    assert kept["_offset"] == [10, 7]
    assert kept["_key"] == [b"k", b""]
    assert kept["_traceparent"] == [b"00-ab", b""]
    assert kept["truth"] == [True, True]
    assert [int(at.timestamp() * 1000) for at in kept["known_at"]] == [5, 5]
    assert [int(at.timestamp()) for at in kept["_timestamp"]] == [1_700_000_000] * 2
    aside = columns(bad)
    assert aside["_topic"] == ["truth", "truth"]
    assert aside["_offset"] == [11, 8]
    assert aside["reason"] == ["empty", "undecodable"]
    assert aside["value"] == [None, b"junk"]


def test_what_unpacked_to_a_flood_stays_at_its_origin() -> None:
    codec = Codec(record_schemas("t", "binary", FEATURES)["truth"])
    good = codec.write({"request_id": "r", "known_at": 5, "truth": True, "source": "s"})
    flood = good + bytes(MOST_VALUE_BYTES)
    all_ = replace(records([good, flood, None, good]), keys=[b"k", b"k", b"", bytes(1 << 20)])
    rows, bad = decode(table("truth"), ArrowReader(codec), all_)
    assert columns(rows)["_offset"] == [0, 3]
    assert [len(key) for key in columns(rows)["_key"]] == [1, MOST_KEY_BYTES]
    aside = columns(bad)
    assert aside["reason"] == ["too-large", "empty"]
    assert aside["value"] == [b"", None]
    assert aside["message"][0].startswith(f"the value of {len(flood)} bytes (SHA-256 ")


def test_only_rows_past_the_tables_offsets_are_left() -> None:
    codec = Codec(record_schemas("t", "binary", FEATURES)["truth"])
    good = codec.write({"request_id": "r", "known_at": 5, "truth": True, "source": "s"})
    all_ = replace(records([good] * 8, [0] * 4 + [1] * 4), offsets=np.tile(np.arange(4), 2))
    rows, _ = decode(table("truth"), ArrowReader(codec), all_)
    left = rows.after({0: 1, 1: 3})
    assert (left.partitions.tolist(), left.offsets.tolist()) == ([0, 0], [2, 3])
    assert columns(left)["_offset"] == [2, 3]
    assert len(rows.after({})) == 8
    assert len(rows.after({0: 9, 1: 9})) == 0


def test_times_that_a_table_cannot_hold_are_kept_as_the_nearest_bound() -> None:
    column = Column("at", "Nullable(DateTime64(3, 'UTC'))", "time")
    (earliest, latest) = (1900, 2261)
    found = values(column, pa.array([-(2**63), None, 2**63 - 1, 0])).to_pylist()
    assert [at and at.year for at in found] == [earliest, None, latest, 1970]


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
    gone = records([None])
    for topic, undecodable in (("features", 0), ("truth", 1)):
        codec = Codec(record_schemas("t", "binary", FEATURES)[BY_NAME[topic].record])
        rows, bad = decode(table(topic), ArrowReader(codec), gone)
        assert (len(rows), len(bad)) == (0, undecodable)
