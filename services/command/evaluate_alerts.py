"""``weir evaluate alerts``: whether an alert is of one cause, and whether each cause is told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.command.context import JsonOption
from services.command.output import CommandError, note, print_json, print_table, table

if TYPE_CHECKING:
    from services.evaluate.episodes import Told


def alerts(
    as_json: JsonOption = False,
    draws: Annotated[int, typer.Option(min=1, help="Streams of each kind and rate.")] = 5,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Renew the figures of this page.")
    ] = None,
) -> None:
    """Put known causes into the demo's flights: single ones, a season, two hours to weeks apart.

    Some minutes of CPU a draw. The last line printed with --json is one object {rate: {what
    changes: {alerts, pure, causes, named, alerts_with_one_cause, causes_told, …}}, "all": {…}}.
    """
    from services.demo.flights import FlightsError
    from services.evaluate.episodes import HEADS, compare, plain, renew, rows_of
    from services.evaluate.report import ReportError

    def passed(name: str, told: Told) -> None:
        note(f"{name}: {told.alerts} alerts, {told.pure} of one cause; {told.findings} findings")

    if report is not None and not report.is_file():
        raise CommandError(f"{report}: there is no such page", code=2)
    try:
        found = compare(draws, passed=passed)
        if report is not None:
            renew(report, found, f"{datetime.now(UTC):%Y-%m-%d}")
    except (FlightsError, ReportError) as error:
        raise CommandError(str(error)) from error
    if as_json:
        print_json(plain(found))
        return
    shown = table(*HEADS, right=HEADS[2:])
    for cells in rows_of(found):
        shown.add_row(*cells)
    print_table(shown)
