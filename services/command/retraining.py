"""``weir retrain`` and ``weir triggers``: asking for a new version, and what asks by itself."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from services.command.context import Context, JsonOption, TaskOption, open_context
from services.command.output import (
    CommandError,
    note,
    out,
    print_json,
    print_table,
    table,
    time_text,
)
from services.command.who import user

TIMES = ("requested_at", "event_time", "data_from", "data_to")


def retrain(
    reason: Annotated[
        str | None, typer.Option(help="Why, in words; it is kept with the version.")
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List the events, refusals and failures instead.")
    ] = False,
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the trainer for a new version, on the outcomes up to now; or list who asked, and why."""
    context = open_context(task)
    if listed:
        _list(context, as_json)
        return
    if reason is None:
        raise CommandError("say why, with --reason; or --list what was asked for", code=2)
    from services.registry import request_retrain

    event_id = request_retrain(context.settings, context.contract, reason, requested_by=user())
    if as_json:
        print_json({"event_id": event_id})
    else:
        out.print(event_id)
        note("asked for; `weir models` lists the version when it is trained")


def triggers(task: TaskOption = None, as_json: JsonOption = False) -> None:
    """List the triggers: when each asks for a new version, and where it stands now."""
    from schemas.topics import BY_NAME
    from streams.task import load_task
    from streams.triggers.changelog import last_record, state_of
    from streams.triggers.policies import Policies

    context = open_context(task)
    declared = load_task(context.settings.task)
    topic = BY_NAME["triggers"]
    _existing(context, topic.topic(declared.name))
    codec = context.contract.codec(topic.record, context.settings.home)

    def resumed(value: bytes) -> Policies:
        found = Policies.of(declared, state_of(codec.read(value)))
        found.standing()  # raises where it is no state
        return found

    found = last_record(context.kafka, topic.topic(declared.name), resumed)
    policies = found or Policies.of(declared, {})
    if as_json:
        print_json(
            {
                "event_time": time_text(policies.now) or None,
                "champion": policies.champion,
                "waiting": policies.waiting,
                "new_labels": policies.new_labels,
                "default": declared.triggers is None,
                "triggers": [_said(each) for each in policies.standing()],
            }
        )
        return
    shown = table("trigger", "asks at", "budget left", "not before", "last event", "last refusal")
    for each in policies.standing():
        shown.add_row(
            each["name"],
            each["when"] + (f", next {_minute(each['next'])}" if each["next"] else ""),
            str(each["budget_left"]),
            _minute(each["cooldown_until"]),
            f"{_minute(each['fired_at'])} {each['fired']}".strip(),
            f"{_minute(each['refused_at'])} {each['refused']}".strip(),
        )
    print_table(shown)
    if declared.triggers is None:
        note("the task declares none: these are the default ones; triggers=[] means none")
    note(
        f"event time {_minute(policies.now) or 'not known yet'}, in service "
        f"{policies.champion or 'no version'}, {policies.new_labels:,} labels since the last event"
    )
    if policies.waiting:
        note(f"nothing more is asked for until this is answered: {', '.join(policies.waiting)}")


def _list(context: Context, as_json: bool) -> None:
    """The retrain topic, newest last, with the version that answered each event."""
    from services.command.reading import partitions, read_all, readable, reader
    from services.command.registry import read_versions

    topic = context.contract.topic("retrain")
    codec = context.contract.codec(topic.record, context.settings.home)
    name = topic.topic(context.contract.task)
    with reader(context.kafka) as consumer:
        stored = list(read_all(consumer, name, partitions(consumer, name)))
    records = [record for _, record in readable(stored, codec)]
    roles = read_versions(context)
    answers = {r["event_id"]: roles.of_event(r["event_id"]) for r in records}
    if as_json:
        print_json(
            [
                {
                    **record,
                    **{time: time_text(record[time]) or None for time in TIMES},
                    "version": answer.version if (answer := answers[record["event_id"]]) else None,
                }
                for record in records
            ]
        )
        return
    if not records:
        note("nobody has asked for a version yet")
        return
    shown = table("asked at", "event time", "status", "by", "event", "version", "reason")
    for record in records:
        answer = answers[record["event_id"]]
        shown.add_row(
            time_text(record["requested_at"]),
            _minute(record["event_time"]),
            record["status"],
            record["policy"] or record["requested_by"],
            record["event_id"],
            answer.version if answer and record["status"] == "asked" else "",
            record["reason"],
        )
    print_table(shown)


def _existing(context: Context, topic: str) -> None:
    """CommandError where the broker or the topic is not there."""
    from services.command.reading import partitions, reader

    with reader(context.kafka) as consumer:
        partitions(consumer, topic)


def _said(standing: dict[str, Any]) -> dict[str, Any]:
    """Times as text."""
    names = ("cooldown_until", "next", "fired_at", "refused_at")
    return {**standing, **{name: time_text(standing[name]) or None for name in names}}


def _minute(time_ms: int | None) -> str:
    return "" if time_ms is None else f"{time_text(time_ms)[:16]}Z"
