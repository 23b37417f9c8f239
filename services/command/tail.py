"""``weir tail``: the records of a topic as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from services.command.context import Context, JsonOption, TaskOption, open_context
from services.command.output import CommandError, note, out, print_json, time_text

if TYPE_CHECKING:
    from services.command.decoding import Decoder
    from services.command.reading import Stored


def tail(
    topic: Annotated[str, typer.Argument(help="predictions, or flight_delay.predictions, …")],
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Old records first, not only new ones.")
    ] = False,
    request_id: Annotated[
        str | None, typer.Option(help="Only records about this request.", show_default=False)
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("-n", min=1, help="End after so many records.", show_default=False),
    ] = None,
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the records of a topic, decoded, as they are committed. Ctrl-C ends it."""
    context = open_task_of(topic, task)
    try:
        described = context.contract.topic(topic)
    except KeyError as error:
        raise CommandError(error.args[0], code=2) from error
    from services.command.decoding import Decoder
    from services.command.reading import ends, follow, partitions, reader

    name = described.topic(context.contract.task)
    decoder = Decoder(context, described)
    shown = 0
    with reader(context.kafka) as consumer:
        numbers = partitions(consumer, name)
        now = ends(consumer, [name])[name]
        start = numbers if from_beginning else {n: next_ for n, (_, next_) in now.items()}
        if out.is_terminal:
            note(f"{name}, {len(numbers)} partitions; Ctrl-C ends")
        try:
            for stored in follow(consumer, name, start):
                if stored is None or (request_id and not decoder.is_about(stored, request_id)):
                    continue
                _show(stored, decoder, as_json)
                shown += 1
                if shown == count:
                    return
        except KeyboardInterrupt:
            return


def open_task_of(topic: str, task: str | None) -> Context:
    """The deployment of the task that a full topic name starts with, where it is recorded."""
    prefix, dot, _ = topic.partition(".")
    if task is None and dot:
        try:
            return open_context(prefix)
        except CommandError:
            pass
    return open_context(task)


def _show(stored: Stored, decoder: Decoder, as_json: bool) -> None:
    if as_json:
        print_json(decoder.full(stored))
        return
    from services.command.decoding import one_line

    where = f"{stored.partition}@{stored.offset}"
    line = f"{time_text(stored.time)}  {where:<10}  {one_line(decoder.read(stored))}"
    out.print(line, soft_wrap=True)
