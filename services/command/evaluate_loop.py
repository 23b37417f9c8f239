"""``weir evaluate loop``: whether triggers retrain better than a calendar, measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.command.context import JsonOption
from services.command.output import (
    CommandError,
    err,
    note,
    print_json,
    print_table,
    table,
    time_text,
)

if TYPE_CHECKING:
    from services.evaluate.loop import Found


def loop(
    as_json: JsonOption = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Without the windowed features of the task.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Every tenth flight up to June, few trees: a test.")
    ] = False,
    fit_only: Annotated[
        bool,
        typer.Option("--fit-only", help="Weir's trainings are fits alone: no drift, no refusal."),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Renew the figures of this page, both ways, and plot."),
    ] = None,
) -> None:
    """Replay March to December of the flights: never, monthly, or when Weir's triggers ask.

    The same estimator on the same inputs, in event time, each label known when it became known.
    Some ten minutes of CPU. The last line printed with --json is one object {"never",
    "monthly_all", "monthly_last_2", "weir", "weir_batch", "continual": {"auc", "log_loss",
    "retrainings"}}: means of the months, and retrainings after the first model. weir_batch: Weir
    without the model that learns from each outcome; continual: that alone.
    """
    from services.evaluate.environments import EnvironmentFailed
    from services.evaluate.loop_report import renew
    from services.evaluate.report import ReportError

    if report is not None and not report.is_file():
        raise CommandError(f"{report}: there is no such page", code=2)
    if report is not None and (plain or quick):
        raise CommandError("a report has all figures: leave out --plain and --quick", code=2)
    found = _compared(not plain, quick, fit_only)
    if report is not None:
        try:
            renew(report, found, _compared(False, quick, fit_only))
        except (EnvironmentFailed, ReportError) as error:
            raise CommandError(str(error)) from error
    if as_json:
        print_json(found.plain())
        return
    _show(found)


def _compared(windowed: bool, quick: bool, fit_only: bool) -> Found:
    from rich.progress import Progress

    from services.demo.flight_delay import FlightDelay
    from services.evaluate.loop import DRAWS, compare
    from services.evaluate.loop_policy import CONTINUAL, RETRAIN
    from services.evaluate.loop_world import world

    less: dict[str, Any] = (
        {"upto": 6, "every": 10, "settings": {"max_iter": 20, "learning_rate": 0.2}}
        if quick
        else {}
    )
    with Progress(console=err, transient=True) as progress:
        bar = progress.add_task("the flights", total=1.0)

        def say(what: str, done: float) -> None:
            progress.update(bar, description=what, completed=done)

        draws = 5 if quick else DRAWS
        task = replace(FlightDelay, triggers=RETRAIN, continual=CONTINUAL)
        return compare(world(task, windowed, **less), say, draws, fit_only)


def _show(found: Found) -> None:
    names = list(found.scores)
    titles = [f"AUC {name}" for name in names] + [f"log loss {name}" for name in names]
    shown = table("month", *titles, right=tuple(titles))
    scores = list(found.scores.values())
    for i, month in enumerate(scores[0].months):
        cells = [one.auc[i] for one in scores] + [one.log_loss[i] for one in scores]
        shown.add_row(str(month), *(f"{cell:.4f}" for cell in cells))
    cells = [one.mean_auc for one in scores] + [one.mean_log_loss for one in scores]
    shown.add_row("mean", *(f"{cell:.4f}" for cell in cells))
    print_table(shown)
    for one in found.replayed.retrainings:
        note(f"{time_text(one.at)}  {one.reason}")
    auc, loss = found.lead["auc"], found.lead["log_loss"]
    note(
        f"weir against monthly_all: AUC {auc[0]:+.4f} (95 %: {auc[1]:+.4f} to {auc[2]:+.4f}), "
        f"log loss {-loss[0]:+.4f} ({-loss[2]:+.4f} to {-loss[1]:+.4f}); "
        f"{', '.join(f'{n} {s.retrainings}' for n, s in found.scores.items())} retrainings"
    )
