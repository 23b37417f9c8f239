"""``weir trace``: everything known of one request, in order of time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.topics import REROUTED, TOPICS, Topic
from services.command.context import Context, JsonOption, TaskOption, open_context
from services.command.output import CommandError, note, out, print_json, time_text

if TYPE_CHECKING:
    from confluent_kafka import Consumer

    from services.command.clickhouse import Row
    from services.command.decoding import Decoder
    from services.command.reading import Stored

ABOUT_REQUESTS = tuple(topic for topic in TOPICS if topic.key == "request id")
DEAD_LETTERS = next(topic for topic in TOPICS if topic.name == "dead-letters")


@dataclass(frozen=True)
class Event:
    """One thing known of the request; ``offset`` with topic and partition is its identity."""

    time: int
    topic: Topic
    partition: int
    offset: int
    value: dict[str, Any]
    kept_in: str
    """Where it was found: ``topic``, ``ClickHouse`` or ``both``."""
    moved_from: int | None = None
    """Of a truth that Weir moved to its request's partition: where its producer had put it."""


@dataclass
class Trace:
    """All events of a request by time, and where they were looked for."""

    request_id: str
    events: list[Event] = field(default_factory=list)
    read: dict[str, list[int]] = field(default_factory=dict)
    """Partitions read, by full topic name."""
    clickhouse: str = "not asked"


def trace(
    request_id: Annotated[str, typer.Argument(help="The id that the producer gave it.")],
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show everything known of one request, from request to outcome, in order of time.

    Reads the topics, and ClickHouse where it answers (which may hold what topics no longer do).
    """
    context = open_context(task)
    found = Trace(request_id)
    rows = _ask_clickhouse(context, found)
    failure = _read_topics(context, found, rows)
    _merge(found, rows)
    found.events.sort(key=lambda event: (event.time, TOPICS.index(event.topic), event.offset))
    if as_json:
        print_json(_plain(context, found))
    else:
        _show(context, found)
    if not found.events:
        if failure:
            raise failure
        raise CommandError(f"nothing is known of the request {request_id}")


def _ask_clickhouse(context: Context, found: Trace) -> list[Row]:
    from services.command.clickhouse import ClickHouseError, request_rows

    try:
        rows = request_rows(context, [*ABOUT_REQUESTS, DEAD_LETTERS], found.request_id)
    except ClickHouseError as error:
        found.clickhouse = f"not read ({error})"
        return []
    found.clickhouse = f"{len(rows)} records"
    return rows


def _read_topics(context: Context, found: Trace, rows: list[Row]) -> CommandError | None:
    """Look through the topics; the error where no broker answers, since ClickHouse may.

    rows: what ClickHouse knows: the partitions that it names are read as well.
    """
    from services.command.decoding import Decoder
    from services.command.reading import reader

    try:
        with reader(context.kafka) as consumer:
            for topic in (*ABOUT_REQUESTS, DEAD_LETTERS):
                decoder = Decoder(context, topic)
                named = {row.partition for row in rows if row.topic == topic}
                for stored in _about(consumer, context, decoder, found, named):
                    place = (stored.partition, stored.offset)
                    value = decoder.read(stored)
                    came = _moved_from(stored)
                    found.events.append(Event(stored.time, topic, *place, value, "topic", came))
    except CommandError as error:
        return error
    return None


def _about(
    consumer: Consumer, context: Context, decoder: Decoder, found: Trace, named: set[int]
) -> list[Stored]:
    """Records of one topic about the request.

    First the partition that Java's default partitioner gives the id, as ours do, and those that
    are named; where a truth was moved from, too. If nothing is there, the others: a producer in
    another language may partition in its own way.
    """
    from services.command.reading import partition_of, partitions, read_all

    name = decoder.topic.topic(context.contract.task)
    numbers = set(partitions(consumer, name))
    read = found.read.setdefault(name, [])

    def look(some: set[int]) -> list[Stored]:
        chosen = sorted((some & numbers).difference(read))
        read.extend(chosen)
        return [
            stored
            for stored in (read_all(consumer, name, chosen) if chosen else ())
            if decoder.is_about(stored, found.request_id)
        ]

    by_id = decoder.topic.key == "request id"
    home = {partition_of(found.request_id.encode(), len(numbers))} if by_id else numbers
    records = look(home | named)
    records += look({came for r in records if (came := _moved_from(r)) is not None})
    return records or look(numbers)


def _moved_from(stored: Stored) -> int | None:
    said = dict(stored.headers).get(REROUTED) or b""
    # Headers are anybody's: what is no partition's number says nothing.
    return int(said) if said.isdigit() and len(said) < 10 else None


def _merge(found: Trace, rows: list[Row]) -> None:
    """Add what ClickHouse knows, each record once."""
    by_place = {(e.topic.name, e.partition, e.offset): n for n, e in enumerate(found.events)}
    for row in rows:
        at = by_place.get((row.topic.name, row.partition, row.offset))
        if at is None:
            found.events.append(
                Event(row.time, row.topic, row.partition, row.offset, row.value, "ClickHouse")
            )
        else:
            found.events[at] = replace(found.events[at], kept_in="both")


def _plain(context: Context, found: Trace) -> dict[str, Any]:
    return {
        "request_id": found.request_id,
        "events": [
            {
                "time": time_text(event.time),
                "record": event.topic.record,
                "topic": event.topic.topic(context.contract.task),
                "partition": event.partition,
                "offset": event.offset,
                "kept_in": event.kept_in,
                "moved_from": event.moved_from,
                "value": event.value,
            }
            for event in found.events
        ],
        "read": found.read,
        "clickhouse": found.clickhouse,
    }


def _show(context: Context, found: Trace) -> None:
    from rich.text import Text

    from services.command.decoding import one_line

    first = found.events[0].time if found.events else 0
    for event in found.events:
        name = event.topic.topic(context.contract.task)
        place = f"{name}[{event.partition}]@{event.offset}"
        after = f"+{event.time - first:,} ms"
        head = f"{time_text(event.time)}  {after:>12}  {_title(event):<11}"
        out.print(
            Text.assemble(
                (head, "bold"), "  ", (place + remark(event, found.read.get(name, [])), "dim")
            ),
            soft_wrap=True,
        )
        shown = {k: v for k, v in event.value.items() if k not in ("request_id", "value", "key")}
        out.print(f"    {one_line(shown)}", soft_wrap=True)
    read = ", ".join(
        f"{name} ({'partition' if len(some) == 1 else 'partitions'} "
        f"{', '.join(map(str, sorted(some)))})"
        for name, some in found.read.items()
    )
    note(f"read: {read or 'no topic'}; ClickHouse: {found.clickhouse}")


def _title(event: Event) -> str:
    return "shadow" if event.topic.name == "shadows" else event.topic.record


def remark(event: Event, read: list[int]) -> str:
    """What is particular of an event; read: the partitions of its topic that were looked at."""
    if event.moved_from is not None:
        return f"  (moved by Weir from partition {event.moved_from}, where its producer put it)"
    # What was not looked at may well hold it.
    if event.kept_in == "ClickHouse" and event.partition in read:
        return "  (only in ClickHouse)"
    return ""
