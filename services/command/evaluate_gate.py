"""``weir evaluate gate``: whether the gate finds the inputs that the model errs on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.command.context import JsonOption
from services.command.output import CommandError, note, print_json, print_table, table

if TYPE_CHECKING:
    from services.evaluate.gate import Judged


def gate(
    as_json: JsonOption = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="The last line is of the inputs that are not windowed.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Renew the figures of this page, and its plot."),
    ] = None,
) -> None:
    """Errors among June's flights that are admitted: by the gate, by the model's own confidence.

    Trained on January to May, with windowed features and without; some minutes. With --json the
    last line printed is one object: {share deferred: {gate_error, confidence_error}, ..., none}.
    """
    from services.evaluate.environments import EnvironmentFailed
    from services.evaluate.gate import evaluate
    from services.evaluate.gate_report import renew
    from services.evaluate.report import ReportError

    if report is not None and not report.is_file():
        raise CommandError(f"{report}: there is no such page", code=2)
    found = evaluate(lambda name: note(f"{name} windowed features"))
    if report is not None:
        try:
            renew(report, found)
        except (EnvironmentFailed, ReportError) as error:
            raise CommandError(str(error)) from error
    if as_json:
        for name, one in found.items():
            print_json({"windowed": name, "costs": one.costs, **one.plain()})
        print_json(found["without" if plain else "with"].plain())
        return
    _show(found)


def _show(found: dict[str, Judged]) -> None:
    from services.evaluate.gate import SHARES

    heads = ("windowed features", "deferred", "gate", "confidence", "gate of errors alone")
    shown = table(*heads, right=heads[1:])
    for name, one in found.items():
        ways = ("imitation", "confidence", "errors")
        shown.add_row(name, "none", *[f"{one.errors.mean():.4f}"] * 3)
        for share in SHARES:
            shown.add_row(name, f"{share:.0%}", *(f"{one.error(way, share):.4f}" for way in ways))
    print_table(shown)
    for name, one in found.items():
        for form, costs in one.costs.items():
            note(
                f"{name}: {form} costs f = {costs['f']:.2f} µs a row, the model i = "
                f"{costs['i']:.2f} µs: it pays where more than {costs['ratio']:.0%} is deferred"
            )
