"""What the comparison of the gate found: the figures of docs/gate.md, and its plot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from services.evaluate.environments import ROOT, python_of, run
from services.evaluate.gate import CURVE, SHARES, Judged
from services.evaluate.report import ReportError

BEGIN, END = "<!-- weir evaluate gate: begin -->", "<!-- weir evaluate gate: end -->"
DRAWING = Path(__file__).parent / "drawing"
IMAGE = Path("images") / "gate.svg"
WAYS = ("confidence", "imitation", "errors")


def section(found: Mapping[str, Judged]) -> str:
    """The figures in Markdown."""
    lines = [
        "| windowed features | deferred | confidence | gate | gate's lead (95 % by day) "
        "| additive gate |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, one in found.items():
        none = f"{one.errors.mean():.4f}"
        lines.append(f"| {name} | none | {none} | {none} | | {none} |")
        for share in SHARES:
            lead, low, high = one.lead(share)
            confidence, gate, other = (one.error(way, share) for way in WAYS)
            lines.append(
                f"| {name} | {share:.0%} | {confidence:.4f} | {gate:.4f} "
                f"| {lead:+.4f} ({low:+.4f} to {high:+.4f}) | {other:.4f} |"
            )
    costs = [
        "| windowed features | form | f, µs a row | i, µs a row | f / i |",
        "|---|---|--:|--:|--:|",
    ]
    costs += [
        f"| {name} | {form} | {cost['f']:.2f} | {cost['i']:.2f} | {cost['ratio']:.3f} |"
        for name, one in found.items()
        for form, cost in one.costs.items()
    ]
    rows = ", ".join(f"{one.trained_on:,} rows {name}" for name, one in found.items())
    parts = ["\n".join(lines), f"![Risk against share deferred]({IMAGE})", "\n".join(costs)]
    return "\n\n".join(parts) + f"\n\nTrained on {rows}; asked about {_asked(found)} flights."


def _asked(found: Mapping[str, Judged]) -> str:
    return f"{len(next(iter(found.values())).errors):,}"


def renew(page: Path, found: Mapping[str, Judged]) -> None:
    """Put the figures between the page's marks, and the plot beside it. Raises ReportError and
    EnvironmentFailed."""
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise ReportError(f"{page} lacks the marks {BEGIN} and {END}: put them where figures go")
    image = page.parent / IMAGE
    image.parent.mkdir(parents=True, exist_ok=True)
    told = {
        "shares": CURVE,
        "sets": {
            name: {way: [one.error(way, share) for share in CURVE] for way in WAYS}
            for name, one in found.items()
        },
    }
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    page.write_text(f"{before}{BEGIN}\nMeasured on {day}.\n\n{section(found)}\n{END}{after}")
    python = python_of(DRAWING, ROOT / ".venv-drawing")
    command = [str(python), str(DRAWING / "gate.py"), str(image)]
    run(command, "the plot cannot be drawn", given=json.dumps(told))
