"""``weir score``: a file or a query, answered as serving would."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.command.context import Context, JsonOption, TaskOption, open_context
from services.command.output import CommandError, err, note, print_json
from services.command.versions import Chosen, VersionOption, choose

if TYPE_CHECKING:
    from services.scoring.run import Summary
    from services.scoring.sources import Source


def score(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|QUERY",
            help="A .csv or .parquet file, or a query to ClickHouse: SELECT * FROM requests.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Where the answers go: .csv or .parquet.", show_default=False
        ),
    ],
    version: VersionOption = "champion",
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a file or a query by a model version, through the code that serves.

    Columns are named as the features (or features.NAME, as in ClickHouse); request_id, event_time
    and entity may be there. Each row has one in --out, in order; a refused one says why.
    """
    from services.scoring.inputs import TableError
    from services.scoring.sinks import SinkError
    from services.scoring.sources import SourceError

    context = open_context(task)
    try:
        given = open_source(context, source)
        chosen = choose(context, version)
        began = time.perf_counter()
        summary = _run(chosen, given, out)
    except (TableError, SourceError, SinkError) as error:
        raise CommandError(str(error), code=2) from error
    seconds = time.perf_counter() - began
    if as_json:
        facts = {"version": chosen.version.id, "role": chosen.role, "out": str(out)}
        print_json({**facts, **summary.plain(), "seconds": round(seconds, 3)})
        return
    counts = summary.plain()
    said = ", ".join(f"{counts[name]:,} {name}" for name in ("answered", "deferred", "rejected"))
    note(f"{summary.rows:,} rows by {chosen.version.id} in {seconds:.1f} s: {said}; {out}")
    for row, why in summary.refused.items():
        note(f"row {row:,}: {why}")
    if counts["rejected"] > len(summary.refused):
        note(f"… the others' reasons are in {out}")


def _run(chosen: Chosen, source: Source, out: Path) -> Summary:
    from rich.progress import Progress

    from services.scoring.inputs import Layout
    from services.scoring.run import Summary, schema_of, scored_tables
    from services.scoring.sinks import Sink

    absent = Layout.of(chosen.task, source.names).absent
    if absent:
        note(f"not there, and so null: {', '.join(absent)}")
    summary = Summary()
    now_ms = time.time_ns() // 1_000_000
    with (
        Sink(out, schema_of(chosen.task.kind)) as sink,
        Progress(console=err, transient=True) as progress,
    ):
        bar = progress.add_task("scoring", total=None)

        def told(rows: int, done: float | None) -> None:
            total = None if not done else rows / done
            progress.update(bar, completed=rows, total=total, description=f"scoring {rows:,}")

        for made in scored_tables(
            chosen.task, chosen.version, chosen.role, source, now_ms, summary, told
        ):
            sink.write(made)
    return summary


def open_source(context: Context, text: str) -> Source:
    """A file by its ending, or a query to the running ClickHouse. Raises SourceError."""
    from services.scoring.sources import Query, is_query, open_file

    if not is_query(text):
        return open_file(Path(text))
    from services.command.clickhouse import client, stream

    connected = client(context)
    return Query(text.strip().rstrip(";"), lambda query, form: stream(connected, query, form))
