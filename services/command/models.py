"""``weir models``: the versions, what is known of each, and roles given by hand."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import typer

from services.command import models_act, models_look
from services.command.context import Context, JsonOption, TaskOption, open_context
from services.command.output import err, note, print_json, print_table, table, time_text

app = typer.Typer(
    invoke_without_command=True,
    help="List the model versions, look into them, give them roles by hand.",
)
SHOWN = ("accuracy", "roc_auc", "log_loss", "brier", "rmse", "r2")
"""Metrics that the table has room for; --json has all."""


@app.callback()
def models(asked: typer.Context, task: TaskOption = None, as_json: JsonOption = False) -> None:
    """List the model versions (as `list` does), look into them, give them roles by hand."""
    if asked.invoked_subcommand is None:
        _list(open_context(task), as_json)


@app.command("list")
def list_(task: TaskOption = None, as_json: JsonOption = False) -> None:
    """List the versions, the newest change first: role, share, metrics, age, data, gate, why."""
    _list(open_context(task), as_json)


app.command()(models_look.show)
app.command()(models_look.diff)
app.command()(models_act.promote)
app.command()(models_act.rollback)
app.command()(models_act.archive)


def _list(context: Context, as_json: bool) -> None:
    from services.command.registry import read_failure, read_versions
    from services.projection.places import read_manifest

    roles = read_versions(context)
    newest_first = list(roles.records.values())[::-1]
    artifacts = context.settings.artifacts
    if as_json:
        print_json(
            [
                {
                    **record.record(),
                    "role": roles.role(record.version),
                    "gate": gate_text(read_manifest(artifacts, record.bundle)),
                    **{
                        name: time_text(getattr(record, name))
                        for name in ("changed_at", "data_from", "data_to")
                    },
                }
                for record in newest_first
            ]
        )
        return
    failure = read_failure(context, roles)
    if failure is not None:
        err.print(failure.text, style="bold red", soft_wrap=True)
        note(f"what to do: {failure.facts()['what_to_do']}")
    if not newest_first:
        if failure is not None:
            return
        note("no version yet: the trainer makes the first one, `weir status` shows how far it is")
        return
    metrics = [name for name in SHOWN if any(name in record.metrics for record in newest_first)]
    heads = ("version", "role", "share", "age", "data", "rows", *metrics, "gate", "by", "why")
    shown = table(*heads, right=("share", "rows", *metrics))
    for record in newest_first:
        shown.add_row(
            record.version,
            roles.role(record.version),
            f"{record.share:.1%}" if record.share else "",
            age_text(record.changed_at),
            f"{time_text(record.data_from)[:10]} – {time_text(record.data_to)[:10]}",
            f"{record.rows:,}",
            *(f"{record.metrics[n]:.4f}" if n in record.metrics else "" for n in metrics),
            gate_text(read_manifest(artifacts, record.bundle)),
            record.changed_by,
            record.reason,
        )
    print_table(shown)


def gate_text(manifest: Mapping[str, Any]) -> str:
    """A gate in a few words; empty where the bundle is not here."""
    gate = manifest.get("gate")
    if not isinstance(gate, Mapping):
        return ""
    if gate.get("threshold") is None:
        return "none"
    deferred = manifest.get("metrics", {}).get("share_deferred")
    pays = {"True": ", pays", "False": ", does not pay"}.get(str(gate.get("pays")), "")
    return f"defers {deferred:.1%}{pays}" if deferred is not None else f"deployed{pays}"


def age_text(since_ms: int) -> str:
    """How long ago, in its two largest units: ``3 d 4 h``, ``5 min 2 s``."""
    left = max(0, time.time_ns() // 1_000_000 - since_ms) // 1000
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])
