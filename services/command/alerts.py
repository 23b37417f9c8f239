"""``weir alerts``: what people were told of, and whether they would hear of more."""

from __future__ import annotations

import json
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

app = typer.Typer(invoke_without_command=True, help="List alerts, or send a test message.")

SHOWN = 50
"""Episodes of the table; --json has all."""


@app.callback()
def alerts(
    context: typer.Context,
    open_only: Annotated[
        bool, typer.Option("--open", help="Only those that have not ended.")
    ] = False,
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the alerts, the newest last: one row an episode, as it is now."""
    if context.invoked_subcommand is not None:
        return
    from services.command.models import age_text

    found = list(_latest(open_context(task)).values())
    if open_only:
        found = [record for record in found if _is_open(record)]
    if as_json:
        times = ("raised_at", "opened_at", "event_time")
        print_json(
            [{**r, **{t: time_text(r[t]) for t in times}, "findings": _findings(r)} for r in found]
        )
        return
    if not found:
        note("no alert is open" if open_only else "no alert yet")
        return
    shown = table("opened", "state", "severity", "alert", "seen", "evidence", right=("seen",))
    for record in found[-SHOWN:]:
        state = "open" if _is_open(record) else record["change"]
        shown.add_row(
            f"{age_text(record['opened_at'] or record['raised_at'])} ago",
            state,
            record["severity"] if _is_open(record) or state == "happened" else "",
            record["title"] or record["about"],
            f"{record['count']:,}",
            record["command"],
        )
    print_table(shown)


@app.command()
def test() -> None:
    """Send a test message to every URL of WEIR_ALERT_URLS, as this terminal has it."""
    from services.alerting.channels import ChannelError, open_channels
    from services.deployment import current
    from streams.alerts.wording import Message

    try:
        channels = open_channels(current().alert_urls)
    except ChannelError as error:
        raise CommandError(str(error), code=2) from error
    if not channels:
        raise CommandError(
            "WEIR_ALERT_URLS is empty: set it to URLs of apprise, such as slack://… or mailto://…, "
            "before `weir up`, and in this terminal for a test",
            code=2,
        )
    message = Message("[info] Weir: a test", "Alerts of Weir will arrive here.", "info")
    failed = []
    for channel in channels:
        taken = channel.send(message)
        out.print(f"{channel.name}: {'sent' if taken else 'failed'}")
        failed += [] if taken else [channel.name]
    if failed:
        raise CommandError(
            f"{len(failed)} of {len(channels)} receivers did not take the message: "
            f"{'; '.join(failed)}. Check their URLs and that they can be reached from here."
        )


def _latest(context: Context) -> dict[str, dict[str, Any]]:
    """The last record of each episode, in the order in which episodes began."""
    from services.command.reading import partitions, read_all, readable, reader

    contract = context.contract
    topic = contract.topic("alerts")
    codec = contract.codec(topic.record, context.settings.home)
    name = topic.topic(contract.task)
    latest: dict[str, dict[str, Any]] = {}
    with reader(context.kafka) as consumer:
        stored = read_all(consumer, name, partitions(consumer, name))
        for _, record in readable(stored, codec):
            latest[record["episode"] or record["alert_id"]] = record
    return latest


def _findings(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Of an episode of drift, the most likely cause first; of other alerts none."""
    try:
        found: list[dict[str, Any]] = json.loads(record["findings"] or "[]")
        return [
            {**one, **{t: time_text(one[t]) for t in ("began", "begins", "found")}} for one in found
        ]
    except (ValueError, TypeError, KeyError):  # of another Weir
        return []


def _is_open(record: dict[str, Any]) -> bool:
    return record["change"] not in ("resolved", "happened")
