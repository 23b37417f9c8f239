"""A task's database in ClickHouse: made where it is not there, changed where the task changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from clickhouse_connect.driver.client import Client

from schemas.records import Schema
from schemas.topics import TOPICS
from services.migrations import load, migrate
from services.sink.tables import Table, definition, quote

# Changes of a column's type that keep every value: Avro's promotions, and becoming nullable.
_WIDER = {
    ("Int32", "Int64"),
    ("Int32", "Float64"),
    ("Int64", "Float64"),
    ("Float32", "Float64"),
    ("String", "LowCardinality(String)"),
    ("LowCardinality(String)", "String"),
}
_PLAIN = re.compile(r"(LowCardinality\()?Nullable\((.*?)\)(\))?\Z")


class DatabaseError(RuntimeError):
    """The database cannot hold the task's records; the message says what to do."""


def tables_of(schemas: Mapping[str, Schema]) -> list[Table]:
    """The tables of a task, given its schemas by record name."""
    return [Table.of(topic, schemas[topic.record]) for topic in TOPICS]


def prepare(client: Client, database: str, tables: Sequence[Table]) -> list[str]:
    """Make or update database, tables and views; returns what was changed, in words.

    Safe to run again and by two processes at once. Raises DatabaseError where a column has a
    type that cannot become the wanted one, MigrationError where a migration was edited.
    """
    client.command(f"CREATE DATABASE IF NOT EXISTS {quote(database)}")
    found: dict[str, dict[str, str]] = {}
    for table_name, name, kind in client.query(
        "SELECT table, name, type FROM system.columns WHERE database = {d:String}",
        parameters={"d": database},
    ).result_rows:
        found.setdefault(table_name, {})[name] = kind
    changed = []
    for table in tables:
        if table.name not in found:
            client.command(table.create(database))
            changed.append(f"{table.name}: created")
        elif needed := changes(database, table, found[table.name]):
            name = f"{quote(database)}.{quote(table.name)}"
            client.command(f"ALTER TABLE {name} " + ", ".join(needed))
            changed += [f"{table.name}: {change}" for change in needed]
    changed += migrate(client, database, load())
    # Made anew at each start: it has the features as its columns, and those may grow.
    client.command(_labelled(database))
    client.command(_weak_labelled(database))
    return changed


def changes(database: str, table: Table, found: Mapping[str, str]) -> list[str]:
    """The parts of an ALTER that make the table's columns what they should be."""
    needed, after = [], ""
    for column in table.all_columns:
        kind = found.get(column.name)
        if kind is None:
            needed.append(f"ADD COLUMN IF NOT EXISTS {definition(column)}{after}")
        elif kind != column.type:
            if not _becomes(kind, column.type):
                raise DatabaseError(
                    f"{database}.{table.name}.{column.name} is a {kind} and the task now has "
                    f"{column.type}: undo the change of the task, or rename the table so that a "
                    "new one is made"
                )
            needed.append(f"MODIFY COLUMN {definition(column)}")
        after = f" AFTER {quote(column.name)}"
    return needed


def _becomes(old: str, new: str) -> bool:
    """Whether every value of the old type is one of the new."""
    old_plain, new_plain = _PLAIN.sub(r"\1\2\3", old), _PLAIN.sub(r"\1\2\3", new)
    if "Nullable(" in old and "Nullable(" not in new:
        return False
    return old_plain == new_plain or (old_plain, new_plain) in _WIDER


def _labelled(database: str) -> str:
    """Each request whose truth is known once, with its newest truth: what a model learns from."""
    return (
        f"CREATE OR REPLACE VIEW {quote(database)}.labelled AS\n"
        "SELECT * EXCEPT (_partition, _offset, _timestamp, _key, _traceparent, _sink)\n"
        f"FROM {quote(database)}.outcomes\n"
        # Rows that are older than the column have '' there.
        "WHERE label != 'weak'\n"
        "ORDER BY revision DESC, _offset DESC\nLIMIT 1 BY request_id"
    )


def _weak_labelled(database: str) -> str:
    """Each request that signals gave a weak label once, with its newest, unless taken back."""
    return (
        f"CREATE OR REPLACE VIEW {quote(database)}.weak_labelled AS\n"
        "SELECT * EXCEPT (_partition, _offset, _timestamp, _key, _traceparent, _sink)\n"
        f"FROM (SELECT * FROM {quote(database)}.outcomes WHERE label = 'weak' "
        "ORDER BY revision DESC, _offset DESC LIMIT 1 BY request_id)\n"
        "WHERE weight > 0"
    )
