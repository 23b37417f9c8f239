"""``weir evaluate volume``: what the watch over clients' volume is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from services.command.context import JsonOption
from services.command.output import err, print_json, print_table, table

if TYPE_CHECKING:
    from services.evaluate.volume import Found


def volume(
    as_json: JsonOption = False,
    hours: Annotated[int, typer.Option(min=3, help="Event time without a jump.")] = 48,
    jumps: Annotated[int, typer.Option(min=1, help="Jumps of each kind of client.")] = 100,
) -> None:
    """Simulated clients, thousands of them: false alarms without a jump, delays of tenfold ones.

    Some minutes. The last line printed with --json is one object
    {"weir": {stream: {false_alarms_per_million, delay_median, missed, cpu_s_per_million, …}}};
    delays are seconds of event time.
    """
    from services.evaluate.volume import compare

    names = ("stream", "requests", "false alarms", "missed", "delay s", "p90 s", "CPU s a million")
    shown = table(*names, right=names[1:])

    def passed(name: str, found: Found) -> None:
        err.print(f"{name}: {found.requests:,} requests", style="dim")

    measured = compare(hours, jumps, passed)
    if as_json:
        print_json(measured)
        return
    for name, one in measured["weir"].items():
        cells = (one["missed"], one["delay_median"], one["delay_p90"], one["cpu_s_per_million"])
        shown.add_row(
            name,
            f"{one['requests']:,}",
            f"{one['false_alarms_per_million'] * one['requests'] / 1e6:.0f}",
            *("" if cell is None else f"{cell:.3g}" for cell in cells),
        )
    print_table(shown)
