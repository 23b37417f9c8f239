"""What a task says of its alerts: bounds, and how often a person is told."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

from schemas.records import template

SHORTEST = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A metric of the champion that a person wants to be told of.

    metric: a field of the ``metrics`` records, such as ``roc_auc`` or ``estimated_accuracy``.
    at_least, at_most: where it should be; one of them, or both.
    window: name of the window (`Window.name`); empty: the first that the task declares.
    segment, value: the segment of the traffic; both empty: all of it.
    sure: told only when the metric's whole confidence interval is beyond the bound; otherwise as
        soon as the metric itself is. A metric without an interval counts as it is.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    window: str = ""
    segment: str = ""
    value: str = ""
    sure: bool = True

    @property
    def name(self) -> str:
        """``roc_auc`` or ``roc_auc, origin=JFK``, with the window where one is declared."""
        parts = [self.metric]
        if self.segment:
            parts.append(f"{self.segment}={self.value}")
        if self.window:
            parts.append(self.window)
        return ", ".join(parts)

    def problems(self, windows: Collection[str], segments: Collection[str]) -> list[str]:
        """What is wrong with it; windows and segments are those of the task."""
        found = []
        if self.metric not in metric_names():
            found.append(f"there is no metric {self.metric!r}: {', '.join(sorted(metric_names()))}")
        given = [bound for bound in (self.at_least, self.at_most) if bound is not None]
        if not given or not all(_number(bound) for bound in given):
            found.append("set at_least or at_most to a number")
        elif len(given) == 2 and given[0] > given[1]:
            found.append(f"at_least {given[0]} is above at_most {given[1]}")
        if self.window and self.window not in windows:
            found.append(f"the task has no window {self.window!r}: {', '.join(windows)}")
        if self.segment and self.segment not in segments:
            found.append(f"the task has no segment {self.segment!r}")
        if bool(self.segment) != bool(self.value):
            found.append("segment and value go together")
        return [f"alerts: bound of {self.metric!r}: {problem}" for problem in found]


@dataclass(frozen=True, kw_only=True)
class Alerts:
    """Which of a task's findings a person is told of, and how often.

    metrics: bounds of metrics; none are the same for every task, so there are none by default.
    drift: whether drift that the policy of drift counts as alerting is told of.
    hold: how long drift waits while nobody knows how well its version performs (event time, or
        clock time); where that becomes known, it is told only if performance suffers.
    drift_quiet: an episode of drift is over when nothing new was found in it for so long.
    dead_letter_share: share of the requests, 0 to 1, that may become dead letters; told where
        there are ``dead_letters`` at least within ``dead_letter_window`` (clock time).
    lag: records that the worker or the sink may be behind, told after ``lag_for`` (clock time).
    remind: how long an episode may go on before it is told of again, and how long a thing that
        has happened is not told of again.
    quiet: without a sign for so long, abuse is over.
    burst, per_hour: messages a channel gets at once, and on average; what is beyond that is told
        in one message.
    """

    metrics: Sequence[Bound] = field(default_factory=tuple)
    drift: bool = True
    hold: timedelta = timedelta(days=1)
    drift_quiet: timedelta = timedelta(days=7)
    dead_letter_share: float = 0.01
    dead_letters: int = 20
    dead_letter_window: timedelta = timedelta(minutes=5)
    lag: int = 50_000
    lag_for: timedelta = timedelta(minutes=5)
    remind: timedelta = timedelta(days=1)
    quiet: timedelta = timedelta(hours=6)
    burst: int = 5
    per_hour: float = 20.0

    def problems(self, windows: Collection[str] = (), segments: Collection[str] = ()) -> list[str]:
        """What is wrong with it, in words; empty where nothing is."""
        found = [problem for bound in self.metrics for problem in bound.problems(windows, segments)]
        if len({bound.name for bound in self.metrics}) != len(self.metrics):
            found.append("alerts: two bounds are of the same metric, segment and window")
        if not _number(self.dead_letter_share) or not 0 <= self.dead_letter_share <= 1:
            found.append(f"alerts: dead_letter_share {self.dead_letter_share!r} is a share: 0 to 1")
        for name in ("dead_letters", "lag", "burst"):
            count = getattr(self, name)
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                found.append(f"alerts: {name} {count!r} is a whole number, 1 or more")
        if not _number(self.per_hour) or self.per_hour <= 0:
            found.append(f"alerts: per_hour {self.per_hour!r} is a positive number")
        for name in TIMES:
            if getattr(self, name) < SHORTEST:
                found.append(f"alerts: {name} {getattr(self, name)} is a second or more")
        return found

    def ms(self, name: str) -> int:
        """One of its times in milliseconds."""
        time: timedelta = getattr(self, name)
        return int(time.total_seconds() * 1000)

    def facts(self) -> dict[str, Any]:
        """As JSON data, for programs that do not load the task's file."""
        return {
            name: value.total_seconds() if isinstance(value, timedelta) else value
            for name, value in (
                asdict(self) | {"metrics": [asdict(b) for b in self.metrics]}
            ).items()
        }

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Alerts:
        """From what `facts` gave; what is missing has its default, what is unknown is left out."""
        given = {name: value for name, value in facts.items() if name in cls.__dataclass_fields__}
        for name in TIMES:
            if name in given:
                given[name] = timedelta(seconds=given[name])
        known = Bound.__dataclass_fields__
        given["metrics"] = tuple(
            Bound(**{name: value for name, value in bound.items() if name in known})
            for bound in given.get("metrics", ())
        )
        return cls(**given)


TIMES = ("hold", "drift_quiet", "dead_letter_window", "lag_for", "remind", "quiet")


@cache
def metric_names() -> frozenset[str]:
    """The fields of a ``metrics`` record that are figures of their own."""
    fields = json.loads(template("metric"))["fields"]
    numbers = {f["name"] for f in fields if f["type"] in ("double", ["null", "double"])}
    of_others = {
        name
        for name in numbers
        for ending in ("_low", "_high", "_error")
        if name.endswith(ending) and name.removesuffix(ending) in numbers
    }
    return frozenset(numbers - of_others - {"weight"})


def _number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]
