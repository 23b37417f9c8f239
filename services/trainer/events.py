"""A retrain event, as the trainer works on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.trainer.failures import FAILED
from streams.declaration import declaration, sha256_of
from streams.task import Task

FIRST = "first"
"""The trigger of the event that trains a task's first version from its history."""


@dataclass(frozen=True)
class Event:
    """Fields as in ``schemas/avro/retrain.avsc``; times are milliseconds since 1970 UTC.

    outcomes_from, outcomes_to: offsets by partition; empty: from the first, up to what the topic
    held when it was asked for.
    """

    event_id: str
    requested_at: int
    trigger: str
    reason: str
    requested_by: str
    data_from: int | None = None
    data_to: int | None = None
    outcomes_from: Sequence[int] = ()
    outcomes_to: Sequence[int] = ()
    policy: str = ""
    episode: str = ""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Event:
        """From a decoded record."""
        return cls(**{name: record[name] for name in cls.__dataclass_fields__})

    def record(self) -> dict[str, Any]:
        """As the codec writes it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"evidence": {}}

    def failed(self, why: str) -> dict[str, Any]:
        """The record that it gave no version: triggers need not wait for one."""
        return {**self.record(), "status": FAILED, "reason": why}


def first_event(task: Task, now_ms: int) -> Event:
    """The event for a task without a champion; its id is the same for the same declaration."""
    return Event(
        event_id=f"{FIRST}-{sha256_of(declaration(task))[:12]}",
        requested_at=now_ms,
        trigger=FIRST,
        reason="the task has a history and no champion",
        requested_by="trainer",
    )
