"""``weir evaluate rollout``: how often rollouts err, and how many outcomes they need."""

from __future__ import annotations

from typing import Annotated

import typer

from services.command.context import JsonOption
from services.command.output import err, print_json, print_table, table


def rollout(
    streams: Annotated[int, typer.Option(min=10, help="Simulated streams of each kind.")] = 200,
    most: Annotated[int, typer.Option(min=500, help="Outcomes of a stream at most.")] = 10_000,
    as_json: JsonOption = False,
) -> None:
    """Simulated versions, as good, better and worse than the champion, looked at every 50 outcomes.

    Some minutes. The last line printed with --json is one object {"level": {strategy: {promoted,
    refused, stated}}, of versions that are no better and no worse, "outcomes": {difference:
    {strategy: {median, promoted, refused}}}, "regret": {difference: {ab, bandit}}}.
    """
    from rich.progress import Progress

    from services.evaluate.rollouts import STEPS, evaluate

    with Progress(console=err, transient=True) as progress:
        bar = progress.add_task("streams", total=STEPS)
        found = evaluate(streams, most, lambda: progress.advance(bar))
    if as_json:
        print_json(found)
        return
    shown = table("a version as good as the champion", "promoted", "refused", "stated at most")
    for name, one in found["level"].items():
        refused = one.get("refused")
        cells = (one["promoted"], refused, one["stated"])
        shown.add_row(name, *("" if cell is None else f"{cell:.3f}" for cell in cells))
    print_table(shown)
    shown = table("difference of the Brier score", "strategy", "outcomes needed", "decided")
    for difference, strategies in found["outcomes"].items():
        for name, one in strategies.items():
            median = "more" if one["median"] is None else f"{one['median']:,.0f}"
            said = ", ".join(f"{k} {v:.0%}" for k, v in one.items() if k != "median")
            shown.add_row(difference, name, median, said)
    print_table(shown)
    shown = table("difference", "strategy", "regret", "outcomes", "decided")
    for difference, arms in found["regret"].items():
        for name, one in arms.items():
            decided = f"{one['decided']:.0%}"
            shown.add_row(
                difference, name, f"{one['mean']:.1f}", f"{one['outcomes']:,.0f}", decided
            )
    print_table(shown)
