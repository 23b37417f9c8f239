"""``weir evaluate drift``: detectors of drift on streams whose changes are known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.command.context import JsonOption
from services.command.output import CommandError, note, out, print_json, print_table, table


def drift(
    quick: Annotated[
        bool, typer.Option("--quick", help="A minute: few draws of few streams, no peers.")
    ] = False,
    times: Annotated[
        int, typer.Option(min=1, metavar="N", help="N times as many draws, for narrower figures.")
    ] = 1,
    as_json: JsonOption = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Renew the figures of this page.")
    ] = None,
) -> None:
    """Measure false alarms, delays and cost of Weir's detectors and of its peers'.

    river's detectors run here, alibi-detect and NannyML in environments of their own, made on the
    first run. Some minutes on two quiet cores; stopped and run again it goes on where it was, by
    what it keeps in WEIR_HOME. The last line (with --json or --report) is one object {detector:
    {stream: {"false_alarms_per_million", "delay_median", "missed", "cpu_s_per_million"}}}, null
    where a figure has no meaning; "weir" is the whole policy, "weir_<kind>" its findings of a kind.
    """
    from services.demo.flights import FlightsError
    from services.deployment import current
    from services.evaluate.drift.comparison import QUICK, Plan, compare
    from services.evaluate.drift.report import renew
    from services.evaluate.environments import EnvironmentFailed
    from services.evaluate.report import ReportError

    if report is not None and not report.is_file():
        raise CommandError(f"{report}: there is no such page", code=2)
    try:
        found = compare(
            (QUICK if quick else Plan()).times(times), note, current().home / "evaluate" / "drift"
        )
        if report is not None:
            renew(report, found)
    except (EnvironmentFailed, FlightsError, ReportError) as error:
        raise CommandError(str(error)) from error
    if as_json or report is not None:
        print_json(found.plain())
        return
    shown = table("detector", "stream", "false per million", "delay", "missed", "CPU s per million")
    for detector, by_stream in found.judged.items():
        for stream, one in by_stream.items():
            figures = one.plain()
            told = ["–" if value is None else f"{value:,.4g}" for value in figures.values()]
            shown.add_row(detector, stream, *told)
    print_table(shown)
    out.print(f"longest stationary run without a finding: {found.longest:,} records")
