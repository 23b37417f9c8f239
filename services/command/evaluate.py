"""``weir evaluate``: what Weir's methods are worth on data whose truth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from services.command.context import JsonOption
from services.command.output import err, print_json, print_table, table

if TYPE_CHECKING:
    from services.demo.monthly import Month

app = typer.Typer(no_args_is_help=True, help="Measure Weir's methods on data with known truth.")


@app.callback()
def evaluate() -> None:
    """Measure Weir's methods on data with known truth."""


@app.command()
def features(as_json: JsonOption = False) -> None:
    """The demo's flights with and without windowed features: retrained monthly, March to December.

    Some two minutes. With --json the last line is {"without": {...}, "with": {...}}, each with the
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
