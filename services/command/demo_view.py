"""How the demo looks in a terminal: a panel that lives, or a line every few seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table

from schemas.moments import moment
from services.command.figures import Figures, Window
from services.demo.replay import Progress
from streams.roles import Roles

DAYS = 5


@dataclass(frozen=True)
class Snapshot:
    """Everything that is shown, at one moment."""

    progress: Progress
    speed: float
    latency_ms: Mapping[str, float | None]
    waiting: int
    days: list[Window]
    week: Window | None
    roles: Roles
    page: str | None

    @classmethod
    def of(
        cls, progress: Progress, speed: float, watch: Any, figures: Figures, page: str | None
    ) -> Snapshot:
        """Ask everybody who knows."""
        return cls(
            progress,
            speed,
            watch.recent_ms(),
            watch.waiting,
            figures.last("tumbling_1d", DAYS),
            figures.last_whole("sliding_7d_1d"),
            figures.roles,
            page,
        )


def panel(now: Snapshot) -> RenderableType:
    """The live panel."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column()
    progress = now.progress
    facts.add_row(
        "event time",
        f"{_when(progress.event_time)}  ({_speed(now)}, "
        f"{progress.position / max(1, progress.total):.1%} of the year)",
    )
    facts.add_row("waits for", progress.waits_for or "nothing")
    facts.add_row(
        "requests",
        f"{progress.requests:,} sent, {progress.per_s:,.0f}/s, {now.waiting:,} unanswered; "
        f"{progress.truths:,} truths",
    )
    facts.add_row("latency", f"{_latency(now.latency_ms)}, request to committed prediction")
    if now.week is not None:
        facts.add_row("deferred", f"{now.week.figures['share_deferred']:.1%} in 7 days")
    facts.add_row("in service", _versions(now.roles))
    if now.page:
        facts.add_row("page", now.page)
    parts: list[RenderableType] = [facts]
    if now.days:
        parts += ["", _windows(now)]
    return Panel(
        Group(*parts),
        title="weir demo: flights from New York, 2013",
        subtitle="Ctrl-C stops everything in order",
        border_style="dim",
        width=108,
    )


def line(now: Snapshot) -> str:
    """The same in one line, for a log."""
    progress = now.progress
    parts = [
        _when(progress.event_time),
        f"{progress.requests:,} requests at {progress.per_s:,.0f}/s",
        f"{now.waiting:,} unanswered",
        _latency(now.latency_ms),
    ]
    if now.week is not None:
        parts.append(f"7 days: deferred {now.week.figures['share_deferred']:.1%}, {_quality(now)}")
    if progress.waits_for:
        parts.append(f"waits for {progress.waits_for}")
    return " | ".join([*parts, _versions(now.roles)])


def summary(report: Mapping[str, Any]) -> str:
    """The final report for a person."""
    latency = report["latency_ms"]
    times = report["event_time"]
    return "\n".join(
        [
            f"{report['requests']:,} requests, {report['predictions']:,} predictions: "
            f"{report['lost']} lost, {report['duplicates']} duplicates",
            f"{report['deferred']:,} deferred, {report['rejected']:,} rejected, "
            f"{report['truths']:,} truths, {report['outcomes']:,} outcomes",
            _latency(latency),
            *_quality_lines(report.get("quality")),
            f"event time {times['from']} to {times['to']}",
            "versions " + ", ".join(f"{v['id']} ({v['role']})" for v in report["versions"]),
        ]
    )


def _quality_lines(quality: Mapping[str, Any] | None) -> list[str]:
    """What the live answers were worth, beside the same versions offline."""
    if not quality or quality["auc_by_day"] is None:
        return []
    lines = [
        f"ROC AUC by day: {_number(quality['auc_by_day'])} live, "
        f"{_number(quality['auc_by_day_offline'])} the same versions offline, on the same "
        f"{quality['scored']:,} rows"
    ]
    for version in quality["versions"][1:]:
        lines.append(
            f"  {version['version']}: {_number(version['auc_by_day'])} on its "
            f"{version['scored']:,} rows, where the first version would have had "
            f"{_number(version['first_version_offline'])}"
        )
    return lines


def _speed(now: Snapshot) -> str:
    most = "" if math.isinf(now.speed) else f", {now.speed:g} at most"
    return f"{now.progress.days_per_s:.2f} days a second{most}"


def _windows(now: Snapshot) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="dim")
    shown.add_column("day")
    for name in ("scored", "deferred", "labelled", "accuracy", "ROC AUC", "log loss"):
        shown.add_column(name, justify="right")
    shown.add_column("version", no_wrap=True)
    for window in ([now.week] if now.week else []) + now.days:
        figures = window.figures
        start = moment(window.start)
        last = moment(window.end - 1000)
        shown.add_row(
            f"{start:%b %d}" if last.date() == start.date() else f"{start:%b %d} – {last:%b %d}",
            f"{figures['scored']:,}",
            f"{figures['share_deferred']:.1%}",
            f"{figures['share_labelled']:.0%}",
            *(_number(figures[name]) for name in ("accuracy", "roc_auc", "log_loss")),
            window.version,
        )
    return shown


def _quality(now: Snapshot) -> str:
    figures = now.week.figures if now.week else {}
    return f"accuracy {_number(figures['accuracy'])}, AUC {_number(figures['roc_auc'])}"


def _versions(roles: Roles) -> str:
    champion = roles.champion
    others = [
        f"{record.version} ({role})"
        for role in ("canary", "shadow", "candidate")
        for record in roles.with_role(role)
    ]
    return ", ".join([champion.version if champion else "no version yet", *others])


def _latency(ms: Mapping[str, float | None]) -> str:
    if ms["p50"] is None or ms["p99"] is None:
        return "latency not known yet"
    return f"p50 {ms['p50']:.1f} ms, p99 {ms['p99']:.1f} ms"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _when(time: datetime | None) -> str:
    return "before the first flight" if time is None else f"{time:%a %Y-%m-%d %H:%M} UTC"
