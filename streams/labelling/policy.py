"""What a task says of its labelling queue."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

MOST_BUDGET = 10_000
"""Inputs of one period that are ranked at most: more than a team of people answers in a day."""


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """How many inputs people label, and which.

    budget: answers of people in each period. per: the period's length, in event time; periods
        begin at multiples of it.
    random_share: share of the budget that goes to inputs drawn by chance, 0 to 1. Only with some
        of it can labelled data say what all inputs are like.
    uncertainty, disagreement, novelty: weights of what makes an input valuable, 0 or more (see
        `streams.labelling.value`; docs/labelling.md says what the defaults rest on).
    diversity: how much less an input is worth that is like one already chosen: 0 not at all,
        1 nothing where it is the same.
    lease: for how long an input that one person looks at is kept from the others (clock time).
    skips: after so many people who cannot tell, an input is asked of nobody else.
    """

    budget: int = 200
    per: timedelta = timedelta(days=1)
    random_share: float = 0.2
    uncertainty: float = 1.0
    disagreement: float = 5.0
    novelty: float = 0.2
    diversity: float = 1.0
    lease: timedelta = timedelta(minutes=10)
    skips: int = 2

    def problems(self) -> list[str]:
        """What is wrong with it, in words; empty where nothing is."""
        found = []
        if not _whole(self.budget) or not 0 <= self.budget <= MOST_BUDGET:
            found.append(f"labelling: budget {self.budget!r} is a whole number, 0 to {MOST_BUDGET}")
        if self.per < timedelta(seconds=1):
            found.append(f"labelling: per {self.per} is a second or more")
        for name in ("random_share", "diversity"):
            share = getattr(self, name)
            if not _number(share) or not 0 <= share <= 1:
                found.append(f"labelling: {name} {share!r} is a share: 0 to 1")
        weights = [getattr(self, name) for name in WEIGHTS]
        for name, weight in zip(WEIGHTS, weights, strict=True):
            if not _number(weight) or weight < 0:
                found.append(f"labelling: weight {name} {weight!r} is a number, 0 or more")
        if all(weight == 0 for weight in weights) and self.random_share != 1:
            found.append("labelling: every weight is 0; for chance alone set random_share=1")
        if self.lease < timedelta(seconds=1):
            found.append(f"labelling: lease {self.lease} is a second or more")
        if not _whole(self.skips) or self.skips < 1:
            found.append(f"labelling: skips {self.skips!r} is a whole number, 1 or more")
        return found

    @property
    def per_ms(self) -> int:
        """The period in milliseconds."""
        return int(self.per.total_seconds() * 1000)

    @property
    def lease_ms(self) -> int:
        """The lease in milliseconds."""
        return int(self.lease.total_seconds() * 1000)

    def facts(self) -> dict[str, Any]:
        """As JSON data, for programs that do not load the task's file."""
        return {
            name: value.total_seconds() if isinstance(value, timedelta) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Labelling:
        """From what `facts` gave; what is missing has its default, what is unknown is left out."""
        given = {name: value for name, value in facts.items() if name in cls.__dataclass_fields__}
        for name in ("per", "lease"):
            if name in given:
                given[name] = timedelta(seconds=given[name])
        return cls(**given)


WEIGHTS = ("uncertainty", "disagreement", "novelty")


def _number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
