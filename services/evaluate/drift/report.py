"""What the comparison found, as the table and the plots of docs/drift.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from services.evaluate.drift.comparison import NONE, Found, streams
from services.evaluate.drift.jobs import OF_KIND
from services.evaluate.drift.judge import Judged
from services.evaluate.environments import ROOT, python_of, run
from services.evaluate.report import ReportError

BEGIN, END = "<!-- weir evaluate drift: begin -->", "<!-- weir evaluate drift: end -->"
DRAWING = Path(__file__).parents[1] / "drawing"
IMAGE = "images/drift.svg"


def section(found: Found) -> str:
    """Tables in Markdown: false alarms where nothing drifts, delays where something does."""
    parts = [
        f"Longest stationary run of the whole policy without a finding: {found.longest:,} records.",
        _table(found, list(NONE), _quiet, "False alarms per million records"),
        _table(found, list(streams()), _delay, "Median delay in records (share missed; false "
               "alarms per million before the change)"),
        _table(found, [*NONE, *streams()], _cpu, "Seconds of CPU per million records"),
    ]  # fmt: skip
    return "\n\n".join(parts)


def _detectors(found: Found) -> list[str]:
    return [name for name in found.judged if name not in OF_KIND]


def _table(found: Found, names: list[str], cell: object, title: str) -> str:
    assert callable(cell)
    about = {**NONE, **streams()}
    detectors = _detectors(found)
    rows = [name for name in names if any(name in by for by in found.judged.values())]
    lines = [
        f"**{title}**",
        "",
        "| stream | what drifts | " + " | ".join(detectors) + " | found as |",
        "|---|---|" + "--:|" * len(detectors) + "---|",
    ]
    for name in rows:
        cells = [cell(found.judged[one].get(name)) for one in detectors]
        kinds = _kinds(found.judged, name)
        lines.append(f"| {name} | {about[name]} | {' | '.join(cells)} | {kinds} |")
    return "\n".join(lines)


def _kinds(judged: Mapping[str, Mapping[str, Judged]], stream: str) -> str:
    """Kinds of Weir's findings on a stream, the ones most often first to be seen."""
    seen = {
        OF_KIND[name]: len(by[stream].delays) or by[stream].false
        for name, by in judged.items()
        if name in OF_KIND and stream in by
    }
    return ", ".join(sorted(seen, key=lambda kind: -seen[kind])[:3])


def _quiet(one: Judged | None) -> str:
    if one is None or one.false_alarms_per_million is None:
        return ""
    return f"{one.false_alarms_per_million:,.3g} ({one.false} in {_short(one.quiet)})"


def _delay(one: Judged | None) -> str:
    if one is None:
        return ""
    median = "–" if one.delay_median is None else f"{one.delay_median:,.0f}"
    notes = []
    if one.missed:
        notes.append(f"{one.missed:.0%} missed")
    if one.false:
        notes.append(f"{one.false_alarms_per_million:,.0f} false")
    return f"{median} ({'; '.join(notes)})" if notes else median


def _cpu(one: Judged | None) -> str:
    return "" if one is None else f"{one.cpu_s_per_million:.2g}"


def _short(records: int) -> str:
    return f"{records / 1e6:g} million" if records >= 1_000_000 else f"{records:,}"


def renew(page: Path, found: Found) -> None:
    """Put the figures between the page's marks and draw the plot. Raises ReportError."""
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise ReportError(f"{page} lacks the marks {BEGIN} and {END}: put them where figures go")
    image = page.parent / IMAGE
    image.parent.mkdir(parents=True, exist_ok=True)
    run(
        [str(python_of(DRAWING, ROOT / ".venv-drawing")), str(DRAWING / "drift.py"), str(image)],
        "the plot cannot be drawn",
        given=json.dumps(found.plain()),
    )
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    page.write_text(f"{before}{BEGIN}\nMeasured on {day}.\n\n{section(found)}\n{END}{after}")
