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


DERIVED = ("log_loss",)
"""Metrics that NannyML does not estimate: what stands on its side is what follows from the
probabilities that its CBPE calibrates, and no figure of NannyML's."""


def plain(found: Found) -> dict[str, dict[str, dict[str, float]]]:
    """{data set: {metric: {weir_mae, nannyml_mae}}}, of the metrics that NannyML estimates."""
    return _both(_some(found, derived=False), "nannyml_mae")


def derived(found: Found) -> dict[str, dict[str, dict[str, float]]]:
    """{data set: {metric: {weir_mae, from_cbpe_probabilities_mae}}}, of those that it does not."""
    return _both(_some(found, derived=True), "from_cbpe_probabilities_mae")


def _some(found: Found, derived: bool) -> Found:
    chosen = {
        name: {metric: one for metric, one in metrics.items() if (metric in DERIVED) == derived}
        for name, metrics in found.items()
    }
    return {name: metrics for name, metrics in chosen.items() if metrics}


def _both(found: Found, theirs: str) -> dict[str, dict[str, dict[str, float]]]:
    return {
        name: {
            metric: {"weir_mae": one.weir_mae, theirs: one.nannyml_mae}
            for metric, one in metrics.items()
        }
        for name, metrics in found.items()
    }


def tables(found: Found) -> str:
    """The comparison in Markdown: what NannyML estimates, and what follows from its calibration."""
    own = _table(_some(found, derived=False), "NannyML")
    more = _some(found, derived=True)
    if not more:
        return own
    return "\n\n".join([own, _DERIVED_WORDS, _table(more, "CBPE's probabilities")])


_DERIVED_WORDS = (
    "Log loss, which NannyML does not estimate; what stands beside Weir's is the expected loss "
    "under the probabilities that CBPE calibrates:"
)


def _table(found: Found, theirs: str) -> str:
    lines = [
        f"| data set | metric | chunks | realised, mean | Weir off by | {theirs} off by "
        f"| Weir / {theirs} | realised within Weir's bar | trusted chunks | off by on these |",
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
    page.write_text(f"{before}{BEGIN}\nMeasured on {day}.\n\n{tables(found)}\n{END}{after}")


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"
