"""``weir evaluate verdict``: whether what judges a new version errs as seldom as it says."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from services.command.context import JsonOption
from services.command.output import err, note, print_json, print_table, table


def verdict(
    draws: Annotated[int, typer.Option(min=10, help="Streams that are drawn of each kind.")] = 1000,
    as_json: JsonOption = False,
) -> None:
    """The paired test of the verdict beside others, on streams whose true difference is known.

    Made-up ones, and two models' losses on the flights. Some three minutes of CPU. With --json a
    line each, and last one {"level": {stream: {test: share}}, "accepted": {rows: {difference:
    share}}}.
    """
    from rich.progress import Progress

    from services.demo.flight_delay import FlightDelay
    from services.evaluate.judging import (
        BETTER,
        DIFFERENCES,
        LEVEL,
        TESTS,
        accepted,
        flights,
        levels,
    )
    from services.evaluate.loop_world import world

    with Progress(console=err, transient=True) as progress:
        bar = progress.add_task("two models of the flights", total=None)
        real = flights(world(FlightDelay, windowed=False))
        progress.update(bar, description="streams")
        found: list[dict[str, Any]] = []
        for one in levels(real, draws):
            found.append(one)
            if as_json:
                print_json(one)
        rule = []
        for one in accepted(real, draws):
            rule.append(one)
            if as_json:
                print_json(one)
    if as_json:
        print_json({"level": _by_stream(found), "accepted": _by_rows(rule)})
        return
    heads = ("stream", "rows", *TESTS)
    shown = table(*heads, right=heads[1:])
    for measure, words in (("level", ""), ("power", f", {BETTER:.0%} better")):
        streams: dict[tuple[str, int], list[str]] = {}
        for one in found:
            if measure in one:  # by test, in their order
                share = f"{one[measure]:.1%}"
                streams.setdefault((one["stream"], one["rows"]), []).append(share)
        for (stream, count), shares in streams.items():
            shown.add_row(f"{stream}{words}", f"{count:,}", *shares)
    note(f"how often a test at {LEVEL:.0%} finds the newcomer better")
    print_table(shown)
    heads = ("rows", "rule", *(f"{greater:+.0%}" for greater in DIFFERENCES))
    shown = table(*heads, right=heads[2:])
    for rows in dict.fromkeys(one["rows"] for one in rule):
        of_rows = [one for one in rule if one["rows"] == rows]
        for unsure in ("estimate", "refuse"):
            shown.add_row(f"{rows:,}", unsure, *(f"{one[unsure]:.1%}" for one in of_rows))
    note("how often a newcomer passes, by how much greater its loss is")
    print_table(shown)


def _by_stream(found: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    told: dict[str, dict[str, float]] = {}
    for one in found:
        told.setdefault(f"{one['stream']}, {one['rows']} rows", {})[one["test"]] = one["level"]
    return told


def _by_rows(rule: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    told: dict[str, dict[str, dict[str, float]]] = {}
    for one in rule:
        shares = {unsure: one[unsure] for unsure in ("estimate", "refuse")}
        told.setdefault(str(one["rows"]), {})[f"{one['greater']:+g}"] = shares
    return told
