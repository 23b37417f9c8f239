"""``weir models promote|rollback|archive``: roles given by hand, each recorded with who and why."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from services.command.context import Context, JsonOption, TaskOption, open_context
from services.command.output import note, out, print_json, time_text
from services.command.versions import VersionArgument
from services.command.who import user_at_host

if TYPE_CHECKING:
    from services.moves import Asked

Why = Annotated[str, typer.Option("--why", help="Why, in words; it is kept with the version.")]
By = Annotated[
    str | None,
    typer.Option("--by", help="Who asks for it.  [default: user@host]", show_default=False),
]


def promote(
    version: VersionArgument,
    why: Why,
    role: Annotated[
        Literal["champion", "canary", "shadow", "candidate"],
        typer.Option("--as", help="The role it gets."),
    ] = "champion",
    share: Annotated[
        float, typer.Option(min=0, max=1, help="Of the requests, for a canary or candidate.")
    ] = 0.0,
    force: Annotated[bool, typer.Option("--force", help="Also one that was rejected.")] = False,
    by: By = None,
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a version a role; the champion before it becomes archived, ready for a rollback."""
    asked = _asked("promote", version, role=role, share=share, force=force)
    _act(open_context(task), asked, by, why, as_json)


def rollback(
    why: Why,
    to: Annotated[
        str, typer.Option("--to", metavar="VERSION", help="Not the one before, but this one.")
    ] = "",
    by: By = None,
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the champion before back in service at once; the present one becomes archived."""
    _act(open_context(task), _asked("rollback", to), by, why, as_json)


def archive(
    version: VersionArgument,
    why: Why,
    by: By = None,
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """End what a version does; a rollback does not go back to it any more."""
    _act(open_context(task), _asked("archive", version), by, why, as_json)


def _asked(act: Literal["promote", "rollback", "archive"], version: str, **more: Any) -> Asked:
    from services.moves import Asked

    return Asked(act, version, **more)


def _act(context: Context, asked: Asked, by: str | None, why: str, as_json: bool) -> None:
    from services.keys import with_keys
    from services.moves import Act
    from services.moving import act_once
    from streams.task import load_task

    act = Act(user_at_host() if by is None else by, why, time.time_ns() // 1_000_000)
    task = load_task(context.contract.reference)
    records = act_once(with_keys(context.settings), task, asked, act)
    if as_json:
        print_json([{**r.record(), "changed_at": time_text(r.changed_at)} for r in records])
        return
    for record in records:
        out.print(f"{record.version} {record.role}")
    note(f"recorded, by {act.by}; every worker loads it and swaps between two of its batches")
