"""``weir send``: requests from the command line, and their predictions."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from services.command.context import Context, JsonOption, TaskOption, open_context
from services.command.output import CommandError, note, out, print_error, print_json

if TYPE_CHECKING:
    from services.command.answers import Answers

Rows = Iterator[tuple[int, Mapping[str, Any]]]


def send(
    request: Annotated[
        str | None,
        typer.Argument(
            metavar="JSON",
            help="One request as JSON; without it, JSON lines are read from stdin.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Requests as JSON lines, or as .csv with a header.", show_default=False),
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0, help="Longest wait for the last answer, seconds.")
    ] = 30,
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send requests and print the prediction for each. Without ids, each gets one."""
    if request is not None and file is not None:
        raise CommandError("give one request as JSON or --file, not both", code=2)
    context = open_context(task)
    from services.command.answers import Answers
    from services.command.requests import InputError

    def show(prediction: Mapping[str, Any]) -> None:
        if as_json:
            print_json(prediction)
        else:
            out.print(said(prediction, context.contract.kind), soft_wrap=True)

    with _rows(request, file) as rows, Answers(context, show) as answers:
        try:
            bad = _send_all(rows, context, answers)
        except InputError as error:
            answers.wait(timeout_s)
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            bad = 0
        open_ = answers.wait(timeout_s)
    if open_:
        ids = ", ".join(sorted(open_)[:5]) + (" …" if len(open_) > 5 else "")
        raise CommandError(
            f"{len(open_)} of the requests had no prediction after {timeout_s:g} s: {ids}\n"
            "They are in the topic and will be answered when a worker runs: `weir status` tells."
        )
    if bad:
        raise CommandError(f"{bad} of the requests were not sent")


def _send_all(rows: Rows, context: Context, answers: Answers) -> int:
    """Send each row; returns how many were no requests, each of which has been told."""
    from services.command.requests import InputError
    from services.command.requests import request as request_of

    bad = 0
    for number, given in rows:
        try:
            answers.ask(request_of(given, context.contract.features))
        except InputError as error:
            bad += 1
            print_error(f"line {number} was not sent: {error}")
    return bad


@contextmanager
def _rows(request: str | None, file: Path | None) -> Iterator[Rows]:
    import io

    from services.command.requests import csv_rows, json_lines

    if request is not None:
        yield json_lines(io.StringIO(request))
    elif file is None:
        if sys.stdin.isatty():
            note("one request a line, as JSON; Ctrl-D ends")
        yield json_lines(sys.stdin)
    else:
        lines: TextIO
        try:
            # utf-8-sig: spreadsheets put a byte order mark first.
            lines = file.open(encoding="utf-8-sig", newline="")
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}", code=2) from error
        with lines:
            yield csv_rows(lines) if file.suffix.lower() == ".csv" else json_lines(lines)


def said(prediction: Mapping[str, Any], kind: str) -> str:
    """A prediction as one line for a person."""
    status, answer = prediction["status"], prediction["answer"]
    if status == "rejected":
        return f"{prediction['request_id']}  rejected: {prediction['reason']}"
    shown = {True: "true", False: "false"}.get(answer, answer) if kind == "binary" else answer
    line = f"{prediction['request_id']}  {shown}"
    if prediction["probability"] is not None:
        line += f"  (probability {prediction['probability']:.3f})"
    if prediction["gate_score"] is not None:
        line += f"  gate {prediction['gate_score']:.3f}"
    if status == "deferred":
        line += f"  deferred: {prediction['reason'] or 'held back by the gate'}"
    return line + (f"  {prediction['version']}" if prediction["version"] else "  no model yet")
