"""``weir rollout``: which versions moved, why, and what runs now."""

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

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(
    help="Show why versions changed their roles, and the experiment that runs.",
    invoke_without_command=True,
)

TIMES = ("decided_at", "event_time")
MOST = 50
LEAST_ID = 4
"""Characters of an id that are enough, where no other begins with them."""

Limit = Annotated[int, typer.Option("-n", min=1, help="Decisions to list at most.")]


@app.callback()
def rollout(
    context: typer.Context,
    task: TaskOption = None,
    as_json: JsonOption = False,
    most: Limit = MOST,
) -> None:
    """List the decisions, the newest first; the same as `weir rollout list`."""
    if context.invoked_subcommand is None:
        _list(open_context(task), as_json, most)


@app.command("list")
def list_(task: TaskOption = None, as_json: JsonOption = False, most: Limit = MOST) -> None:
    """List the decisions, the newest first, and say what runs now."""
    _list(open_context(task), as_json, most)


@app.command()
def explain(
    decision_id: Annotated[str, typer.Argument(help="The id, or as much of it as is enough.")],
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say of one decision what moved, why, and every figure that was looked at."""
    found = _one(_records(open_context(task), "decisions"), decision_id)
    try:
        plain = {**_plain(found), "evidence": json.loads(found["evidence"])}
        lines = [] if as_json else list(_explained(found))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CommandError(
            f"the decision {found['decision_id']} cannot be explained: it is not Weir's ({error!r})"
        ) from error
    if as_json:
        print_json(plain)
    for line in lines:
        out.print(line, soft_wrap=True)


def _list(context: Context, as_json: bool, most: int) -> None:
    newest_first = _records(context, "decisions")[::-1][:most]
    if as_json:
        print_json([_plain(found) for found in newest_first])
        return
    if newest_first:
        shown = table("id", "decided", "action", "version", "role", "outcomes", "why")
        for found in newest_first:
            shown.add_row(
                found["decision_id"],
                time_text(found["decided_at"]),
                found["action"],
                found["version"],
                _role(found),
                f"{found['outcomes']:,}" if found["outcomes"] else "",
                found["reason"],
            )
        print_table(shown)
    else:
        note("no decision so far: the task's rollout moves accepted versions, one at a time")
    if running := _running(_records(context, "rollouts")):
        note(running)


def _running(states: list[dict[str, Any]]) -> str:
    """What runs by the last state that is Weir's; empty where nothing does."""
    for record in reversed(states):
        try:
            running = json.loads(record["state"])["experiment"]
            return running and (
                f"experiment {running['id']} runs ({running['stage']}): "
                f"{', '.join(running['challengers'])} beside {running['reference']}"
            )
        except (ValueError, LookupError, TypeError):
            continue
    return ""


def _role(found: dict[str, Any]) -> str:
    move: str = found["moves"].get(found["version"], "")
    return move.replace(" > ", " ► ")


def _records(context: Context, name: str) -> list[dict[str, Any]]:
    """All records of a topic, the oldest first. CommandError where it cannot be read."""
    from services.command.reading import partitions, read_all, readable, reader

    topic = context.contract.topic(name)
    codec = context.contract.codec(topic.record, context.settings.home)
    full = topic.topic(context.contract.task)
    with reader(context.kafka) as consumer:
        stored = list(read_all(consumer, full, partitions(consumer, full)))
    return [record for _, record in readable(stored, codec)]


def _one(decisions: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    """The decision of an id. CommandError where there is none, or several begin like that."""
    found = [one for one in decisions if one["decision_id"] == wanted]
    if not found and len(wanted) >= LEAST_ID:
        found = [one for one in decisions if one["decision_id"].startswith(wanted)]
    ids = {one["decision_id"] for one in found}
    if len(ids) > 1:
        raise CommandError(f"{len(ids)} decisions begin with {wanted}: {', '.join(sorted(ids))}")
    if not found:
        raise CommandError(f"there is no decision {wanted}; `weir rollout` lists those there are")
    return found[-1]


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """For programs: times as text, the evidence left to `explain`."""
    kept = {name: value for name, value in found.items() if name != "evidence"}
    return kept | {name: time_text(found[name]) or None for name in TIMES}


def _explained(found: dict[str, Any]) -> Iterator[str]:
    yield found["reason"]
    yield ""
    evidence = json.loads(found["evidence"])
    interval = ""
    if found["value"] is not None:
        interval = f"{found['value']:+.4f}, between {found['low']:+.4f} and {found['high']:+.4f}"
    facts = {
        "id": found["decision_id"],
        "decided": f"{time_text(found['decided_at'])} by {found['changed_by']}",
        "event time": time_text(found["event_time"]),
        "action": f"{found['action']} ({found['rule']})",
        "moved": "; ".join(f"{v}: {move}" for v, move in found["moves"].items()),
        "experiment": f"{found['experiment']}, {found['strategy']}, beside {found['champion']}",
        "statistic": found["statistic"],
        "estimate": interval,
        "asked": "" if found["bound"] is None else f"{found['bound']:+g}",
        "may be wrong": "" if found["alpha"] is None else f"{found['alpha']:g} over all looks",
        "outcomes": f"{found['outcomes']:,}" if found["outcomes"] else "",
        "segment": found["segment"],
    }
    for name, value in facts.items():
        if value:
            yield f"{name:<13}{value}"
    for one in evidence.get("estimates", []):
        where = f" where {one['segment']}" if one["segment"] else ""
        yield (
            f"  {one['version']} {one['what']}{where}: {one['value']:+.4f} "
            f"[{one['low']:+.4f}, {one['high']:+.4f}], at most {one['limit']:+g}, n {one['n']:,}"
        )
