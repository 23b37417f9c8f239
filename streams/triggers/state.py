"""What triggers must know of the past, as data that goes through JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from streams.triggers.inputs import Drift

_NEVER = -(1 << 62)
"""What an older version wrote for a time that is not known."""
MOST_DRIFTS = 50
"""The newest: an event names as many as its evidence needs."""
MOST_IDS = 64
"""Event ids remembered: as many may be read before the record that they answer, or again."""


@dataclass(slots=True)
class State:
    """now: event time so far; None: nothing has told it yet.

    champion, reference: the version in service and its metrics. episode: how many episodes are
    over. pending: events that are not answered yet, oldest first. answered, seen: ids of the newest
    answers and events. last: event time of the newest event, whoever asked. events: those of
    triggers, as long as a budget looks back. undated: who asked before event time was known: the
    triggers' names, empty for others. baseline: labels at the last event. served: by trigger, up to
    when schedules are served; from the first time on where that is not told. drifts: of the
    champion, or of a version that may become it. refused: by trigger what was refused in this
    episode. fired, refusals: by trigger, event time and words of the last.
    """

    now: int | None = None
    champion: str = ""
    reference: dict[str, float] = field(default_factory=dict)
    episode: int = 0
    pending: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    last: int | None = None
    events: list[int] = field(default_factory=list)
    undated: list[str] = field(default_factory=list)
    baseline: dict[str, int] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)
    drifts: dict[str, Drift] = field(default_factory=dict)
    refused: dict[str, list[str]] = field(default_factory=dict)
    fired: dict[str, tuple[int, str]] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> State:
        """From what `data` gave; what is missing is as at the start."""
        given = {name: value for name, value in data.items() if name in cls.__dataclass_fields__}
        if given.get("now") == _NEVER:
            given["now"] = None
        served = given.get("served", {}).items()
        given["served"] = {trigger: at for trigger, at in served if at != _NEVER}
        given["events"] = [at for at in given.get("events", []) if at != _NEVER]
        if "drifts" in given:
            given["drifts"] = {id_: Drift(**drift) for id_, drift in given["drifts"].items()}
        for name in ("fired", "refusals"):
            given[name] = {who: tuple(said) for who, said in given.get(name, {}).items()}
        return cls(**given)


def remember(ids: list[str], id_: str) -> None:
    """Put an id at the end of a list of the newest."""
    if id_ in ids:
        ids.remove(id_)
    ids.append(id_)
    del ids[:-MOST_IDS]
