"""``weir evaluate labelling``: whether the queue chooses better than chance, measured."""

from __future__ import annotations

from typing import Annotated

import typer

from services.command.context import JsonOption
from services.command.output import err, note, print_json, print_table, table


def labelling(
    seeds: Annotated[int, typer.Option(min=2, help="Repetitions, each about 10 s of CPU.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Train on labels that the queue chose and on as many that chance chose; compare the AUC.

    A closed loop on the demo's flights, of which few are labelled at first. With --json a line a
    seed, and last {"flights": {...}} with the means, the queue's lead over chance and its
    standard error.
    """
    from rich.progress import Progress

    from services.labelling.proof import evaluate, summary

    found = []
    with Progress(console=err, transient=True) as progress:
        bar = progress.add_task("seeds", total=seeds)
        for one in evaluate(seeds):
            found.append(one)
            if as_json:
                print_json(one)
            progress.advance(bar)
    told = summary(found)
    if as_json:
        print_json({"flights": told})
        return
    shown = table("labels", "chosen by", "AUC", right=("labels", "AUC"))
    shown.add_row(f"{told['labels_at_start']:,}", "chance", f"{told['start']:.4f}")
    shown.add_row(f"{told['labels']:,}", "chance", f"{told['chance']:.4f}")
    shown.add_row(f"{told['labels']:,}", "the queue", f"{told['queue']:.4f}")
    shown.add_row(f"{told['labels_twice']:,}", "chance", f"{told['chance_twice']:.4f}")
    print_table(shown)
    note(
        f"the queue leads by {told['lead']:+.4f} ± {told['lead_error']:.4f} (standard error), "
        f"in {told['seeds_won']} of {told['seeds']} seeds; {told['cpu_s']:.0f} s of CPU"
    )
