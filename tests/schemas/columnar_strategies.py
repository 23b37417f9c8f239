"""Random schemas of the kinds that the columnar codec supports, and records that fit them."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import numpy as np
from hypothesis import strategies as st

from schemas.columns import Columns

Schema = dict[str, Any]
Record = dict[str, Any]

PRIMITIVES = ("double", "float", "int", "long", "boolean", "string", "bytes")
ITEMS = ("string", "double", "long", "int", "boolean")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
DOUBLES = st.floats(width=64)


@st.composite
def schemas(draw: st.DrawFn, depth: int = 2) -> Schema:
    """A record schema; names are unique over the whole schema."""
    counter = iter(range(1_000))

    def leaf() -> Any:
        kind = draw(st.sampled_from((*PRIMITIVES, *PRIMITIVES, "double", "enum", "array", "map")))
        if kind == "enum":
            count = draw(st.integers(1, 70))
            symbols = [f"S{i}" for i in range(count)]
            return {"type": "enum", "name": f"E{next(counter)}", "symbols": symbols}
        if kind == "array":
            return {"type": "array", "items": draw(st.sampled_from(("double", *ITEMS)))}
        if kind == "map":
            return {"type": "map", "values": draw(st.sampled_from(ITEMS))}
        return kind

    def record(level: int) -> Schema:
        fields = []
        for _ in range(draw(st.integers(0, 6))):
            nested = level > 0 and draw(st.integers(0, 4)) == 0
            inner = record(level - 1) if nested else leaf()
            null = draw(st.integers(0, 3))
            wrapped = {0: ["null", inner], 1: [inner, "null"]}.get(null, inner)
            fields.append({"name": f"f{next(counter)}", "type": wrapped})
        return {"type": "record", "name": f"R{next(counter)}", "fields": fields}

    return record(depth)


def values(schema: Any) -> st.SearchStrategy[Any]:
    """Values that fit a schema."""
    if isinstance(schema, list):
        inner = next(part for part in schema if part != "null")
        return st.one_of(st.none(), values(inner))
    kind = schema if isinstance(schema, str) else schema["type"]
    match kind:
        case "double":
            return DOUBLES
        case "float":
            return st.floats(width=32)
        case "int":
            return st.integers(-(2**31), 2**31 - 1)
        case "long":
            return st.one_of(st.integers(-70, 70), st.integers(-(2**63), 2**63 - 1))
        case "boolean":
            return st.booleans()
        case "string":
            return TEXT
        case "bytes":
            return st.binary(max_size=80)
        case "enum":
            return st.sampled_from(schema["symbols"])
        case "array":
            return st.lists(values(schema["items"]), max_size=4)
        case "map":
            return st.dictionaries(TEXT, values(schema["values"]), max_size=4)
    return st.fixed_dictionaries({f["name"]: values(f["type"]) for f in schema["fields"]})


@st.composite
def batches(draw: st.DrawFn, max_records: int = 40) -> tuple[Schema, list[Record]]:
    """A schema and records of it. Few are drawn and repeated: examples stay small."""
    schema = draw(schemas())
    some = draw(st.lists(values(schema), min_size=1, max_size=6))
    n = draw(st.integers(0, max_records))
    return schema, [some[i % len(some)] for i in range(n)]


def write(schema: Schema, record: Record) -> bytes:
    """fastavro's bytes of a record."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return out.getvalue()


def read(schema: Schema, body: bytes) -> Record:
    """fastavro's record of a body; raises if the body is not exactly one record."""
    stream = io.BytesIO(body)
    record = fastavro.schemaless_reader(stream, fastavro.parse_schema(schema), None)
    if stream.read(1):
        raise ValueError("trailing bytes")
    return record


def records_of(schema: Schema, columns: Columns, n: int, prefix: str = "") -> list[Record]:
    """Columns back to records, the slow and plain way."""
    records: list[Record] = [{} for _ in range(n)]
    for field in schema["fields"]:
        path, kind = prefix + field["name"], field["type"]
        nullable = isinstance(kind, list)
        if nullable:
            kind = next(part for part in kind if part != "null")
        if isinstance(kind, dict) and kind["type"] == "record":
            inner = records_of(kind, columns, n, f"{path}.")
            here = columns[path].values if nullable else np.ones(n, bool)
            items = [item if present else None for item, present in zip(inner, here, strict=True)]
        else:
            column = columns[path]
            assert len(column.values) == n
            items = [
                value.tolist() if isinstance(value, np.ndarray) else value
                for value in column.values.tolist()
            ]
            if column.valid is not None:
                assert not column.valid.all()
                items = [v if ok else None for v, ok in zip(items, column.valid, strict=True)]
        for record, item in zip(records, items, strict=True):
            record[field["name"]] = item
    return records


def same(left: Any, right: Any) -> bool:
    """Equality in which NaN equals NaN and types count."""
    return repr(left) == repr(right)
