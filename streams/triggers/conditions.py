"""Whether a condition holds, and what shows it, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.moments import minute_text
from streams.triggers.declare import (
    HIGHER_IS_BETTER,
    AllOf,
    AnyOf,
    Condition,
    Drifted,
    Metric,
    MetricBelow,
    NewLabels,
    PerformanceDrop,
    Schedule,
)
from streams.triggers.inputs import Drift
from streams.triggers.series import Row, Series, figure

MOST_IDS = 20
"""Ids of one condition's evidence, at most."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What shows that a condition holds. kind: schedule, labels, metric, estimate or drift.

    ids: of drifts' records, and keys of metrics'. moment: of a schedule.
    """

    kind: str
    words: str
    ids: tuple[str, ...] = ()
    moment: int | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What conditions look at. since: up to when schedules are served. reference: the champion's
    metrics on held-out time. first: the name of the task's first window."""

    now: int
    since: int
    new_labels: int
    champion: str
    reference: Mapping[str, float]
    drifts: Sequence[Drift]
    series: Series
    first: str


def holds(condition: Condition, view: View) -> list[Evidence]:
    """The evidence for a condition; empty where it does not hold."""
    match condition:
        case AnyOf():
            return [each for part in condition.conditions for each in holds(part, view)]
        case AllOf():
            found = [holds(part, view) for part in condition.conditions]
            return [each for part in found for each in part] if all(found) else []
        case Schedule():
            return _schedule(condition, view)
        case NewLabels():
            if view.new_labels < condition.n:
                return []
            words = f"{view.new_labels:,} labels since the last event, {condition.n:,} are enough"
            return [Evidence("labels", words)]
        case Drifted():
            return _drifted(condition, view)
    return _metric(condition, view)


def _schedule(schedule: Schedule, view: View) -> list[Evidence]:
    moment = schedule.next(view.since)
    if moment > view.now:
        return []
    words = f"the schedule {schedule.cron} ({schedule.zone}) came to {minute_text(moment)}"
    return [Evidence("schedule", words, moment=moment)]


def _drifted(condition: Drifted, view: View) -> list[Evidence]:
    found = [
        drift
        for drift in view.drifts
        if (drift.version == view.champion)
        and (not condition.kinds or drift.kind in condition.kinds)
        and (drift.hurts is True or not condition.hurts)
        and (not condition.subject or drift.subject == condition.subject)
    ]
    if len({(drift.kind, drift.subject) for drift in found}) < condition.subjects:
        return []
    words = "; ".join(_words(drift) for drift in found[-3:])
    if len(found) > 3:
        words = f"{len(found)} drifts, the last: {words}"
    return [Evidence("drift", words, tuple(drift.id for drift in found[-MOST_IDS:]))]


def _words(drift: Drift) -> str:
    subject = f" of {drift.subject}" if drift.subject else ""
    hurts = {True: ", which hurts", False: ", which does not hurt", None: ""}[drift.hurts]
    return f"{drift.kind} drift{subject}{hurts}{f' ({drift.words})' if drift.words else ''}"


def _metric(condition: Metric, view: View) -> list[Evidence]:
    name = figure(condition)
    estimated = isinstance(condition, PerformanceDrop) and condition.estimated
    limit = _limit(condition, view)
    if limit is None:
        return []
    below, threshold = limit
    judged = [
        row
        for row in view.series.rows(condition, view.first, view.champion)
        if (row.predictions if estimated else row.scored) >= condition.least
        and (row.trusted or not estimated)
    ][: condition.windows]
    if len(judged) < condition.windows:
        return []
    end = "" if not condition.bound else "_high" if below else "_low"
    values = [row.figures.get(f"{name}{end}") for row in judged]
    for value in values:
        if value is None or not (value < threshold if below else value > threshold):
            return []
    words = f"{name}{_where(condition)} {'below' if below else 'above'} {threshold:.4g}"
    if isinstance(condition, PerformanceDrop):
        words += (
            f", more than {condition.by:g} worse than the {view.reference[condition.metric]:.4g} "
            f"of {view.champion} on its held-out time"
        )
    rows = ", ".join(_row(row, name) for row in judged[:3])
    many = f" in {len(judged)} windows in a row" if len(judged) > 1 else ""
    kind = "estimate" if estimated else "metric"
    return [Evidence(kind, f"{words}{many}: {rows}", tuple(r.id for r in judged[:MOST_IDS]))]


def _limit(condition: Metric, view: View) -> tuple[bool, float] | None:
    """Whether values below are bad, and the threshold; None where there is none to compare with."""
    if not isinstance(condition, PerformanceDrop):
        return isinstance(condition, MetricBelow), condition.threshold
    reference = view.reference.get(condition.metric)
    if reference is None:
        return None
    below = condition.metric in HIGHER_IS_BETTER
    return below, reference - condition.by if below else reference + condition.by


def _where(condition: Metric) -> str:
    return f" where {condition.segment} is {condition.value}" if condition.segment else ""


def _row(row: Row, name: str) -> str:
    low, high = (row.figures.get(f"{name}_{end}") for end in ("low", "high"))
    bounds = f" [{low:.4g}, {high:.4g}]" if low is not None and high is not None else ""
    value = row.figures.get(name)
    return f"{'?' if value is None else f'{value:.4g}'}{bounds} up to {minute_text(row.end)}"
