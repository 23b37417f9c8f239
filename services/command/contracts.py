"""``weir topics`` and ``weir schemas``: what the task's records are and where they lie."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from schemas.records import RECORDS
from schemas.topics import Topic
from services.command.context import Context, JsonOption, TaskOption, open_context
from services.command.output import (
    CommandError,
    note,
    out,
    print_json,
    print_table,
    span_text,
    table,
)


def topics(task: TaskOption = None, as_json: JsonOption = False) -> None:
    """List the task's topics: partitions, retention, cleanup, and how far each has got."""
    context = open_context(task)
    offsets = _offsets(context)
    rows = [_row(context, name, topic, offsets) for name, topic in context.contract.topics()]
    if as_json:
        print_json(rows)
        return
    columns = ("topic", "partitions", "retention", "cleanup", "key", "record", "at most", "what")
    shown = table(*columns, right=("partitions", "at most"))
    for row in rows:
        kept = "for ever" if row["retention_ms"] is None else span_text(row["retention_ms"])
        held = "" if row["offsets"] is None else f"{row['offsets']:,}"
        shown.add_row(
            row["topic"],
            str(row["partitions"]),
            kept,
            row["cleanup"],
            row["key"],
            row["record"],
            held,
            row["doc"],
        )
    print_table(shown)
    if offsets:
        note("at most: records, by offsets; the marker of each transaction takes an offset too")
    else:
        note(
            f"no broker with these topics answers on {context.settings.bootstrap}: offsets unknown"
        )


def _offsets(context: Context) -> dict[str, dict[int, tuple[int, int]]]:
    """First and next offsets by topic; empty where no broker answers."""
    from services.command.reading import ends, reader

    try:
        with reader(context.kafka) as consumer:
            return ends(consumer, [name for name, _ in context.contract.topics()])
    except CommandError:
        return {}


def _row(
    context: Context, name: str, topic: Topic, offsets: dict[str, dict[int, tuple[int, int]]]
) -> dict[str, Any]:
    config = topic.config(context.contract.horizon_ms)
    kept = int(config.get("retention.ms", -1))
    live = offsets.get(name)
    return {
        "topic": name,
        "partitions": context.contract.partitions_of(topic),
        "retention_ms": None if kept < 0 else kept,
        "cleanup": topic.cleanup,
        "key": topic.key,
        "record": topic.record,
        # From first to next, over all partitions: records, and the markers of transactions.
        "offsets": None if live is None else sum(next_ - first for first, next_ in live.values()),
        "next_offsets": None if live is None else {str(p): n for p, (_, n) in live.items()},
        "doc": topic.doc,
    }


def schemas(
    record: Annotated[
        str | None,
        typer.Argument(help="A record or a topic: request, predictions, …", show_default=False),
    ] = None,
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a record's Avro schema, for producers and consumers in any language."""
    from schemas.registry import schema_id

    contract = open_context(task).contract
    if record is None:
        rows: list[dict[str, Any]] = [
            {
                "record": topic.record,
                "schema_id": schema_id(contract.schemas[topic.record]),
                "topic": name,
            }
            for name, topic in contract.topics()
        ]
        if as_json:
            print_json(rows)
            return
        shown = table("record", "schema id", "topic", right=("schema id",))
        for row in rows:
            shown.add_row(row["record"], str(row["schema_id"]), row["topic"])
        print_table(shown)
        note("weir schemas RECORD prints one; before each Avro body come a zero byte and the id")
        return
    schema = contract.schemas[_record_name(contract.task, record)]
    if as_json:
        print_json({"schema_id": schema_id(schema), "schema": schema})
    else:
        out.print(json.dumps(schema, indent=2), soft_wrap=True)
        framing = schema_id(schema).to_bytes(4, "big").hex(" ")
        note(f"schema id {schema_id(schema)}: every value starts with the bytes 00 {framing}")


def _record_name(task: str, name: str) -> str:
    from schemas.topics import TOPICS

    for topic in TOPICS:
        if name in (topic.record, topic.name, topic.topic(task)):
            return topic.record
    raise CommandError(f"there is no record {name}; there are {', '.join(RECORDS)}", code=2)
