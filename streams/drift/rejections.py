"""Requests that are refused, by the field that is wrong: the schema that producers have in mind.

Training has no such records, so any share beyond what the task tolerates of nulls is a change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from streams.drift import words
from streams.drift.counts import plain_time
from streams.drift.evidence import e_value
from streams.drift.finding import Finding
from streams.drift.levels import Levels, Passed, level
from streams.drift.policy import Drift
from streams.event_time import earliest, from_number, latest, to_number

STEP = 256
"""Requests between two looks, at least: a handful that is refused in a row is an outlier."""
SHARE = 0.05
"""Of the false alarms that the task allows, at most: besides those of the family."""
OTHERS = ("request_id", "event_time", "entity")
THROTTLED = "throttled"
"""The reason of good requests whose client has too many: nothing is wrong in them."""
UNREADABLE = ""
"""The subject of what names no field: bytes that could not be read."""


def fields(names: Sequence[str]) -> tuple[str, ...]:
    """What a refused request may be wrong in; names: of the features."""
    return (*names, *OTHERS, UNREADABLE)


def refused(names: Sequence[str], reasons: Iterable[str]) -> dict[str, int]:
    """How many requests were refused for each field, from the reasons that their predictions give:
    ``invalid: distance is -3.0, below 0 mi; carrier is 'QQ'; known are …``."""
    known, found = frozenset(fields(names)), Counter[str]()
    for reason in reasons:
        code, _, message = reason.partition(": ")
        if code == THROTTLED:
            continue
        said = {part.split(" ", 1)[0] for part in message.split("; ")} & known
        found.update(said - {UNREADABLE} or {UNREADABLE})
    return dict(found)


class Rejections:
    """A level for each field that the share of refused requests may not pass.

    They are of the whole stream: no version answered them. names: of the features.
    """

    def __init__(self, names: Sequence[str], policy: Drift) -> None:
        self._fields = fields(names)
        self._on = "schema" in policy.kinds
        m = len(self._fields)
        limit = level(np.zeros(m), np.full(m, np.inf), policy.share_tolerance, np.ones(m))
        self._levels = Levels(policy.false_alarm_every / SHARE * m, limit, np.ones(m))
        self._looks = self._requests = 0
        self._refused: dict[str, int] = {}
        # Event times of answered requests: the first since the last look, and the last.
        self._first: int | None = None
        self._last: int | None = None

    def update(
        self,
        version: str,
        requests: int,
        refused: Mapping[str, int],
        first: int | None,
        last: int | None,
    ) -> list[Finding]:
        """Take in a batch; what is found, at most once every `STEP` requests.

        version: the one that answers now. requests: answered or refused. refused: of them, by
        field. first, last: event times (ms) of those that were answered, or else of the refused,
        where they can be right. Refused ones tell the time only while no answer has told it. While
        nothing has, what is found has no event time: a stream of which all is refused tells none.
        """
        if not self._on or not requests:
            return []
        self._requests += requests
        for field, count in refused.items():
            self._refused[field] = self._refused.get(field, 0) + count
        if not refused:
            self._first, self._last = earliest(self._first, first), latest(self._last, last)
        begins = first if self._first is None else self._first
        until = last if self._last is None else self._last
        if self._requests < STEP:
            return []
        k = np.array([float(self._refused.get(name, 0)) for name in self._fields])
        n = np.full(len(k), float(self._requests))
        self._looks += 1
        found = [
            self._finding(version, self._fields[one.row], one, until)
            for one in self._levels.update(n, k, to_number(begins))
        ]
        self._requests, self._refused, self._first = 0, {}, self._last
        return found

    def _finding(self, version: str, field: str, passed: Passed, until: int | None) -> Finding:
        share = passed.hits / max(passed.trials, 1.0)
        what = f"requests refused for {field}" if field else "requests that cannot be read"
        looks, since = float(self._looks), from_number(passed.since)
        return Finding(
            detector="cusum",
            kind="schema",
            subject=field,
            version=version,
            statistic="log likelihood ratio of the share of refused requests",
            value=passed.value,
            threshold=passed.threshold,
            e_value=e_value(passed.value, self._levels.s.size * looks * (looks + 1)),
            since=since,
            window_from=since,
            window_to=until,
            window_size=round(passed.trials),
            reference_size=0,
            effect=words.rate(f"share of {what}", 0.0, share),
            distributions={
                "names": ["refused", "others"],
                "reference": [0.0, 1.0],
                "window": [share, 1 - share],
            },
        )

    def state(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "levels": self._levels.state(),
            "looks": self._looks,
            "waiting": [self._requests, self._first, self._last],
            "refused": self._refused,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same task's."""
        self._levels.restore(state["levels"])
        self._looks = int(state["looks"])
        requests, first, last = state["waiting"]
        self._requests, self._first, self._last = int(requests), plain_time(first), plain_time(last)
        self._refused = {str(name): int(count) for name, count in state["refused"].items()}
