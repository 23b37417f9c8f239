"""``weir init``: a task's file to start from, which runs as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from services.command.output import CommandError, out

TEMPLATE = Path(__file__).parent / "task_template.py.txt"


def init(
    name: Annotated[str, typer.Argument(help="The task's name: lower case, digits, _.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write NAME.py, a commented task that runs at once: weir up --task NAME.py:Name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise CommandError(
            f"{name!r} cannot name a task: lower-case letters, digits and underscores, a letter "
            "first (it becomes the prefix of topics and the name of a database)",
            code=2,
        )
    path = Path(f"{name}.py")
    if path.exists() and not force:
        raise CommandError(f"{path} is there already; --force replaces it")
    variable = variable_name(name)
    text = TEMPLATE.read_text("utf-8").replace("@NAME@", name).replace("@VARIABLE@", variable)
    path.write_text(text, "utf-8")
    out.print(f"{path} written. Run it:\n  weir up --task {path}:{variable}")


def variable_name(name: str) -> str:
    """``flight_delay`` → ``FlightDelay``."""
    return "".join(part.title() for part in name.split("_"))
