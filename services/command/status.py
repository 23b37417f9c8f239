"""``weir status``: what runs, how it is, how far it is behind."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from datetime import datetime
from typing import Any

import typer
from rich.text import Text

from services.command.context import Context, JsonOption, TaskOption, open_context
from services.command.output import CommandError, note, out, print_json, print_table, table
from services.supervisor.state import ProcessState, read_run_state
from services.supervisor.wording import trouble

HEALTH_TIMEOUT_S = 2.0


def status(task: TaskOption = None, as_json: JsonOption = False) -> None:
    """Show processes, their health, the lag of the consumer groups, the champion, what failed.

    Exits with 1 where the system does not run or a process is not well, as in a crash loop.
    """
    context = open_context(task)
    state = read_run_state(context.settings.home)
    processes = [_process(p) for p in state.processes.values()]
    found: dict[str, Any] = {
        "home": str(context.settings.home),
        "task": context.contract.task,
        "running": state.running,
        "processes": processes,
        "groups": {},
        "waiting": [],
        "champion": None,
        "failed_training": None,
        "addresses": {
            "kafka": context.settings.bootstrap,
            "clickhouse": f"http://{context.settings.clickhouse_host}"
            f":{context.settings.clickhouse_port}",
            "page": f"http://127.0.0.1:{context.settings.console_port}/",
        },
    }
    problem = _from_the_broker(context, found)
    if as_json:
        print_json(found)
    else:
        _show(found, problem)
    if not state.running or not all(process["well"] for process in processes):
        raise typer.Exit(1)


def _from_the_broker(context: Context, found: dict[str, Any]) -> str | None:
    """Lag, champion and the training that failed; the reason where they cannot be had."""
    from services.command.lag import lags, waiting
    from services.command.registry import read_failure, read_versions

    try:
        found["groups"] = lags(context.kafka, context.contract.task)
        found["waiting"] = waiting(context.kafka, context.contract.task)
        roles = read_versions(context)
        failure = read_failure(context, roles)
        found["failed_training"] = failure.facts() if failure else None
        champion = roles.champion
    except CommandError as error:
        return str(error)
    if champion is not None:
        found["champion"] = {
            "version": champion.version,
            "since": champion.changed_at,
            "rows": champion.rows,
            "metrics": dict(champion.metrics),
        }
    return None


def _process(state: ProcessState) -> dict[str, Any]:
    health = ask_health(state.addresses.get("health")) if state.alive else None
    ended = trouble(state, time.time())
    looping = ended is not None and ended["crash_loop"]
    well = state.alive and state.state == "ready" and (health is None or bool(health.get("ok")))
    now = state.state if state.alive or state.pid is None else "dead"
    return {
        "name": state.name,
        "well": well and not looping,
        "state": "crash-loop" if looping else now,
        "pid": state.pid,
        "since": state.since,
        "restarts": state.restarts,
        "memory_mb": _memory_mb(state.pid) if state.alive else None,
        "addresses": dict(state.addresses),
        "health": health,
        "log": state.log,
        "trouble": ended,
    }


def ask_health(url: str | None) -> dict[str, Any] | None:
    """What a process says of itself; None where it has no such page."""
    if url is None:
        return None
    # No proxy: the environment may name one, and it cannot reach this machine's 127.0.0.1.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=HEALTH_TIMEOUT_S) as answer:
            said: dict[str, Any] = json.load(answer)
            return said
    except urllib.error.HTTPError as error:
        try:
            unwell: dict[str, Any] = json.load(error)
            return unwell
        except ValueError:
            return {"ok": False, "error": str(error)}
    except (OSError, ValueError) as error:
        return {"ok": False, "error": str(error)}


def _memory_mb(pid: int | None) -> int | None:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss // 1_000_000)
    except psutil.Error:
        return None


def _show(found: dict[str, Any], problem: str | None) -> None:
    if not found["running"]:
        note(f"nothing runs in {found['home']}: `weir up` starts it")
    if found["processes"]:
        shown = table("process", "state", "since", "pid", "MB", "restarts", "says", right=("MB",))
        for process in found["processes"]:
            since = datetime.fromisoformat(process["since"]).astimezone()
            shown.add_row(
                process["name"],
                _state_text(process),
                since.strftime("%H:%M:%S"),
                str(process["pid"] or ""),
                str(process["memory_mb"] or ""),
                str(process["restarts"] or ""),
                _says(process),
            )
        print_table(shown)
        for ended in (process["trouble"] for process in found["processes"]):
            if ended:
                style = "bold red" if ended["crash_loop"] else None
                out.print(ended["text"], style=style, soft_wrap=True)
                out.print(f"  its log: {ended['log']}", style=style, soft_wrap=True)
        out.print()
    if found["groups"]:
        shown = table("group", "members", "behind", "of these", right=("members", "behind"))
        for group, about in found["groups"].items():
            behind = {topic: lag for topic, lag in about["lag"].items() if lag}
            # Of a long gap only the length is known, and markers of transactions are part of it.
            bound = {topic: "at most " for topic in about["at_most"]}
            shown.add_row(
                group,
                str(about["members"]),
                f"{'at most ' if bound else ''}{sum(behind.values()):,}",
                ", ".join(f"{topic} {bound.get(topic, '')}{n:,}" for topic, n in behind.items()),
            )
        print_table(shown)
        out.print()
    for each in found["waiting"]:
        out.print(
            f"{each['topic']}[{each['partition']}] waits for a producer's open transaction at "
            f"offset {each['offset']:,}: {each['held']:,} offsets from there on are read by nobody "
            "until it ends",
            style="bold red",
            soft_wrap=True,
        )
    champion = found["champion"]
    if champion:
        from services.command.models import age_text

        metrics = ", ".join(f"{n} {v:.4g}" for n, v in list(champion["metrics"].items())[:4])
        out.print(
            f"champion {champion['version']}, for {age_text(champion['since'])}, trained on "
            f"{champion['rows']:,} rows ({metrics})",
            markup=False,
            soft_wrap=True,
        )
    elif found["running"] and problem is None:
        out.print("no champion yet: requests get the fallback")
    if failed := found["failed_training"]:
        out.print(failed["text"], style="bold red", soft_wrap=True)
        out.print(f"  what to do: {failed['what_to_do']}", soft_wrap=True)
    if found["running"]:
        for what, address in found["addresses"].items():
            out.print(f"{what:<10} {address}")
    if problem:
        note(problem)


def _state_text(process: dict[str, Any]) -> Text:
    if process["state"] == "crash-loop":
        return Text("crash loop", style="bold red")
    return Text(process["state"] if process["well"] else f"{process['state']} (not well)")


def _says(process: dict[str, Any]) -> str:
    """The health page's details that are worth a line; of numbers by topic, the sum."""
    said = {
        name: sum(value.values()) if isinstance(value, dict) else value
        for name, value in (process["health"] or {}).items()
    }
    return ", ".join(f"{k} {v}" for k, v in said.items() if k != "ok" and v not in ("", None))
