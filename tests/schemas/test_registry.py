"""Schema ids: the same everywhere, told apart by content."""

from __future__ import annotations

from typing import Any

import pytest

from schemas import registry
from schemas.registry import Registry, canonical, header, same_structure, schema_id

POINT: dict[str, Any] = {
    "type": "record",
    "name": "Point",
    "namespace": "weir.test",
    "doc": "A place.",
    "fields": [
        {"name": "x", "type": "double", "doc": "east"},
        {
            "name": "at",
            "type": {"type": "long", "logicalType": "timestamp-millis"},
            "doc": "when",
            "default": 0,
        },
    ],
}


def test_the_id_of_a_schema_never_changes() -> None:
    # Records in Kafka and clients in other languages hold ids: another number here means that
    # nobody reads them any more.
    assert schema_id(POINT) == 1591485034
    assert header(schema_id(POINT)) == bytes.fromhex("00 5e dc 22 6a")


def test_docs_and_the_order_of_keys_do_not_matter() -> None:
    without = {
        "fields": [
            {"type": "double", "name": "x"},
            {
                "default": 0,
                "type": {"logicalType": "timestamp-millis", "type": "long"},
                "name": "at",
            },
        ],
        "name": "Point",
        "type": "record",
        "namespace": "weir.test",
    }
    assert schema_id(without) == schema_id(POINT)
    assert canonical(without) == canonical(POINT)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Place"},
        {"namespace": "weir.other"},
        {"aliases": ["Place"]},
        {"fields": POINT["fields"][:1]},
        {"fields": [POINT["fields"][0], {**POINT["fields"][1], "default": 1}]},
        {"fields": [POINT["fields"][0], {**POINT["fields"][1], "type": "long"}]},
    ],
)
def test_what_readers_depend_on_changes_the_id(change: dict[str, Any]) -> None:
    assert schema_id({**POINT, **change}) != schema_id(POINT)


def test_the_same_bytes_are_the_same_structure() -> None:
    documented = {**POINT, "doc": "Another doc."}
    assert same_structure(POINT, documented)
    assert not same_structure(POINT, {**POINT, "fields": POINT["fields"][:1]})


def test_a_registry_knows_what_was_added() -> None:
    known = Registry([POINT])
    id_ = schema_id(POINT)
    assert known.add(dict(POINT)) == id_
    assert known.get(id_) == POINT
    assert known.get(id_ + 1) is None
    assert list(known) == [(id_, POINT)]


def test_two_schemas_with_one_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Registry([POINT])
    other = {**POINT, "name": "Place"}
    monkeypatch.setattr(registry, "schema_id", lambda schema: schema_id(POINT))
    with pytest.raises(ValueError, match="Point and Place have the same id"):
        known.add(other)


def test_ids_are_positive_in_clients_that_read_a_signed_integer() -> None:
    ids = [schema_id({**POINT, "name": f"P{i}"}) for i in range(200)]
    assert all(0 < id_ < 2**31 for id_ in ids)
    assert len(set(ids)) == len(ids)
