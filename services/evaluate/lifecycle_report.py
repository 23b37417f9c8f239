"""The figures of docs/lifecycle.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.evaluate.report import ReportError

BEGIN, END = "<!-- weir evaluate lifecycle: begin -->", "<!-- weir evaluate lifecycle: end -->"
Found = Mapping[str, Any]


def section(found: Found) -> str:
    """The run in Markdown."""
    promotion, refusal, rollback = (found[name] for name in ("promotion", "refusal", "rollback"))
    spans = ", ".join(f"{what} {value} s" for what, value in promotion["seconds"].items())
    return "\n\n".join(
        [
            "### From trigger to champion",
            f"The event: {promotion['event']['reason']}. {spans}. Trained on "
            f"{promotion['version']['rows']:,} rows:",
            _steps(promotion["steps"]),
            _decisions(promotion["decisions"]),
            "### A refusal",
            f"`{refusal['version']['version']}`, trained on {refusal['version']['rows']:,} rows, "
            f"became `{refusal['version']['role']}`: {refusal['version']['reason']}",
            "### A rollback",
            f"`{rollback['version']['version']}` learned the opposite of the truth and was "
            f"promoted by hand. After {rollback['seconds']} s:",
            _decisions(rollback["decisions"]),
            "### What was counted",
            f"```json\n{json.dumps(found['counted'])}\n```",
        ]
    )


def _steps(steps: Mapping[str, float]) -> str:
    lines = ["| step of the training | seconds |", "|---|--:|"]
    lines += [f"| {name} | {seconds:.2f} |" for name, seconds in steps.items()]
    return "\n".join([*lines, f"| all | {sum(steps.values()):.2f} |"])


def _decisions(decisions: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| decision | moves | why |", "|---|---|---|"]
    for one in decisions:
        moves = "; ".join(f"`{version}` {move}" for version, move in one["moves"].items())
        lines.append(f"| {one['action']} | {moves} | {one['reason']} |")
    return "\n".join(lines)


def renew(page: Path, found: Found) -> None:
    """Put the figures into the page, between its two marks. Raises ReportError."""
    text = page.read_text("utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ReportError(f"{page}: {BEGIN} and {END} are to stand there once each")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    day = datetime.now(UTC).date()
    page.write_text(
        f"{before}{BEGIN}\nMeasured on {day}.\n\n{section(found)}\n{END}{after}", "utf-8"
    )
