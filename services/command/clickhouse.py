"""ClickHouse as a reader: what ``weir sql`` and ``weir trace`` ask it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError as DriverError

from schemas.records import Schema
from schemas.topics import Topic
from services.command.context import Context
from services.command.decoding import bytes_fields, time_fields
from services.command.output import CommandError


class ClickHouseError(CommandError):
    """ClickHouse does not answer or refused the statement; the message is its own."""


def client(context: Context) -> Client:
    """A client that may read only, in the task's database. ClickHouseError without an answer."""
    where = context.settings.clickhouse()
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # what matters is raised
    try:
        connected = clickhouse_connect.get_client(
            **where, autogenerate_session_id=False, connect_timeout=3, query_retries=0
        )
    except (DriverError, OSError) as error:
        raise ClickHouseError(
            f"no ClickHouse answers on {where['host']}:{where['port']}. Is the system running? "
            "`weir status` tells, `weir up` starts it."
        ) from error
    connected.database = context.contract.task
    return connected


def stream(client: Client, statement: str, format_: str | None) -> Iterator[bytes]:
    """The result as ClickHouse writes it in a format (None: the statement's own), in chunks."""
    try:
        with client.raw_stream(statement, fmt=format_) as answer:
            while chunk := answer.read(1 << 16):
                yield chunk
    except DriverError as error:
        raise ClickHouseError(said_by(error)) from error


def rows(client: Client, statement: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """The result as dicts."""
    try:
        answer = client.raw_query(statement, parameters=parameters, fmt="JSONEachRow")
    except DriverError as error:
        raise ClickHouseError(said_by(error)) from error
    # Only a line feed ends a row: text may hold what else splitlines() takes for an end.
    return [json.loads(line) for line in answer.decode(errors="replace").split("\n") if line]


@dataclass(frozen=True)
class Row:
    """A record as its table holds it, with its origin."""

    topic: Topic
    partition: int
    offset: int
    time: int
    value: dict[str, Any]


def request_rows(context: Context, topics: Sequence[Topic], request_id: str) -> list[Row]:
    """Every row about a request, in the tables of these topics, each once."""
    connected = client(context)
    found: list[Row] = []
    for topic in topics:
        schema = context.contract.schemas[topic.record]
        # JSON is text, and the bytes of a dead letter are not.
        as_hex = ", ".join(f"hex(`{name}`) AS `{name}`" for name in bytes_fields(schema))
        statement = (
            f"SELECT *{f' REPLACE ({as_hex})' if as_hex else ''}, "
            f"toUnixTimestamp64Milli(_timestamp) AS _millis FROM `{topic.table}` "
            "WHERE request_id = {id:String} LIMIT 1 BY _partition, _offset"
        )
        for row in rows(connected, statement, {"id": request_id}):
            place = int(row["_partition"]), int(row["_offset"]), int(row["_millis"])
            found.append(Row(topic, *place, _record(row, schema)))
    return found


def _record(row: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """A row as its record: nested again, without its origin, times as in the topics."""
    record: dict[str, Any] = {}
    for path, value in row.items():
        if path.startswith("_"):
            continue
        *outer, name = path.split(".")
        inner = record
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[name] = value
    for name in bytes_fields(schema):
        if record.get(name) is not None:
            record[name] = bytes.fromhex(record[name])
    for name in time_fields(schema):
        if record.get(name):
            record[name] = f"{record[name].replace(' ', 'T')}Z"
    return record


def said_by(error: Exception) -> str:
    """What went wrong, without the driver's wrapping and the server's stack trace."""
    text = str(error).strip()
    said = re.search(r"DB::Exception: (.*?)(?: \(version [^)]*\))?(?: \(for url .*)?$", text, re.S)
    return said[1].strip() if said else text or type(error).__name__
