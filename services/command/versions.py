"""What commands that ask a model version start from: the task, and the version by its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from services.command.context import Context
from services.command.output import CommandError

if TYPE_CHECKING:
    from streams.roles import Roles
    from streams.task import Task
    from streams.version import Version

VersionOption = Annotated[
    str,
    typer.Option(
        "--version",
        metavar="VERSION",
        help="A role (champion, canary, …), a version's id or the beginning of one.",
    ),
]
VersionArgument = Annotated[
    str,
    typer.Argument(
        metavar="VERSION", help="An id, the beginning of one, or a role that one version has."
    ),
]


@dataclass(frozen=True)
class Chosen:
    """A loaded version of a task, and what it is doing now."""

    task: Task
    version: Version
    role: str


def choose(context: Context, wanted: str) -> Chosen:
    """The version that a person calls ``wanted``. CommandError where there is none."""
    from services.keys import with_keys
    from services.versions import VersionError, find, load
    from streams.task import load_task

    settings = with_keys(context.settings)
    task = load_task(context.contract.reference)
    key = settings.signing_key.get_secret_value().encode()
    try:
        found = find(wanted, settings.artifacts, _roles(context))
        return Chosen(task, load(found, task, key), found.role)
    except VersionError as error:
        raise CommandError(str(error)) from error


def _roles(context: Context) -> Roles | None:
    """All versions' roles; None where no broker answers: ids are enough to score a file."""
    from services.command.registry import read_versions
    from services.deployment import answers

    if not answers(context.kafka["bootstrap.servers"]):
        return None
    return read_versions(context)
