"""``weir replay``: recorded requests to another version, beside what was answered."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.command.context import Context, JsonOption, TaskOption, open_context
from services.command.output import (
    CommandError,
    err,
    note,
    out,
    print_json,
    print_table,
    table,
    time_text,
)
from services.command.versions import choose

if TYPE_CHECKING:
    from services.command.versions import Chosen
    from services.replays.recorded import Recorded


class Records(StrEnum):
    """Where records are read from."""

    clickhouse = "clickhouse"
    kafka = "kafka"


def replay(
    since: Annotated[
        str,
        typer.Option("--from", metavar="TIME", help="First event time: ISO 8601 or milliseconds."),
    ],
    version: Annotated[
        str,
        typer.Option(metavar="VERSION", help="A role, a version's id or the beginning of one."),
    ],
    until: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="TIME", help="Before this event time; else all.", show_default=False
        ),
    ] = None,
    records: Annotated[
        Records, typer.Option(help="Kafka has what its topics still keep.")
    ] = Records.clickhouse,
    answers: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Keep its answers: .csv or .parquet, as weir score writes them.",
            show_default=False,
        ),
    ] = None,
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer recorded requests by another version and compare with what was answered.

    Nothing that serves is touched: records are read, nothing is published. The version gets the
    inputs as they were recorded, windowed features too, through the code that serves.
    """
    from services.scoring.inputs import TableError
    from services.scoring.sinks import SinkError
    from services.scoring.sources import SourceError

    begin = _time("--from", since)
    end = LATEST_MS if until is None else _time("--to", until)
    if begin >= end:
        raise CommandError("--from must be before --to", code=2)
    context = open_context(task)
    chosen = choose(context, version)
    try:
        with _recorded(context, chosen, records, begin, end) as chunks:
            found = _run(chosen, chunks, answers)
    except (TableError, SourceError, SinkError) as error:
        raise CommandError(str(error), code=2) from error
    found |= {"from": time_text(begin), "to": None if until is None else time_text(end)}
    if not found["requests"] and not found["refused_now"]["count"]:
        raise CommandError(
            f"no recorded requests from {since} on: see `weir sql` and `weir topics`"
        )
    if as_json:
        print_json(found)
        return
    _print(found)


LATEST_MS = 10_413_791_999_000
"""The last time of milliseconds that ClickHouse holds: 2299."""


def _time(option: str, text: str) -> int:
    from services.texts import millis

    try:
        return millis(text)
    except ValueError as error:
        raise CommandError(f"{option}: {error}", code=2) from error


@contextmanager
def _recorded(
    context: Context, chosen: Chosen, records: Records, begin: int, end: int
) -> Iterator[Iterator[Recorded]]:
    from services.replays.recorded import from_clickhouse, from_kafka

    if records is Records.clickhouse:
        from services.command.clickhouse import client, stream

        connected = client(context)
        yield from_clickhouse(
            chosen.task, begin, end, lambda query, form: stream(connected, query, form)
        )
        return
    from services.command.reading import reader

    with reader(context.kafka) as consumer:
        codecs = {
            record: context.contract.codec(record, context.settings.home)
            for record in ("prediction", "outcome")
        }
        yield from_kafka(
            chosen.task, begin, end, codecs, lambda name: _values(context, consumer, name)
        )


def _values(context: Context, consumer: Any, name: str) -> Iterator[list[bytes | None]]:
    """The values of a topic, some thousands at a time."""
    from services.command.reading import partitions, read_all

    topic = context.contract.topic(name).topic(context.contract.task)
    batch: list[bytes | None] = []
    for stored in read_all(consumer, topic, partitions(consumer, topic)):
        batch.append(stored.value)
        if len(batch) == 5_000:
            yield batch
            batch = []
    if batch:
        yield batch


def _run(chosen: Chosen, chunks: Iterator[Recorded], answers: Path | None) -> dict[str, Any]:
    from rich.progress import Progress

    from services.replays.run import replay as compare
    from services.scoring.run import schema_of
    from services.scoring.sinks import Sink

    with ExitStack() as stack:
        write = None
        if answers is not None:
            write = stack.enter_context(Sink(answers, schema_of(chosen.task.kind))).write
        progress = stack.enter_context(Progress(console=err, transient=True))
        bar = progress.add_task("replaying", total=None)

        def told(requests: int) -> None:
            progress.update(bar, completed=requests, description=f"replaying {requests:,}")

        now_ms = time.time_ns() // 1_000_000
        return compare(chosen.task, chosen.version, chunks, now_ms, write, told)


def _print(found: Mapping[str, Any]) -> None:
    out.print(
        f"{found['requests']:,} requests from {found['from']}, answered by {found['version']}"
    )
    shown = table("", "then", "now", right=("then", "now"))
    deferred = found["deferred"]
    shown.add_row("share deferred", *(_percent(deferred[name]) for name in ("then", "now")))
    for scope, losses in found["losses"].items():
        for name, one in losses.items():
            label = f"{name.replace('_', ' ')}, {scope.replace('_', ' ')}"
            shown.add_row(label, f"{one['then']:.4f}", f"{one['now']:.4f}")
    print_table(shown)
    out.print(f"answers that change: {_percent(found['changed'])}")
    for scope, losses in found["losses"].items():
        for name, one in losses.items():
            if one["low"] is not None:
                out.print(
                    f"{name.replace('_', ' ')}, {scope.replace('_', ' ')}: now less then "
                    f"{one['difference']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f}, 95 %, "
                    f"over {one['stretches']:,} {one['by']}s), {one['rows']:,} truths"
                )
    refused = found["refused_now"]
    if refused["count"]:
        note(
            f"{refused['count']:,} requests would be refused now, such as {refused['examples'][0]}"
        )


def _percent(share: Mapping[str, Any]) -> str:
    return "" if share["share"] is None else f"{share['share']:.2%}"
