"""``weir sql``: questions to ClickHouse while the system runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from services.command.context import JsonOption, TaskOption, open_context
from services.command.output import CommandError, note, print_table, table

NULL = Text("NULL", style="dim")

MOST_SHOWN = 1000
"""Rows of a table for a person; --format csv and json have no limit."""


NUMERIC = ("Int", "UInt", "Float", "Decimal", "Nullable(Int", "Nullable(UInt", "Nullable(Float")

OWN_FORMAT = re.compile(r"\bFORMAT\s+\w+\s*\Z", re.IGNORECASE)
"""A query that says itself how its result is to be written."""


class Format(StrEnum):
    """How a result is printed."""

    table = "table"
    json = "json"
    csv = "csv"


def sql(
    statement: Annotated[
        str | None,
        typer.Argument(
            help="The query; without it, it is read from stdin. Tables: requests, predictions, …",
            show_default=False,
        ),
    ] = None,
    format_: Annotated[
        Format, typer.Option("--format", "-f", help="json gives an object a line.")
    ] = Format.table,
    as_json: JsonOption = False,
    task: TaskOption = None,
) -> None:
    """Query the running ClickHouse, as a user that can only read."""
    from services.command.clickhouse import client, stream

    context = open_context(task)
    text = (sys.stdin.read() if statement is None else statement).strip().rstrip(";")
    if not text:
        raise CommandError('say what to ask: weir sql "SELECT count() FROM predictions"', code=2)
    connected = client(context)
    chosen = Format.json if as_json else format_
    own = OWN_FORMAT.search(text) is not None
    if chosen is Format.table and not own:
        _print_table(stream(connected, text, "JSONCompactStringsEachRowWithNamesAndTypes"))
        return
    wire = None if own else "JSONEachRow" if chosen is Format.json else "CSVWithNames"
    for chunk in stream(connected, text, wire):
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _print_table(chunks: Iterable[bytes]) -> None:
    import json

    lines = [json.loads(line) for line in islice(_lines(chunks), MOST_SHOWN + 3)]
    if not lines:
        note("done")
        return
    names, types, *found = lines
    shown = table()
    for name, type_ in zip(names, types, strict=True):
        shown.add_column(name, justify="right" if type_.startswith(NUMERIC) else "left")
    for row in found[:MOST_SHOWN]:
        shown.add_row(*(NULL if value in (None, "ᴺᵁᴸᴸ") else Text(value) for value in row))
    print_table(shown)
    if len(found) > MOST_SHOWN:
        note(f"the first {MOST_SHOWN:,} rows; --format csv prints all")


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines as they come: what is not asked for is not read. Only a line feed ends one."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
