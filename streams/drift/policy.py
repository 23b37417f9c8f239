"""What a task says of drift: how often it may be wrong, what matters, what is looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from streams.drift.finding import KINDS

LOOKED_AT: tuple[str, ...] = tuple(kind for kind in KINDS if kind != "volume")
"""Kinds that the family finds; ``volume`` has a policy of its own."""
SEASONS = ("hour_of_day", "day_of_week")
LEAST_FALSE_ALARM_EVERY = 1_000
MOST_SHIFT = 2.0


@dataclass(frozen=True, kw_only=True)
class Drift:
    """When drift is found.

    false_alarm_every: records, on average at least, between two findings of the whole family
        where nothing drifts.
    tolerance: what matters of an input's, the answers' or the scores' distribution: the share of
        records that would have to be others (total variation, 0 to 1). Less is never found,
        however many records there are.
    shift: what matters of the level of a number, a score or a share: standard deviations of
        training's by which it is higher or lower (by ranks, so that wild values do not count).
    share_tolerance: the same for shares of missing values and of names that training had not.
    harm: what matters of the performance: the rise of the error rate (0 to 1); of a regression,
        of the share of errors beyond what nine in ten of training's were within.
    seasonality: of ``hour_of_day``, ``day_of_week`` (UTC): what is usual then is no drift.
    kinds: what is looked at.
    """

    false_alarm_every: int = 10_000_000
    tolerance: float = 0.1
    shift: float = 0.1
    share_tolerance: float = 0.02
    harm: float = 0.01
    seasonality: Sequence[str] = ()
    kinds: Sequence[str] = LOOKED_AT

    def problems(self) -> list[str]:
        """What is wrong with it, in words; empty where nothing is."""
        found = []
        every = self.false_alarm_every
        if not isinstance(every, int) or isinstance(every, bool) or every < LEAST_FALSE_ALARM_EVERY:
            found.append(
                f"drift: false_alarm_every {every!r} is a whole number of records, "
                f"{LEAST_FALSE_ALARM_EVERY} or more"
            )
        for name in ("tolerance", "share_tolerance", "harm"):
            share = getattr(self, name)
            if not _number(share) or not 0 < share < 1:
                found.append(f"drift: {name} {share!r} is a share: above 0 and below 1")
        if not _number(self.shift) or not 0 < self.shift <= MOST_SHIFT:
            found.append(
                f"drift: shift {self.shift!r} is a number of standard deviations: above 0 and at "
                f"most {MOST_SHIFT:g}"
            )
        found += _subset("seasonality", self.seasonality, SEASONS)
        found += _subset("kinds", self.kinds, LOOKED_AT)
        return found

    def facts(self) -> dict[str, Any]:
        """As JSON data."""
        facts = asdict(self)
        return facts | {name: list(facts[name]) for name in ("seasonality", "kinds")}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Drift:
        """From what `facts` gave; what is missing has its default, what is unknown is left out."""
        return cls(**{name: facts[name] for name in cls.__dataclass_fields__ if name in facts})


def _number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]


def _subset(name: str, given: Sequence[str], known: Sequence[str]) -> list[str]:
    if isinstance(given, str):
        return [f"drift: {name} is a list of names, not {given!r}"]
    found = [
        f"drift: {name}: {one!r} is none of {', '.join(known)}" for one in given if one not in known
    ]
    if len(set(given)) != len(given):
        found.append(f"drift: {name} names one twice")
    return found
