"""What a comparison found: as JSON, and as the tables of docs/estimates.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from services.evaluate.comparison import Compared

BEGIN, END = "<!-- weir evaluate estimates: begin -->", "<!-- weir evaluate estimates: end -->"
Found = Mapping[str, Mapping[str, Compared]]


class ReportError(ValueError):
    """The page has no place for the figures."""


def plain(found: Found) -> dict[str, dict[str, dict[str, float]]]:
    """{data set: {metric: {weir_mae, nannyml_mae}}}."""
    return {
        name: {
            metric: {"weir_mae": one.weir_mae, "nannyml_mae": one.nannyml_mae}
            for metric, one in metrics.items()
        }
        for name, metrics in found.items()
    }


def table(found: Found) -> str:
    """The comparison as a table in Markdown."""
    lines = [
        "| data set | metric | chunks | realised, mean | Weir off by | NannyML off by "
        "| Weir / NannyML | realised within Weir's bar | trusted chunks | off by on these |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, metrics in found.items():
        for metric, one in metrics.items():
            cells = [
                name,
                metric,
                str(one.chunks),
                _number(one.realised),
                _number(one.weir_mae),
                _number(one.nannyml_mae),
                f"{one.weir_mae / one.nannyml_mae:.2f}",
                f"{one.covered:.0%}",
                str(one.trusted),
                "" if math.isnan(one.trusted_mae) else _number(one.trusted_mae),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def renew(page: Path, found: Found) -> None:
    """Put the figures between the page's marks. Raises ReportError where it has none."""
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise ReportError(f"{page} lacks the marks {BEGIN} and {END}: put them where figures go")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    page.write_text(f"{before}{BEGIN}\nMeasured on {day}.\n\n{table(found)}\n{END}{after}")


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"
