"""ClickHouse as a reader: what ``weir sql`` and ``weir trace`` ask it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError as DriverError

from schemas.topics import Topic
from services.command.context import Context
from services.command.output import CommandError


class ClickHouseError(CommandError):
    """ClickHouse does not answer or refused the statement; the message is its own."""


def client(context: Context, database: str | None = None) -> Client:
    """A client that may read only. ClickHouseError where nobody answers."""
    where = context.settings.clickhouse()
    try:
        return clickhouse_connect.get_client(
            **where,
            database=database,
            autogenerate_session_id=False,
            connect_timeout=3,
            query_retries=0,
        )
    except (DriverError, OSError) as error:
        raise ClickHouseError(
            f"no ClickHouse answers on {where['host']}:{where['port']} ({first_line(error)}). "
            "Is the system running? `weir status` tells, `weir up` starts it."
        ) from error


def stream(client: Client, statement: str, format_: str) -> Iterator[bytes]:
    """The result as ClickHouse writes it in one of its formats, in chunks."""
    try:
        with client.raw_stream(statement, fmt=format_) as answer:
            while chunk := answer.read(1 << 16):
                yield chunk
    except DriverError as error:
        raise ClickHouseError(first_line(error)) from error


def rows(client: Client, statement: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """The result as dicts."""
    try:
        answer = client.raw_query(statement, parameters=parameters, fmt="JSONEachRow")
    except DriverError as error:
        raise ClickHouseError(first_line(error)) from error
    return [json.loads(line) for line in answer.splitlines()]


@dataclass(frozen=True)
class Row:
    """A record as its table holds it, with its origin."""

    topic: Topic
    partition: int
    offset: int
    time: int
    value: dict[str, Any]


def request_rows(context: Context, topics: Sequence[Topic], request_id: str) -> list[Row]:
    """Every row about a request, in the tables of these topics."""
    raise ClickHouseError("not asked")


def first_line(error: Exception) -> str:
    """What went wrong, without the driver's wrapping and the server's stack trace."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
