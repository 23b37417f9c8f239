"""The declaration of a windowed feature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from schemas.features import NAME, Boolean, Category, Feature, Integer, Number
from schemas.records import Kind

Of = Literal["truth", "requests"]
Aggregate = Literal["share", "mean", "count", "rate"]

ENTITY = "entity"
"""A key besides the features: the request's own entity."""
MOST_OVER = timedelta(days=90)
MOST_BUCKETS = 10_000
"""Buckets of a window: each may be a record for each key."""
LEAST_EVERY = timedelta(seconds=1)


@dataclass(frozen=True)
class Windowed:
    """An input of the model that Weir computes: an aggregate of the stream's last hours.

    name: of the feature; give it another one when you change anything else, since values that
        were logged under one name must be of one definition.
    over: the length of the window, a multiple of ``every``.
    by: the features whose values make the key, or ``"entity"``; empty: all records together.
    of: ``"truth"``: first truths of requests, at the time when they became known;
        ``"requests"``: the requests themselves, at their event time.
    aggregate: ``"share"`` of truths that are true (multi-class: that are ``value``), ``"mean"`` of
        a regression's truths, ``"count"``, or ``"rate"``: count per hour.
    every: the grid of time. The window of a request at t ends with the last bucket of the grid that
        ended by t and in which anything of its kind became known, whatever its key: so it holds
        nothing after t, and where the stream lags or is silent it is a whole window that is older.
    resolution: of a mean: truths are counted in whole multiples of it, so that sums are exact.

    The value is null where nothing is to be divided by, where a part of the key is null, where the
    stream is silent for more than a day before t, and where it has gone on by more than a day past
    the window (it is no longer kept then).
    """

    name: str
    over: timedelta
    by: str | Sequence[str] = ()
    of: Of = "truth"
    aggregate: Aggregate = "share"
    value: str | None = None
    every: timedelta = timedelta(minutes=5)
    resolution: float = 2.0**-20
    doc: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """``by`` as a tuple."""
        return (self.by,) if isinstance(self.by, str) else tuple(self.by)

    def feature(self, unit: str = "") -> Number:
        """The input that the model gets; ``unit`` is a regression target's."""
        units = {"mean": unit, "rate": "1/h"}
        high = 1.0 if self.aggregate == "share" else None
        return Number(
            self.name,
            unit=units.get(self.aggregate, ""),
            low=None if self.aggregate == "mean" else 0.0,
            high=high,
            nullable=True,
            doc=self.doc or self._words(),
        )

    def _words(self) -> str:
        what = "requests" if self.of == "requests" else "truths known"
        share = f" ({self.value})" if self.value else ""
        by = f" by {', '.join(self.keys)}" if self.keys else ""
        return f"{self.aggregate}{share} of {what} in the last {self.over}{by}"

    def problems(
        self, kind: Kind, classes: Sequence[str], features: Mapping[str, Feature]
    ) -> list[str]:
        """What is wrong with the declaration for such a task; empty where nothing is."""
        found = [*self._time_problems(), *self._key_problems(features)]
        if not NAME.match(self.name):
            found.append("a name is lower-case letters, digits and underscores, a letter first")
        if self.of not in ("truth", "requests"):
            found.append(f"of is 'truth' or 'requests', not {self.of!r}")
        if self.aggregate not in ("share", "mean", "count", "rate"):
            found.append(f"aggregate is share, mean, count or rate, not {self.aggregate!r}")
        elif self.aggregate in ("share", "mean") and self.of == "requests":
            found.append(f"a {self.aggregate} is of truths; of requests there is count and rate")
        elif self.aggregate == "share" and kind == "regression":
            found.append("a regression has a mean and no share")
        elif self.aggregate == "mean" and kind != "regression":
            found.append(f"a {kind} target has a share and no mean")
        if self.aggregate == "share" and kind == "multiclass" and self.value not in classes:
            found.append(f"value is one of the classes, not {self.value!r}")
        elif self.value is not None and (kind != "multiclass" or self.aggregate != "share"):
            found.append("value belongs to the share of a multi-class target")
        if not (math.isfinite(self.resolution) and self.resolution > 0):
            found.append(f"resolution is a positive number, not {self.resolution!r}")
        return [f"windowed feature {self.name!r}: {problem}" for problem in found]

    def _time_problems(self) -> list[str]:
        if self.every < LEAST_EVERY or self.every % timedelta(milliseconds=1):
            return [f"every is whole milliseconds and {LEAST_EVERY} or more, not {self.every}"]
        if not self.every <= self.over <= MOST_OVER or self.over % self.every:
            return [
                f"over is a multiple of every ({self.every}) up to {MOST_OVER}, not {self.over}"
            ]
        if self.over // self.every > MOST_BUCKETS:
            return [f"over holds more than {MOST_BUCKETS} times every: make every longer"]
        return []

    def _key_problems(self, features: Mapping[str, Feature]) -> list[str]:
        found = []
        for name in self.keys:
            feature = features.get(name)
            if feature is None and name != ENTITY:
                found.append(f"by {name!r} is no feature of the task (nor 'entity')")
            elif feature is not None and not isinstance(feature, Category | Integer | Boolean):
                found.append(f"by {name!r} is a {type(feature).__name__}, whose values are no key")
        if len(set(self.keys)) != len(self.keys):
            found.append("by names a feature twice")
        return found
