"""``weir evaluate``: what Weir's methods are worth on data whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.command.context import JsonOption
from services.command.evaluate_alerts import alerts
from services.command.evaluate_drift import drift
from services.command.evaluate_gate import gate
from services.command.evaluate_labelling import labelling
from services.command.evaluate_lifecycle import lifecycle
from services.command.evaluate_loop import loop
from services.command.evaluate_rollout import rollout
from services.command.evaluate_verdict import verdict
from services.command.evaluate_volume import volume
from services.command.evaluate_weights import weights
from services.command.output import CommandError, err, note, out, print_json, print_table, table

if TYPE_CHECKING:
    from services.demo.monthly import Month

app = typer.Typer(no_args_is_help=True, help="Measure Weir's methods on data with known truth.")


@app.callback()
def evaluate() -> None:
    """Measure Weir's methods on data with known truth."""


@app.command()
def features(as_json: JsonOption = False) -> None:
    """The demo's flights with and without windowed features: retrained monthly, March to December.

    Some minutes. With --json the last line is {"without": {...}, "with": {...}}, each with the
    mean "auc" and "log_loss" over the months.
    """
    from rich.progress import Progress

    from services.demo.flight_delay import FlightDelay
    from services.demo.flights import load_flights
    from services.demo.monthly import MONTHS, compared

    months: dict[str, list[Month]] = {"without": [], "with": []}
    with Progress(console=err, transient=True) as progress:
        bar = progress.add_task("training", total=2 * len(MONTHS))

        def passed(name: str, month: Month) -> None:
            months[name].append(month)
            progress.update(bar, advance=1)

        found = compared(FlightDelay, load_flights(), passed)
    if as_json:
        print_json(found)
        return
    shown = table("month", "AUC without", "with", "log loss without", "with", right=("month",))
    for plain, windowed in zip(months["without"], months["with"], strict=True):
        shown.add_row(
            str(plain.month),
            *(f"{one.auc:.4f}" for one in (plain, windowed)),
            *(f"{one.log_loss:.4f}" for one in (plain, windowed)),
        )
    shown.add_row(
        "mean",
        *(f"{found[name]['auc']:.4f}" for name in ("without", "with")),
        *(f"{found[name]['log_loss']:.4f}" for name in ("without", "with")),
    )
    print_table(shown)


@app.command()
def estimates(
    as_json: JsonOption = False,
    data: Annotated[
        str, typer.Option(metavar="NAME,…", help="These data sets only.", show_default=False)
    ] = "",
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Renew the figures of this page.")
    ] = None,
) -> None:
    """Estimate metrics without labels on NannyML's data sets and the flights, as NannyML does.

    NannyML runs in an environment of its own, made on the first run. The last line printed with
    --json is one object {data set: {metric: {weir_mae, nannyml_mae}}}, of the metrics that NannyML
    estimates. The line before it has log loss, which it does not estimate, beside what follows from
    the probabilities that its CBPE calibrates: {"derived": {data set: {...}}}.
    """
    from services.evaluate.comparison import NAMES, compare
    from services.evaluate.environments import EnvironmentFailed
    from services.evaluate.report import DERIVED, ReportError, derived, plain, renew

    names = tuple(name for name in data.split(",") if name) or NAMES
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        known = ", ".join(NAMES)
        raise CommandError(f"no data set {', '.join(unknown)}; there are {known}", code=2)
    if report is not None and not report.is_file():
        raise CommandError(f"{report}: there is no such page", code=2)
    try:
        found = compare(names, note)
        if report is not None:
            renew(report, found)
    except (EnvironmentFailed, ReportError) as error:
        raise CommandError(str(error)) from error
    if as_json:
        print_json({"derived": derived(found)})
        print_json(plain(found))
        return
    shown = table("data set", "metric", "Weir off by", "NannyML off by", right=("Weir off by",))
    for name, metrics in found.items():
        for metric, one in metrics.items():
            theirs = f"{one.nannyml_mae:.5f}{' *' if metric in DERIVED else ''}"
            shown.add_row(name, metric, f"{one.weir_mae:.5f}", theirs)
    print_table(shown)
    out.print("mean absolute error of the estimates over the chunks; * NannyML has no estimate: it")
    out.print("is what follows from the probabilities that its CBPE calibrates")


app.command()(alerts)
app.command()(drift)
app.command()(gate)
app.command()(labelling)
app.command()(rollout)
app.command()(verdict)
app.command()(volume)
app.command()(weights)
app.command()(loop)
app.command()(lifecycle)
