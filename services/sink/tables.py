"""The table of a topic: typed columns that follow from the record's Avro schema.

A field is a column of its own name; a field of a nested record is ``record.field``, which SQL
takes without quotes (``SELECT features.distance, timings.infer_us``). Each row has its origin:
``_partition``, ``_offset``, ``_timestamp``, ``_key``, ``_traceparent``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from schemas.records import Schema
from schemas.topics import Topic

Kind = Literal["plain", "time", "array", "map"]

# Avro's types, and what ClickHouse keeps them in.
_SCALARS = {
    "double": "Float64",
    "float": "Float32",
    "long": "Int64",
    "int": "Int32",
    "boolean": "Bool",
    "string": "String",
    "bytes": "String",
}
_TIME = "DateTime64(3, 'UTC')"
# Text fields with few different values: a dictionary makes them small and quick to group by.
_FEW_VALUES = frozenset(
    {"version", "replaces", "dataset_id", "app_version", "source", "stage", "topic", "window"}
    | {"segment", "kind", "trigger", "statistic", "reference", "previous_source", "shown_role"}
    | {"answer", "truth", "previous_truth", "fallback", "detector", "subject", "role"}
)
FEATURES = "features"
# The table of what no schema reads; infra/clickhouse/0001_undecodable.sql makes it.
UNDECODABLE = "undecodable"


@dataclass(frozen=True)
class Column:
    """One column: its name is the field's path in the record and in the codec's columns."""

    name: str
    type: str
    kind: Kind = "plain"
    doc: str = ""

    @property
    def nullable(self) -> bool:
        """Whether it may hold NULL."""
        return "Nullable(" in self.type


ORIGIN = (
    Column("_partition", "Int32", doc="Partition of the topic."),
    Column("_offset", "Int64", doc="Offset in the partition; with it, the record's identity."),
    Column("_timestamp", _TIME, "time", "The record's Kafka timestamp."),
    Column("_key", "String", doc="The record's key, empty where it had none."),
    Column("_traceparent", "String", doc="W3C trace context, empty where it had none."),
)
SINK = Column("_sink", "UInt64", doc="The sink that wrote the row.")


@dataclass(frozen=True)
class Table:
    """A topic's table: ``columns`` are the record's own."""

    name: str
    topic: str
    columns: tuple[Column, ...]

    @classmethod
    def of(cls, topic: Topic, schema: Schema) -> Table:
        """The table of ``topic``, whose values have ``schema``."""
        return cls(topic.table, topic.name, tuple(_columns(schema, "", False, {})))

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """Origin, record, sink: as the table has them."""
        return (*ORIGIN, *self.columns, SINK)

    def create(self, database: str) -> str:
        """The statement that makes the table if it is not there."""
        lines = [f"    {definition(column)}" for column in self.all_columns]
        lines += [f"    INDEX {line}" for line in self._indexes()]
        return (
            f"CREATE TABLE IF NOT EXISTS {quote(database)}.{quote(self.name)}\n(\n"
            + ",\n".join(lines)
            + "\n)\nENGINE = ReplacingMergeTree\nORDER BY (_partition, _offset)\n"
            # Tokens of the last thousand inserts, for what the HTTP client itself sends again.
            + "SETTINGS non_replicated_deduplication_window = 1000"
        )

    def _indexes(self) -> Iterator[str]:
        """Rows come in order of time: ranges of it, and single requests, are found by skipping."""
        for column in self.columns:
            if column.name == "request_id":
                yield "by_request request_id TYPE bloom_filter(0.01) GRANULARITY 4"
            elif column.kind == "time":
                yield f"by_{column.name} {quote(column.name)} TYPE minmax GRANULARITY 1"


def definition(column: Column) -> str:
    """A column in CREATE and ALTER."""
    comment = column.doc.replace("\\", "\\\\").replace("'", "\\'")
    return f"{quote(column.name)} {column.type} COMMENT '{comment}'"


def quote(name: str) -> str:
    """A name as an identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _columns(
    record: Mapping[str, Any], prefix: str, nullable: bool, named: dict[str, Any]
) -> Iterator[Column]:
    named[record["name"]] = record
    for field in record["fields"]:
        yield from _field(field, prefix, nullable, named)


def _field(
    field: Mapping[str, Any], prefix: str, nullable: bool, named: dict[str, Any]
) -> Iterator[Column]:
    name, doc = prefix + field["name"], field.get("doc", "")
    avro, null = _without_null(field["type"])
    nullable = nullable or null
    if isinstance(avro, str):
        avro = named.get(avro, avro)
    kind = avro["type"] if isinstance(avro, dict) else avro
    if kind == "record":
        yield from _columns(avro, f"{name}.", nullable, named)
    elif kind == "enum":
        named[avro["name"]] = avro
        yield Column(name, _few("String", nullable), doc=doc)
    elif kind == "array":
        yield Column(name, f"Array({_SCALARS[_scalar(avro['items'])]})", "array", doc)
    elif kind == "map":
        values = _SCALARS[_scalar(avro["values"])]
        yield Column(name, f"Map(LowCardinality(String), {values})", "map", doc)
    elif isinstance(avro, dict) and avro.get("logicalType") == "timestamp-millis":
        yield Column(name, _maybe(_TIME, nullable), "time", doc)
    elif kind == "string" and (field["name"] in _FEW_VALUES or prefix == f"{FEATURES}."):
        yield Column(name, _few("String", nullable), doc=doc)
    else:
        yield Column(name, _maybe(_SCALARS[_scalar(kind)], nullable), doc=doc)


def _without_null(avro: Any) -> tuple[Any, bool]:
    if not isinstance(avro, list):
        return avro, False
    others = [one for one in avro if one != "null"]
    if len(others) != 1:
        raise ValueError(f"a union of {others} has no column type; only null and one type has")
    return others[0], len(others) < len(avro)


def _scalar(avro: Any) -> str:
    kind = avro["type"] if isinstance(avro, dict) else avro
    if kind not in _SCALARS:
        raise ValueError(f"the Avro type {avro} has no column type in ClickHouse yet")
    return str(kind)


def _maybe(kind: str, nullable: bool) -> str:
    return f"Nullable({kind})" if nullable else kind


def _few(kind: str, nullable: bool) -> str:
    return f"LowCardinality({_maybe(kind, nullable)})"
