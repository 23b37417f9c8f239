"""``weir drift``: what changed, since when, and why it is believed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

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
from services.drifts import about, bars, histogram, number, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(
    help="Show what changed: in inputs, answers, scores, errors and volume.",
    invoke_without_command=True,
)

TIMES = ("detected_at", "since", "window_from", "window_to")
MOST = 50
LEAST_ID = 4
"""Characters of an id that are enough, where no other begins with them."""

Limit = Annotated[int, typer.Option("-n", min=1, help="Drifts to list at most.")]


@app.callback()
def drift(
    context: typer.Context,
    task: TaskOption = None,
    as_json: JsonOption = False,
    most: Limit = MOST,
) -> None:
    """List the drifts, the newest first; the same as `weir drift list`."""
    if context.invoked_subcommand is None:
        _list(task, as_json, most)


@app.command("list")
def list_(task: TaskOption = None, as_json: JsonOption = False, most: Limit = MOST) -> None:
    """List the drifts, the newest first."""
    _list(task, as_json, most)


@app.command()
def explain(
    drift_id: Annotated[str, typer.Argument(help="The id, or as much of it as is enough.")],
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say of one drift what, where, since when and how much, and draw both distributions."""
    found = _one(_drifts(open_context(task)), drift_id)
    try:
        plain = {**_plain(found), "evidence": json.loads(found["evidence"] or "null")}
        lines = [] if as_json else list(_explained(found))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CommandError(
            f"the drift {found['drift_id']} cannot be explained: it is not Weir's ({error!r})"
        ) from error
    if as_json:
        print_json(plain)
    for line in lines:
        out.print(line, soft_wrap=True)


def _list(task: str | None, as_json: bool, most: int) -> None:
    newest_first = _drifts(open_context(task))[::-1][:most]
    if as_json:
        print_json([_plain(found) for found in newest_first])
        return
    if not newest_first:
        note("no drift so far: what is served looks like what the versions were trained on")
        return
    shown = table("id", "found", "what", "since", "effect", "verdict", "version")
    for found in newest_first:
        shown.add_row(
            found["drift_id"],
            time_text(found["detected_at"]),
            about(found),
            time_text(found["since"]),
            found["effect"] or found["message"],
            verdict(found),
            found["version"],
        )
    print_table(shown)


def _drifts(context: Context) -> list[dict[str, Any]]:
    """All drift records, the oldest first. CommandError where the topic cannot be read."""
    from services.command.reading import partitions, read_all, readable, reader

    topic = context.contract.topic("drifts")
    codec = context.contract.codec(topic.record, context.settings.home)
    name = topic.topic(context.contract.task)
    with reader(context.kafka) as consumer:
        stored = read_all(consumer, name, partitions(consumer, name))
        return [record for _, record in readable(stored, codec)]


def _one(drifts: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    """The drift of an id. CommandError where there is none, or several begin like that."""
    found = [one for one in drifts if one["drift_id"] == wanted]
    if not found and len(wanted) >= LEAST_ID:
        found = [one for one in drifts if one["drift_id"].startswith(wanted)]
    ids = {one["drift_id"] for one in found}
    if len(ids) > 1:
        raise CommandError(f"{len(ids)} drifts begin with {wanted}: {', '.join(sorted(ids))}")
    if not found:
        raise CommandError(f"there is no drift {wanted}; `weir drift` lists those that there are")
    return found[-1]


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """For programs: times as text, the evidence left to `explain`."""
    kept = {name: value for name, value in found.items() if name != "evidence"}
    return kept | {name: time_text(found[name]) or None for name in TIMES}


def _explained(found: dict[str, Any]) -> Iterator[str]:
    yield found["message"]
    yield ""
    role = f", {found['role']}" if found["role"] else ""
    facts = {
        "id": found["drift_id"],
        "what": about(found),
        "version": f"{found['version']}{role}" if found["version"] else "",
        "since": time_text(found["since"]),
        "found": time_text(found["detected_at"]),
        "effect": found["effect"],
        "verdict": verdict(found),
        "statistic": f"{found['statistic']} {number(found['value'])}, "
        f"threshold {number(found['threshold'])} ({found['detector']})",
        "e-value": "" if found["e_value"] is None else number(found["e_value"]),
        "p-value": "" if found["p_value"] is None else number(found["p_value"]),
        "window": f"{time_text(found['window_from'])} to {time_text(found['window_to'])}, "
        f"{found['window_size']:,} records",
        "reference": f"{found['reference']}, {found['reference_size']:,} records",
    }
    for name, value in facts.items():
        if value:
            yield f"{name:<10} {value}"
    drawn = list(histogram(bars(found["evidence"])))
    if drawn:
        yield ""
        yield from drawn
