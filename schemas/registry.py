"""Schema ids and the framing that puts them before every value.

Confluent's framing: one zero byte, the schema id as four big-endian bytes, the Avro body. Ids
are a hash of the schema's content, so every process, machine and language agrees on them
without asking anybody; a registry server is an option, not a need.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator
from typing import Any

from fastavro.schema import to_parsing_canonical_form

from schemas.records import Schema

MAGIC = 0
HEADER_BYTES = 5
_HEADER = struct.Struct(">bI")


def canonical(schema: Schema) -> str:
    """The schema as JSON without docs, but with defaults and logical types, keys sorted."""

    def strip(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: strip(value) for name, value in node.items() if name != "doc"}
        if isinstance(node, list):
            return [strip(value) for value in node]
        return node

    return json.dumps(strip(schema), sort_keys=True, separators=(",", ":"))


def schema_id(schema: Schema) -> int:
    """The id of a schema: 31 bits of SHA-256 of its canonical text, never 0.

    31 bits keep it positive in clients that read a signed integer.
    """
    digest = hashlib.sha256(canonical(schema).encode()).digest()
    return (int.from_bytes(digest[:4], "big") & 0x7FFF_FFFF) or 1


def header(id_: int) -> bytes:
    """The five bytes before an Avro body written with schema ``id_``."""
    return _HEADER.pack(MAGIC, id_)


def same_structure(one: Schema, other: Schema) -> bool:
    """Whether two schemas read and write the same bytes (Avro's parsing canonical form)."""
    forms: list[str] = [to_parsing_canonical_form(schema) for schema in (one, other)]
    return forms[0] == forms[1]


class Registry:
    """The schemas that a process can read, by id.

    Raises ValueError where two different schemas have the same id (one in four thousand
    million pairs): give one of them another ``doc``-less difference, such as a field alias.
    """

    def __init__(self, schemas: Iterable[Schema] = ()) -> None:
        self._by_id: dict[int, Schema] = {}
        for schema in schemas:
            self.add(schema)

    def add(self, schema: Schema) -> int:
        """Make a schema readable; returns its id."""
        id_ = schema_id(schema)
        known = self._by_id.setdefault(id_, schema)
        if canonical(known) != canonical(schema):
            raise ValueError(
                f"schemas {known['name']} and {schema['name']} have the same id {id_}; "
                "add an alias to one of them"
            )
        return id_

    def get(self, id_: int) -> Schema | None:
        """The schema of an id, or None where the id is unknown."""
        return self._by_id.get(id_)

    def __iter__(self) -> Iterator[tuple[int, Schema]]:
        return iter(self._by_id.items())
