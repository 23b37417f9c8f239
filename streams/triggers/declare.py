"""What a task says of its triggers: conditions, and how often they may ask for a new version."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from schemas.features import NAME
from schemas.moments import moment

DAY = timedelta(days=1)
MOST_WINDOWS = 100
"""In a row, at most: so many are kept of each metric."""
DRIFTS = (
    *("data", "target", "prediction", "score", "concept", "estimate"),
    *("schema", "skew", "volume", "other"),
)
SPOILS = ("schema", "skew", "volume")
"""Kinds of drift after which data is not learned from until they have passed."""
BOUNDED = (
    *("share_deferred", "base_rate", "accuracy", "precision", "recall", "f1", "roc_auc"),
    *("log_loss", "brier", "mae", "rmse"),
)
"""As `streams.bounds` has them, whose imports a task's declaration need not wait for."""
UNBOUNDED = ("calibration_error", "r2")
HIGHER_IS_BETTER = ("accuracy", "precision", "recall", "f1", "roc_auc", "r2")
LOWER_IS_BETTER = ("log_loss", "brier", "mae", "rmse", "calibration_error")
ESTIMATED = ("accuracy", "roc_auc", "log_loss", "mae", "rmse")


@dataclass(frozen=True)
class Schedule:
    """At the moments of a cron expression in event time: ``Schedule("0 0 1 * *")`` is monthly.

    cron: minute, hour, day of month, month, day of week, as Debian's cron reads them. A moment that
    comes while an event is not answered yet, or in the cool-down, is taken as served by it.
    """

    cron: str
    zone: str = "UTC"

    def next(self, after_ms: int) -> int:
        """The first moment after a time, both in milliseconds."""
        after = moment(after_ms).astimezone(ZoneInfo(self.zone))
        due: datetime = next(CronSim(self.cron, after))
        return int(due.astimezone(UTC).timestamp() * 1000)


@dataclass(frozen=True)
class NewLabels:
    """So many labels have come since the last event (of any trigger, or of people)."""

    n: int


@dataclass(frozen=True, kw_only=True)
class _Windowed:
    """Which windows a metric is looked at in, and how many of them must be bad.

    window: by its name; empty: the task's first. windows: so many in a row.
    bound: the whole 95 % confidence interval must be beyond the threshold, not only the value.
    least: scored outcomes (of an estimate: predictions) of a window below which it says nothing:
        it neither fires nor ends the row.
    segment, value: a segment's metrics instead of all traffic's.
    """

    window: str = ""
    windows: int = 2
    bound: bool = True
    least: int = 100
    segment: str = ""
    value: str = ""


@dataclass(frozen=True)
class MetricBelow(_Windowed):
    """A metric of the champion is below a threshold: ``MetricBelow("roc_auc", 0.7)``."""

    metric: str
    threshold: float


@dataclass(frozen=True)
class MetricAbove(_Windowed):
    """A metric of the champion is above a threshold: ``MetricAbove("log_loss", 0.6)``."""

    metric: str
    threshold: float


@dataclass(frozen=True)
class PerformanceDrop(_Windowed):
    """A metric is worse by more than ``by`` than the champion's own on its held-out time.

    estimated: the estimate before labels come (and trusted); otherwise the realised metric.
    """

    metric: str
    by: float
    estimated: bool = True


@dataclass(frozen=True)
class Drifted:
    """A drift of the champion was found: of these kinds (none given: of any).

    hurts: only drifts of which it is known that the performance suffers; False: whether or not.
    subject: of this alone. subjects: so many different ones.
    """

    kinds: Sequence[str] = ()
    hurts: bool = True
    subject: str = ""
    subjects: int = 1


@dataclass(frozen=True)
class AnyOf:
    """At least one of the conditions holds."""

    conditions: tuple[Condition, ...]

    def __init__(self, *conditions: Condition) -> None:
        object.__setattr__(self, "conditions", conditions)


@dataclass(frozen=True)
class AllOf:
    """All of the conditions hold at the same time."""

    conditions: tuple[Condition, ...]

    def __init__(self, *conditions: Condition) -> None:
        object.__setattr__(self, "conditions", conditions)


Metric = MetricBelow | MetricAbove | PerformanceDrop
Condition = Schedule | NewLabels | Metric | Drifted | AnyOf | AllOf


@dataclass(frozen=True)
class Budget:
    """At most so many events in any period, counting those of all triggers."""

    events: int
    period: timedelta


@dataclass(frozen=True, kw_only=True)
class Checks:
    """What must hold before an event is published; what does not is recorded as a refusal.

    labels: at least so many since the last event. of_class: at least so many of them of each class.
    rejected: largest share of the requests of the newest windows that were rejected as invalid.
    settle: for so long after a drift of schema, skew or volume nothing is learned from the data.
    """

    labels: int = 200
    of_class: int = 10
    rejected: float = 0.05
    settle: timedelta = DAY


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """A policy that publishes retrain events by itself. All times are event time.

    name: lower-case; part of its events' ids.
    cooldown: nothing for so long after the last event, whoever asked for it.
    train_on: train on so much time before the event; None: on all there is.
    """

    name: str
    when: Condition
    cooldown: timedelta = DAY
    budget: Budget = Budget(4, 30 * DAY)
    checks: Checks = field(default_factory=Checks)
    train_on: timedelta | None = None


DEFAULT = (
    Trigger(
        name="hurts",
        when=Drifted(hurts=True),
        cooldown=7 * DAY,
        budget=Budget(2, 30 * DAY),
        checks=Checks(labels=500, of_class=25),
    ),
)
"""Where a task declares none: only a drift that is known to hurt, once a week, twice a month."""


def leaves(condition: Condition) -> Iterator[Schedule | NewLabels | Metric | Drifted]:
    """The conditions that a condition is made of."""
    if isinstance(condition, AnyOf | AllOf):
        for part in condition.conditions:
            yield from leaves(part)
    else:
        yield condition


def words(condition: Condition) -> str:
    """A condition for people: ``any of (drift that hurts, 5,000 new labels)``."""
    match condition:
        case AnyOf() | AllOf():
            name = "any" if isinstance(condition, AnyOf) else "all"
            return f"{name} of ({', '.join(words(part) for part in condition.conditions)})"
        case Schedule():
            return f"cron {condition.cron} ({condition.zone})"
        case NewLabels():
            return f"{condition.n:,} new labels"
        case Drifted():
            kinds = f"{' or '.join(condition.kinds)} drift" if condition.kinds else "drift"
            of = f" of {condition.subject}" if condition.subject else ""
            many = f" of {condition.subjects} subjects" if condition.subjects > 1 else ""
            return f"{kinds}{of}{many}{' that hurts' if condition.hurts else ''}"
    name = condition.metric
    if condition.segment:
        name += f" where {condition.segment} is {condition.value}"
    many = f" in {condition.windows} windows" if condition.windows > 1 else ""
    sure = " for sure" if condition.bound else ""
    match condition:
        case MetricBelow():
            return f"{name} below {condition.threshold:g}{sure}{many}"
        case MetricAbove():
            return f"{name} above {condition.threshold:g}{sure}{many}"
    what = "estimated " if condition.estimated else ""
    return f"{what}{name} worse by {condition.by:g}{sure}{many}"


def ms(span: timedelta) -> int:
    """A span in milliseconds."""
    return round(span.total_seconds() * 1000)


def problems(
    triggers: Sequence[Trigger],
    kind: str,
    windows: Sequence[str],
    tiled: bool,
    segments: Sequence[str],
) -> list[str]:
    """Everything that is wrong with a task's triggers, in words.

    kind: the task's. windows: names of its windows. tiled: whether one of them is by time alone,
    so that labels can be counted. segments: names of what metrics are split by.
    """
    found = []
    names = [trigger.name for trigger in triggers]
    found += [f"trigger {n!r} is declared twice" for n in sorted(set(names)) if names.count(n) > 1]
    for trigger in triggers:
        found += [
            f"trigger {trigger.name!r}: {problem}"
            for problem in _of_trigger(trigger, kind, windows, tiled, segments)
        ]
    return found


def _of_trigger(
    trigger: Trigger, kind: str, windows: Sequence[str], tiled: bool, segments: Sequence[str]
) -> Iterator[str]:
    if not NAME.match(trigger.name):
        yield "its name is lower-case letters, digits and underscores, a letter first"
    if trigger.name in ("manual", "http", "first", "refused"):
        yield "the name says already who else asks; choose another"
    if trigger.cooldown < timedelta(0):
        yield f"cooldown {trigger.cooldown} is negative"
    if trigger.budget.events < 1 or trigger.budget.period <= timedelta(0):
        yield "its budget is at least one event in a positive period"
    if trigger.train_on is not None and trigger.train_on <= timedelta(0):
        yield f"train_on {trigger.train_on} is a positive time"
    checks = trigger.checks
    if checks.labels < 0 or checks.of_class < 0 or checks.settle < timedelta(0):
        yield "checks: numbers and times are 0 or more"
    if not 0 <= checks.rejected <= 1:
        yield f"checks: rejected {checks.rejected} is a share: 0 to 1"
    if not tiled and (checks.labels or checks.of_class):
        yield "without a Window by time labels are not counted: set checks labels=0 and of_class=0"
    yield from _of_condition(trigger.when, kind, windows, tiled, segments)


def _of_condition(
    condition: Condition, kind: str, windows: Sequence[str], tiled: bool, segments: Sequence[str]
) -> Iterator[str]:
    if isinstance(condition, AnyOf | AllOf):
        if not condition.conditions:
            yield f"{type(condition).__name__} of nothing"
        for part in condition.conditions:
            yield from _of_condition(part, kind, windows, tiled, segments)
    elif isinstance(condition, Schedule):
        yield from _of_schedule(condition)
    elif isinstance(condition, NewLabels):
        if condition.n < 1:
            yield f"NewLabels({condition.n}): 1 or more"
        if not tiled:
            yield "NewLabels needs a Window by time among the task's windows"
    elif isinstance(condition, Drifted):
        unknown = [kind for kind in condition.kinds if kind not in DRIFTS]
        if isinstance(condition.kinds, str) or unknown:
            yield f"Drifted: kinds is a list of {', '.join(DRIFTS)}"
        if condition.subjects < 1:
            yield f"Drifted: subjects {condition.subjects} is 1 or more"
    else:
        yield from _of_metric(condition, kind, windows, segments)


def _of_schedule(schedule: Schedule) -> Iterator[str]:
    try:
        schedule.next(0)
    except CronSimError as error:
        yield f"cron {schedule.cron!r}: {error}"
    except StopIteration:
        yield f"cron {schedule.cron!r}: there is no such moment in 50 years"
    except (KeyError, ValueError, OSError):
        yield f"zone {schedule.zone!r} is not a time zone's name"


def _of_metric(
    condition: Metric, kind: str, windows: Sequence[str], segments: Sequence[str]
) -> Iterator[str]:
    name = type(condition).__name__
    known: tuple[str, ...] = (*BOUNDED, *UNBOUNDED)
    if isinstance(condition, PerformanceDrop):
        known = ESTIMATED if condition.estimated else (*HIGHER_IS_BETTER, *LOWER_IS_BETTER)
        if not condition.by > 0:
            yield f"{name}: by {condition.by} is more than 0"
    elif not math.isfinite(condition.threshold):
        yield f"{name}: threshold {condition.threshold} is a number"
    if condition.metric not in known:
        yield f"{name}: metric {condition.metric!r} is one of {', '.join(known)}"
    elif condition.metric in _METRICS_OF[kind != "regression"]:
        yield f"{name}: a {kind} task has no metric {condition.metric!r}"
    elif condition.bound and condition.metric in UNBOUNDED:
        yield f"{name}: {condition.metric} has no confidence bound; set bound=False"
    if condition.window and condition.window not in windows:
        yield f"{name}: window {condition.window!r} is one of {', '.join(windows)}"
    if not 1 <= condition.windows <= MOST_WINDOWS:
        yield f"{name}: windows {condition.windows} is 1 to {MOST_WINDOWS}"
    if condition.least < 1:
        yield f"{name}: least {condition.least} is 1 or more"
    if condition.segment and condition.segment not in segments:
        yield f"{name}: segment {condition.segment!r} is one of {', '.join(segments)}"


# What a regression task lacks, and what the others do.
_METRICS_OF: Mapping[bool, tuple[str, ...]] = {
    False: (
        *("accuracy", "precision", "recall", "f1", "roc_auc"),
        *("log_loss", "brier", "calibration_error"),
    ),
    True: ("mae", "rmse", "r2"),
}
