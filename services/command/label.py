"""``weir label``: a person answers what the models are least sure of."""

from __future__ import annotations

import contextlib
import getpass
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.command.context import Context, JsonOption, TaskOption, open_context
from services.command.output import CommandError, note, print_json

if TYPE_CHECKING:
    from services.labelling.queue import Queue


def label(
    n: Annotated[int, typer.Option("--n", min=1, max=10_000, help="Inputs at most.")] = 20,
    by: Annotated[
        str | None,
        typer.Option(help="Your name: nobody else is asked what you look at.", show_default=False),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Write inputs to a CSV file, to be filled in.", show_default=False),
    ] = None,
    import_: Annotated[
        Path | None,
        typer.Option("--import", help="Send the answers of such a file.", show_default=False),
    ] = None,
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer the inputs whose truth is worth most; --json only lists them."""
    if export is not None and import_ is not None:
        raise CommandError("give --export or --import, not both", code=2)
    if not (as_json or export or import_) and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError(
            "this is no terminal: --json lists the queue, --export FILE.csv and --import FILE.csv "
            "take it elsewhere and back",
            code=2,
        )
    person = by or _user()
    context = open_context(task)
    with _queue(context) as queue:
        if import_ is not None:
            _import(queue, person, import_, as_json)
        elif export is not None:
            _export(queue, person, n, export, as_json)
        elif as_json:
            for item in queue.peek(n):
                print_json(item.record())
        else:
            _ask(queue, person, n)


@contextlib.contextmanager
def _queue(context: Context) -> Iterator[Queue]:
    from services.command.clickhouse import ClickHouseError
    from services.labelling.opening import FAILURES, open_queue, why

    queue = open_queue(context.settings, context.contract)
    try:
        yield queue
    except FAILURES as error:
        raise ClickHouseError(
            f"{why(error)}. Is the system running? `weir status` tells, `weir up` starts it."
        ) from error


def _ask(queue: Queue, person: str, n: int) -> None:
    import click

    from services.command.labelling import Session, Terminal

    get: Callable[[], str] = click.getchar
    try:
        done = Session(queue, person, Terminal(queue.contract), get).run(n)
    finally:
        queue.release(person)
    note(f"{done} answered; {said(queue)}")


def said(queue: Queue) -> str:
    """The queue in one line."""
    state = queue.state()
    return (
        f"{state.waiting:,} wait ({state.deferred:,} deferred), "
        f"{state.left:,} of the budget of {state.budget:,} are left"
    )


def _export(queue: Queue, person: str, n: int, path: Path, as_json: bool) -> None:
    from services.labelling import sheets
    from services.labelling.queue import SHEET_LEASE_MS

    items = queue.next(person, n, SHEET_LEASE_MS)
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            sheets.write(file, queue.contract, items)
    except OSError as error:
        queue.release(person)
        raise CommandError(f"{path} cannot be written: {error.strerror}", code=2) from error
    if as_json:
        print_json({"written": len(items), "file": str(path)})
    else:
        note(
            f"{len(items)} inputs are in {path}, kept from others for a day; fill in the column "
            f"{queue.contract.target} and send them: weir label --import {path}"
        )


def _import(queue: Queue, person: str, path: Path, as_json: bool) -> None:
    from services.labelling import sheets

    try:
        # utf-8-sig: spreadsheets put a byte order mark first.
        with path.open(encoding="utf-8-sig", newline="") as file:
            sheet = sheets.read(file, queue.contract)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise CommandError(f"{path} cannot be read: {reason}", code=2) from error
    left_out = queue.answer_all(person, sheet.answers, sheet.chosen)
    sent = len(sheet.answers) - len(left_out)
    if as_json:
        print_json({"sent": sent, "left_out": dict(left_out)})
        return
    for id_, reason in left_out.items():
        note(f"{id_} was left out: {reason}")
    note(f"{sent} answers sent; {said(queue)}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"
