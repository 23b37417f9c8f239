"""What a task says of the volume of its requests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Literal, get_args

Action = Literal["dead-letter", "quarantine"]
Season = Literal["hour_of_day", "hour_of_week"]

MOST_CLIENTS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Volume:
    """When a client (the requests' ``entity``) or the whole stream has too many requests.

    rise: the jump that is looked for, as a multiple of the usual. usual: multiples up to which
        nothing is wrong. The same holds for the odds with which the gate holds its inputs back.
    action: what becomes of the requests of a client that jumps, until it is calm again:
        ``dead-letter`` refuses them with the reason, ``quarantine`` gives the fallback's answer and
        sends them to ``deferred``; None: nothing, a person is told.
    season: at which hours the stream is usually busier, which is learned: an hour that was not
        seen before is not judged. None: at none.
    settle: event time for which a client must be known before it is judged.
    memory: event time after which what was usual counts half.
    accept: after this event time a jump is the new usual.
    clients: the busiest ones that are remembered.
    false_alarm_every: requests, on average at least, between two false alarms of all clients
        together; and no more than one in 30 days of event time.
    """

    rise: float = 10.0
    usual: float = 2.0
    action: Action | None = None
    season: Season | None = None
    settle: timedelta = timedelta(hours=1)
    memory: timedelta = timedelta(days=1)
    accept: timedelta = timedelta(days=1)
    clients: int = 10_000
    false_alarm_every: int = 10_000_000

    def problems(self) -> list[str]:
        """What is wrong with it, in words; empty where nothing is."""
        found = []
        if not (_number(self.usual) and _number(self.rise) and 1 <= self.usual < self.rise):
            found.append(
                f"volume: usual {self.usual!r} and rise {self.rise!r} are multiples: 1 or more, "
                "and the rise above the usual"
            )
        if self.action is not None and self.action not in get_args(Action):
            found.append(f"volume: action {self.action!r}: dead-letter, quarantine or None")
        if self.season is not None and self.season not in get_args(Season):
            found.append(f"volume: season {self.season!r}: hour_of_day, hour_of_week or None")
        for name in TIMES:
            if getattr(self, name) < timedelta(minutes=1):
                found.append(f"volume: {name} {getattr(self, name)} is a minute or more")
        if not _whole(self.clients) or not 1 <= self.clients <= MOST_CLIENTS:
            found.append(f"volume: clients {self.clients!r}: 1 to {MOST_CLIENTS:,}")
        if not _whole(self.false_alarm_every) or self.false_alarm_every < 1_000:
            found.append(
                f"volume: false_alarm_every {self.false_alarm_every!r} is a whole number of "
                "requests, 1,000 or more"
            )
        return found

    def facts(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            name: value.total_seconds() if isinstance(value, timedelta) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Volume:
        """From what `facts` gave; what is missing has its default, what is unknown is left out."""
        given = {name: value for name, value in facts.items() if name in cls.__dataclass_fields__}
        for name in TIMES:
            if name in given:
                given[name] = timedelta(seconds=given[name])
        return cls(**given)


TIMES = ("settle", "memory", "accept")


def _number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
