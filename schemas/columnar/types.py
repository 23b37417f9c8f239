"""The plan of a schema: an Avro record schema as a tree of fields that the codec can walk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from enum import Enum
from typing import Any

import numpy as np


class UnsupportedSchemaError(ValueError):
    """The schema uses a type that the columnar codec does not read or write."""


class Kind(Enum):
    """What a field holds, whatever its nullability."""

    # Members are singletons; Enum's own hash is a Python call, felt on every lookup by kind.
    __hash__ = object.__hash__

    DOUBLE = "double"
    FLOAT = "float"
    INT = "int"
    LONG = "long"
    BOOLEAN = "boolean"
    STRING = "string"
    BYTES = "bytes"
    ENUM = "enum"
    DOUBLES = "array of double"
    ARRAY = "array"
    MAP = "map"
    RECORD = "record"


_PRIMITIVES = {
    kind.value: kind
    for kind in (
        Kind.DOUBLE, Kind.FLOAT, Kind.INT, Kind.LONG, Kind.BOOLEAN, Kind.STRING, Kind.BYTES
    )
}  # fmt: skip
_ITEMS = (Kind.STRING, Kind.DOUBLE, Kind.LONG, Kind.INT, Kind.BOOLEAN)

COLUMN_DTYPES: dict[Kind, np.dtype[Any]] = {
    kind: np.dtype(object) for kind in Kind if kind is not Kind.RECORD
} | {
    Kind.DOUBLE: np.dtype(np.float64),
    Kind.FLOAT: np.dtype(np.float64),
    Kind.INT: np.dtype(np.int64),
    Kind.LONG: np.dtype(np.int64),
    Kind.BOOLEAN: np.dtype(np.bool_),
}
"""dtype of a decoded column of each kind."""

MISSING: dict[Kind, Any] = {
    Kind.DOUBLE: np.nan,
    Kind.FLOAT: np.nan,
    Kind.INT: 0,
    Kind.LONG: 0,
    Kind.BOOLEAN: False,
    Kind.STRING: "",
    Kind.ENUM: "",
    Kind.BYTES: b"",
    Kind.DOUBLES: None,
    Kind.ARRAY: None,
    Kind.MAP: None,
}
"""What a decoded column holds where it is not valid."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: a leaf, or a record with fields of its own.

    path: dotted names from the top record; "" for the top record itself.
    null_branch: index of "null" in the field's union, None where the field is not nullable.
    presence: this is the boolean that says whether a nullable record is there; never null.
    item: what an array or map holds.
    null_byte, value_byte: the union's branch on the wire (its index in zigzag).
    """

    path: str
    kind: Kind
    null_branch: int | None = None
    symbols: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()
    presence: bool = False
    item: Kind | None = None

    null_byte: int = dataclass_field(init=False, default=0)
    value_byte: int = dataclass_field(init=False, default=2)

    def __post_init__(self) -> None:
        if self.null_branch == 1:
            object.__setattr__(self, "null_byte", 2)
            object.__setattr__(self, "value_byte", 0)

    def leaves(self) -> Iterator[Field]:
        """Every field that is a column, in wire order.

        A nullable record appears itself, before its leaves, as the boolean column of its presence.
        """
        if self.kind is not Kind.RECORD:
            yield self
            return
        if self.null_branch is not None:
            yield Field(self.path, Kind.BOOLEAN, presence=True)
        for field in self.fields:
            yield from field.leaves()


def plan(schema: Mapping[str, Any]) -> Field:
    """The plan of a record schema (as JSON loads it, or as fastavro.parse_schema returns it).

    Raises UnsupportedSchemaError, naming the field, for anything but records, enums, primitive
    types, arrays and maps of string, double, long, int or boolean, and unions of null with one
    of these.
    """
    if not isinstance(schema, Mapping) or schema.get("type") != "record":
        raise UnsupportedSchemaError("the schema is not a record: give a dict of type record")
    return _field("", schema, _Names({}, ()), "")


@dataclass(frozen=True, slots=True)
class _Names:
    """The named types seen so far, and the records that we are inside of."""

    known: dict[str, Mapping[str, Any]]
    inside: tuple[str, ...]


def _field(path: str, schema: Any, names: _Names, space: str) -> Field:
    where = f"field {path or '(top)'}"
    if isinstance(schema, list):
        if len(schema) != 2 or schema.count("null") != 1:
            raise UnsupportedSchemaError(f"{where}: a union must be null and one other type")
        null = schema.index("null")
        inner = _field(path, schema[1 - null], names, space)
        if inner.null_branch is not None:
            raise UnsupportedSchemaError(f"{where}: a union directly inside a union")
        return replace(inner, null_branch=null)
    if isinstance(schema, str):
        if schema in _PRIMITIVES:
            return Field(path, _PRIMITIVES[schema])
        for name in (f"{space}.{schema}" if space else schema, schema):
            if name in names.inside:
                raise UnsupportedSchemaError(f"{where}: record {name} contains itself")
            if name in names.known:
                return _field(path, names.known[name], names, name.rpartition(".")[0])
        raise UnsupportedSchemaError(f"{where}: unsupported or unknown type {schema!r}")
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if kind in ("record", "enum"):
        return _named(path, schema, names, space)
    if kind in ("array", "map"):
        item = schema["items" if kind == "array" else "values"]
        item = item.get("type") if isinstance(item, Mapping) else item
        for of in _ITEMS:
            if item == of.value:
                doubles = kind == "array" and of is Kind.DOUBLE
                return Field(path, Kind.DOUBLES if doubles else Kind(kind), item=of)
        raise UnsupportedSchemaError(
            f"{where}: {kind} of {item!r}; only of {', '.join(of.value for of in _ITEMS)}"
        )
    if isinstance(kind, str) and kind != "fixed":
        return _field(path, kind, names, space)  # a primitive with a logical type: taken raw
    if isinstance(kind, (list, Mapping)):
        return _field(path, kind, names, space)
    raise UnsupportedSchemaError(f"{where}: unsupported type {kind or schema!r}")


def _named(path: str, schema: Mapping[str, Any], names: _Names, space: str) -> Field:
    name = schema["name"]
    if "." not in name and (space := schema.get("namespace", space)):
        name = f"{space}.{name}"
    space = name.rpartition(".")[0]
    names.known[name] = schema
    if schema["type"] == "enum":
        return Field(path, Kind.ENUM, symbols=tuple(schema["symbols"]))
    inside = _Names(names.known, (*names.inside, name))
    prefix = f"{path}." if path else ""
    fields = tuple(
        _field(prefix + child["name"], child["type"], inside, space) for child in schema["fields"]
    )
    return Field(path, Kind.RECORD, fields=fields)
