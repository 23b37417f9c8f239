"""``weir evaluate lifecycle``: from a trigger to a champion, a refusal, and a rollback."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from services.command.context import JsonOption
from services.command.output import CommandError, err, note, print_json


def lifecycle(
    as_json: JsonOption = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Renew the figures of this page.")
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(help="An empty folder for the system; kept afterwards.", show_default=False),
    ] = None,
) -> None:
    """Replay flights through a system of its own until a version was promoted, one refused, and a
    bad one rolled back; tell the times of each step and every decision.

    Some ten minutes. The last line printed with --json is one object {"promotion", "refusal",
    "rollback", "counted", "seconds"}.
    """
    from services.command.own_system import own_system
    from services.evaluate.lifecycle import TASK, Life, LifecycleError, begun_in
    from services.evaluate.lifecycle_report import renew
    from services.evaluate.report import ReportError

    if report is not None and not report.is_file():
        raise CommandError(f"{report}: there is no such page", code=2)
    folder = (home or Path(tempfile.mkdtemp(prefix="weir-lifecycle-"))).resolve()
    try:
        begun_in(folder)
        with own_system(folder, TASK) as own:
            started = own.started
            found = Life(started.task, started.contract, started.settings, own.stop, note).live()
        if report is not None:
            renew(report, found)
    except (LifecycleError, ReportError) as error:
        raise CommandError(f"{error}\n{folder} has the logs and the data") from error
    if home is None:
        shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json(found)
    else:
        err.print_json(data=found)
