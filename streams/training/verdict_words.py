"""A verdict in words, from what a manifest holds: for commands, which load no estimators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PARTS = ("accepted", "reason", "paired", "segments", "behaviour", "parity")


def explained(verdict: Mapping[str, Any] | str) -> list[str]:
    """A manifest's verdict as lines for a person.

    Older manifests have a sentence only; of data that training did not write the reason is told.
    """
    if isinstance(verdict, str):
        return [verdict]
    if not all(part in verdict for part in PARTS):
        return [str(verdict.get("reason", dict(verdict)))]
    lines = [("accepted: " if verdict["accepted"] else "refused: ") + verdict["reason"]]
    paired = verdict["paired"]
    if paired:
        low, high = paired["interval"]
        lines.append(
            f"paired test: {paired['found']}; {verdict['measure']} differs by "
            f"{paired['difference']:+.4f} ({low:+.4f} to {high:+.4f}; margin "
            f"{paired['margin']:+.4f}), p {paired['p']:.2g}, {paired['blocks']} blocks of "
            f"{verdict['rows']} rows"
        )
    for one in verdict["segments"]:
        mark = "worse" if one["worse"] else "passed"
        lines.append(
            f"{one['segment']} is {one['value']}: {mark}; {one['loss']:.4f} against "
            f"{one['champion_loss']:.4f} on {one['rows']} rows, p {one['adjusted_p']:.2g}"
        )
    for one in verdict["behaviour"]:
        mark = "passed" if one["passed"] else "failed" if one["severity"] == "refuse" else "warning"
        lines.append(f"{one['kind']} {one['name']!r}: {mark}; {told(one)}")
        lines += [f"    {example(one_row)}" for one_row in one["examples"]]
    same = verdict["parity"]
    if same["note"]:
        lines.append(f"parity: failed; {same['note']}")
    else:
        mark = "passed" if same["passed"] else "failed"
        lines.append(f"parity: {mark}; {same['largest']:.1e} at most on {same['rows']} rows")
    return lines


def told(one: Mapping[str, Any]) -> str:
    """How a behavioural test went."""
    if one["note"]:
        return str(one["note"])
    return f"{one['failed']:.1%} of {one['rows']} rows break it, {one['allowed']:.1%} may"


def example(found: Mapping[str, Any]) -> str:
    """A row that fails a behavioural test."""
    if "expected" in found:
        row = ", ".join(f"{k}={_value(v)}" for k, v in found["row"].items() if v is not None)
        return f"{row}: answered {found['answered']}, expected {found['expected']}"
    moved = ", ".join(
        f"{name} {_value(found['row'][name])} to {_value(value)}"
        for name, value in found["changed"].items()
    )
    of = f" of {found['of']}" if "of" in found else ""
    return f"{moved}: answer{of} {found['before']:.3f} to {found['after']:.3f}"


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
