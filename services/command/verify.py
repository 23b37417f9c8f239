"""``weir verify``: what the system tells, recomputed from its topics and compared."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from services.command.context import Context, JsonOption, TaskOption, open_context
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
    from services.verify.recount import Key

app = typer.Typer(no_args_is_help=True, help="Recompute from the topics what the system tells.")

MOST_ROWS = 50
"""Differences that the table has room for; --json has their number, as has the last line."""
LOOK_S = 0.5
SETTLED_S = 3.0
"""Windows that changed are told of once a second: after so long without a word there is none."""


@app.command()
def metrics(
    task: TaskOption = None,
    as_json: JsonOption = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for the metrics to catch up.")
    ] = 60.0,
) -> None:
    """Recount every window from predictions and outcomes; compare each with its metric record.

    Needs the broker and nothing else. Exits with 1 where a window differs, and where the metrics
    have not caught up with the topics. With --json the last line is {"windows", "differences"}.
    """
    from rich.progress import Progress

    from services.verify.metrics import verify
    from services.verify.reading import ReadError
    from streams.task import load_task

    context = open_context(task)
    await_metrics(context, wait)
    with Progress(console=err, transient=True) as progress:
        bar = progress.add_task("recounting windows", total=None)
        try:
            found = verify(
                load_task(context.contract.reference),
                context.settings.home,
                context.kafka,
                note,
                lambda done, of: progress.update(bar, completed=done, total=of),
            )
        except ReadError as error:
            raise CommandError(str(error)) from error
    if found.too_old:
        note(f"not judged: {found.too_old:,} windows of which the topics have deleted records")
    if found.wrong:
        _print(found.wrong)
    if as_json:
        print_json({"windows": found.windows, "differences": len(found.wrong)})
    else:
        note(f"{found.windows:,} windows, {len(found.wrong):,} differ")
    if found.wrong:
        raise typer.Exit(1)


@app.command()
def features(task: TaskOption = None, as_json: JsonOption = False) -> None:
    """Compute every logged value of windowed features again, from the topics alone.

    Each prediction says up to which offsets outcomes (and requests) had been counted for it; the
    value must be what those records give, and nothing that was known after its event time. Exits
    with 1 where one differs. How far the counting lagged is told and no error. With --json the last
    line holds "predictions", "values", "differences" and more.
    """
    from services.verify.logged import verify
    from services.verify.reading import ReadError
    from streams.task import load_task

    context = open_context(task)
    loaded = load_task(context.contract.reference)
    if not loaded.windowed:
        raise CommandError(f"the task {loaded.name} declares no windowed features", code=2)
    try:
        found = verify(loaded, context.settings.home, context.kafka)
    except ReadError as error:
        raise CommandError(str(error)) from error
    figures = found.figures()
    if as_json:
        print_json(figures)
    else:
        for line in found.examples:
            note(line)
        lag = figures["lag_s"]
        note(
            f"{found.values:,} values of {found.predictions:,} predictions, "
            f"{found.differences:,} differ; {figures['complete'] or 0:.1%} are what they would be "
            f"had nothing lagged; the newest truth counted was {lag['p50']} s of event time old "
            f"(p50; p99 {lag['p99']}, at most {lag['max']})"
        )
    if found.differences:
        raise typer.Exit(1)


@app.command()
def registry(
    task: TaskOption = None,
    as_json: JsonOption = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for MLflow to catch up.")
    ] = 60.0,
) -> None:
    """Compare what MLflow says of versions and roles with the models topic, which is the truth.

    Exits with 1 where they differ still after the wait. With --json the last line is
    {"versions", "as_of", "told_as_of", "differences"}; docs/registry.md.
    """
    from services.command.registry import read_topic
    from services.projection.places import NONE
    from services.verify.registry import Comparison

    context = open_context(task)
    if context.settings.mlflow_uri == NONE:
        raise CommandError("WEIR_MLFLOW_URI is none: MLflow is told nothing here", code=2)
    comparison = Comparison(context.settings, context.contract.task)
    deadline = time.monotonic() + wait
    while True:
        told = read_topic(context)
        found = comparison.compare(told.roles, told.as_of)
        if not found.differences or time.monotonic() > deadline:
            break
        time.sleep(LOOK_S)
    for line in found.differences[:MOST_ROWS]:
        note(line)
    if as_json:
        print_json({**asdict(found), "differences": len(found.differences)})
    else:
        note(f"{found.versions:,} versions, {len(found.differences):,} differences")
    if found.differences:
        raise typer.Exit(1)


def await_metrics(context: Context, wait_s: float) -> None:
    """Return when the worker has read everything and told of it; CommandError where it has not."""
    from services.command.lag import lags
    from services.verify.reading import ends

    task = context.contract.task
    deadline, settled_at, before = time.monotonic() + wait_s, 0.0, None
    while True:
        group = lags(context.kafka, task).get(f"{task}-worker")
        if group is None:
            raise CommandError(f"no worker of {task} has run on this broker: there are no metrics")
        behind = {topic: n for topic, n in group["lag"].items() if n}
        now, end = time.monotonic(), ends(context.kafka, [(f"{task}.metrics", 0)])
        if not group["members"] and not behind:
            note("no worker runs: what changed in the second before it was killed is not told yet")
            return
        if behind or end != before:
            settled_at, before = now + SETTLED_S, end
        elif now >= settled_at:
            return
        if behind and now > deadline:
            raise CommandError(
                f"the metrics have not caught up after {wait_s:g} s: the worker is behind in "
                f"{', '.join(f'{topic} ({n:,})' for topic, n in behind.items())}. "
                "Is it running (`weir status`)? Stop the load or --wait longer."
            )
        time.sleep(LOOK_S)


def _print(wrong: Mapping[Key, Sequence[str]]) -> None:
    shown = table("window", "start", "version", "role", "segment", "what is wrong")
    for (window, start, version, role, segment, value), said in list(wrong.items())[:MOST_ROWS]:
        group = f"{segment}={value}" if segment else ""
        shown.add_row(window, time_text(start), version, role, group, "; ".join(said))
    print_table(shown)
    if len(wrong) > MOST_ROWS:
        note(f"and {len(wrong) - MOST_ROWS:,} more")
