"""``weir models``: the versions."""

from __future__ import annotations

import time

from services.command.context import JsonOption, TaskOption, open_context
from services.command.output import note, print_json, print_table, table, time_text

SHOWN = ("accuracy", "roc_auc", "log_loss", "brier", "rmse", "r2")
"""Metrics that the table has room for; --json has all."""


def models(task: TaskOption = None, as_json: JsonOption = False) -> None:
    """List the model versions: role, age, rows, and their metrics on held-out time."""
    from services.command.registry import read_versions

    context = open_context(task)
    roles = read_versions(context)
    newest_first = list(roles.records.values())[::-1]
    if as_json:
        print_json(
            [
                {
                    **record.record(),
                    "role": roles.role(record.version),
                    **{
                        name: time_text(getattr(record, name))
                        for name in ("changed_at", "data_from", "data_to")
                    },
                }
                for record in newest_first
            ]
        )
        return
    if not newest_first:
        note("no version yet: the trainer makes the first one, `weir status` shows how far it is")
        return
    metrics = [name for name in SHOWN if any(name in record.metrics for record in newest_first)]
    shown = table("version", "role", "age", "rows", *metrics, "reason", right=("rows", *metrics))
    for record in newest_first:
        shown.add_row(
            record.version,
            roles.role(record.version),
            age_text(record.changed_at),
            f"{record.rows:,}",
            *(f"{record.metrics[n]:.4f}" if n in record.metrics else "" for n in metrics),
            record.reason,
        )
    print_table(shown)


def age_text(since_ms: int) -> str:
    """How long ago, in its two largest units: ``3 d 4 h``, ``5 min 2 s``."""
    left = max(0, time.time_ns() // 1_000_000 - since_ms) // 1000
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])
