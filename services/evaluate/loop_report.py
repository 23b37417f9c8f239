"""What the comparison of the loop found: the figures of docs/loop.md, and its plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from schemas.moments import moment
from services.evaluate.environments import ROOT, python_of, run
from services.evaluate.loop import ALL, STATEFUL, STATELESS, WEIR, Found, told
from services.evaluate.loop_world import Score
from services.evaluate.report import ReportError

BEGIN, END = "<!-- weir evaluate loop: begin -->", "<!-- weir evaluate loop: end -->"
DRAWING = Path(__file__).parent / "drawing"
IMAGE = Path("images") / "loop.svg"
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def section(found: Found, plain: Found | None) -> str:
    """The figures in Markdown. plain: of the comparison without windowed features."""
    parts = [by_month(found), f"![The months, and when was retrained]({IMAGE})", _lead(found)]
    if STATELESS in found.scores:
        parts.append(_share(found))
    parts.append(f"What Weir's triggers asked for:\n\n{_events(found)}")
    parts.append(
        "The same versions, and what Weir has of them besides the estimator's own answers:\n\n"
        + totals(found.more)
    )
    if plain is not None:
        parts.append(f"Without windowed features:\n\n{totals(plain.scores)}\n\n{_lead(plain)}")
    return "\n\n".join(parts)


def by_month(found: Found) -> str:
    """AUC and log loss of every strategy, by month and as means of the months: two tables."""
    scores = found.scores.values()
    auc = _monthly("AUC", found, [one.auc for one in scores])
    loss = _monthly("log loss", found, [one.log_loss for one in scores])
    return f"{auc}\n\n{loss}"


def _monthly(measure: str, found: Found, of: Sequence[Sequence[float]]) -> str:
    lines = [f"| {measure} | {' | '.join(found.scores)} |", f"|---|{'--:|' * len(of)}"]
    months = next(iter(found.scores.values())).months
    for i, month in enumerate(months):
        cells = [f"{one[i]:.4f}" for one in of]
        lines.append(f"| {MONTHS[month - 1]} | {' | '.join(cells)} |")
    means = [f"{sum(one) / len(one):.4f}" for one in of]
    counts = [f"{one.retrainings}" for one in found.scores.values()]
    lines.append(f"| mean | {' | '.join(means)} |")
    lines.append(f"| retrainings | {' | '.join(counts)} |")
    return "\n".join(lines)


def totals(scores: dict[str, Score] | object) -> str:
    """Means of the months."""
    assert isinstance(scores, dict)
    lines = ["| | AUC | log loss | retrainings |", "|---|--:|--:|--:|"]
    lines += [
        f"| {name} | {one.mean_auc:.4f} | {one.mean_log_loss:.4f} | {one.retrainings} |"
        for name, one in scores.items()
    ]
    return "\n".join(lines)


def _lead(found: Found) -> str:
    auc, loss = found.lead["auc"], found.lead["log_loss"]
    return (
        f"Weir against `{ALL}`: AUC {auc[0]:+.4f} (95 % of bootstraps by day between "
        f"{auc[1]:+.4f} and {auc[2]:+.4f}), log loss {-loss[0]:+.4f} (between {-loss[2]:+.4f} and "
        f"{-loss[1]:+.4f})."
    )


def _share(found: Found) -> str:
    said = found.replayed.said
    replayed = said.version != ""
    share = (said.probability[replayed] != said.batch[replayed]).mean()
    return (
        f"`{WEIR}` answered {share:.1%} of the requests with what learns from each outcome, as its "
        f"comparison said; `{STATELESS}` is the same without, `{STATEFUL}` that alone."
    )


def _events(found: Found) -> str:
    lines = ["| at (UTC) | why | rows | what came of it |", "|---|---|--:|---|"]
    for one in found.replayed.retrainings:
        at = moment(one.at)
        became = "champion" if one.accepted else "refused"
        lines.append(
            f"| {at:%Y-%m-%d %H:%M} | {_cell(one.reason)} | {one.rows:,} | {became}: "
            f"{_cell(one.verdict)} |"
        )
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def draw(found: Found, image: Path) -> None:
    """The plot, as SVG. Raises EnvironmentFailed where it cannot be drawn."""
    image.parent.mkdir(parents=True, exist_ok=True)
    python = python_of(DRAWING, ROOT / ".venv-drawing")
    run(
        [str(python), str(DRAWING / "loop.py"), str(image)],
        "the plot cannot be drawn",
        given=json.dumps(told(found)),
    )


def renew(page: Path, found: Found, plain: Found | None) -> None:
    """Put the figures between the page's marks, and the plot beside it. Raises ReportError."""
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise ReportError(f"{page} lacks the marks {BEGIN} and {END}: put them where figures go")
    draw(found, page.parent / IMAGE)
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    figures = section(found, plain)
    page.write_text(f"{before}{BEGIN}\nMeasured on {day}.\n\n{figures}\n{END}{after}")
