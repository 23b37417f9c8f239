"""``weir evaluate weights``: whether training gains by weights where labels are missing."""

from __future__ import annotations

from typing import Annotated

import typer

from services.command.context import JsonOption
from services.command.output import err, note, print_json, print_table, table


def weights(
    seeds: Annotated[int, typer.Option(min=2, help="Repetitions, each some 10 s of CPU.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Train on rows that a gate, exposure or people chose, with weights and without.

    In made-up worlds whose truth is known. With --json a line a training, and last one
    {world: {model: {...}}} with the means and what weights gain, with its standard error.
    """
    from rich.progress import Progress

    from services.evaluate.weighting import MODELS, NAMES, WORLDS, evaluate, summary

    found = []
    with Progress(console=err, transient=True) as progress:
        bar = progress.add_task("trainings", total=seeds * len(WORLDS) * len(MODELS))
        for one in evaluate(seeds):
            found.append(one)
            if as_json:
                print_json(one)
            progress.advance(bar)
    told = summary(found)
    if as_json:
        print_json(told)
        return
    heads = ("chosen by", "model", "rows", "log loss", "its own figure off by")
    shown = table(*heads, "errors admitted", "held back", right=heads[2:])
    for world, models in told.items():
        for model, means in models.items():
            for name in NAMES:
                of = [f"{means[name][key]:.4f}" for key in MEASURES]
                shown.add_row(world, model, name, *of)
            for measure, words in (("loss", "log loss"), ("off_by", "off by")):
                gain, off = means[f"{measure}_gain"], means[f"{measure}_gain_error"]
                won = f"{means[f'{measure}_seeds_won']} of {means['seeds']} seeds"
                note(f"{world}, {model}: weights gain {words} {gain:+.4f} ± {off:.4f}, {won}")
    print_table(shown)


MEASURES = ("loss", "off_by", "error_admitted", "deferred")
