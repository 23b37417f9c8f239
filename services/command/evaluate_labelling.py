"""``weir evaluate labelling``: whether the queue chooses better than chance, measured."""

from __future__ import annotations

from typing import Annotated

import typer

from services.command.context import JsonOption
from services.command.output import err, note, print_json, print_table, table

WORDS = {"queue_alone": "the queue, one version", "queue": "the queue, another looks on"}


def labelling(
    seeds: Annotated[int, typer.Option(min=2, help="Repetitions, each about 3 s of CPU.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Train on labels that the queue chose and on as many that chance chose; compare the AUC.

    A closed loop on the demo's flights, of which few are labelled at first. With --json a line a
    seed, and last {"flights": {...}} with the means, the queue's lead over chance and its
    standard error.
    """
    from rich.progress import Progress

    from services.evaluate.labelling import Plan, evaluate, summary

    plan, found = Plan(), []
    with Progress(console=err, transient=True) as progress:
        bar = progress.add_task("seeds", total=seeds)
        for one in evaluate(seeds, plan):
            found.append(one)
            if as_json:
                print_json(one)
            progress.advance(bar)
    told = summary(found, plan)
    if as_json:
        print_json({"flights": told})
        return
    more = told["labels"] - told["labels_at_start"]
    shown = table("labels", "chosen by", "AUC", "lead over chance", right=("labels", "AUC"))
    shown.add_row(f"{plan.start:,}", "chance", f"{told['start']:.4f}", "")
    shown.add_row(f"{plan.start + more:,}", "chance", f"{told['chance']:.4f}", "")
    for name, words in WORDS.items():
        lead = f"{told[f'{name}_lead']:+.4f} ± {told[f'{name}_lead_error']:.4f}"
        won = f"{lead}, ahead in {told[f'{name}_seeds_won']} of {told['seeds']} seeds"
        shown.add_row(f"{plan.start + more:,}", words, f"{told[name]:.4f}", won)
    shown.add_row(f"{plan.start + 2 * more:,}", "chance", f"{told['chance_twice']:.4f}", "")
    print_table(shown)
    note(f"± is a standard error; {told['cpu_s']:.0f} s of CPU")
