"""What the commands print: results on stdout, everything said to a person on stderr."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from schemas.moments import moment

out = Console(highlight=False, markup=False, emoji=False)
"""Results. No markup anywhere: what is printed may hold brackets of its own."""

err = Console(stderr=True, highlight=False, markup=False, emoji=False)
"""Progress, notes and errors."""


class CommandError(Exception):
    """The command failed; the message is for the person who typed it.

    ``code`` is the exit code: 1 it failed, 2 it was asked for something that cannot be.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def print_json(value: Any) -> None:
    """One JSON value on one line of stdout, at once."""
    sys.stdout.write(json.dumps(value, default=_plain, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_error(message: str) -> None:
    """An error, on stderr."""
    err.print("weir:", style="bold red", end=" ")
    err.print(message, soft_wrap=True)


def note(message: str) -> None:
    """Something worth knowing, on stderr."""
    err.print(message, style="dim", soft_wrap=True)


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table; ``right`` names the columns of numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        number = column in right
        made.add_column(column, justify="right" if number else "left", no_wrap=number)
    return made


def print_table(made: Table) -> None:
    """A table; where stdout is no terminal, as wide as it needs to be."""
    if out.is_terminal:
        out.print(made)
    else:
        Console(width=10_000, highlight=False, markup=False, emoji=False).print(made)


def time_text(millis: int | None) -> str:
    """Milliseconds since 1970 as ISO 8601 in UTC; empty for None."""
    if millis is None:
        return ""
    return moment(millis).isoformat(timespec="milliseconds")[:-6] + "Z"


def span_text(millis: int) -> str:
    """A duration in the largest unit that divides it well: ``7 d``, ``36 h``, ``90 s``."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if millis % size == 0 and millis >= size:
            return f"{millis // size} {unit}"
    return f"{millis} ms"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    return str(value)
