"""Which training failed last, and was not followed by one that gave a version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from streams.roles import Roles

ASKED, FAILED = "asked", "failed"
"""Statuses of retrain records: to be trained on; gave no version."""

Record = Mapping[str, Any]

WHAT_TO_DO = (
    "mend what it names; `weir retrain --reason …` asks for another training, and a change of the "
    "task's file is loaded by `weir down` and `weir up`; the trainer's log has more"
)


@dataclass(frozen=True)
class Failure:
    """A retrain event that gave no version.

    asked: why a version was wanted, in words; empty where the record that says so is gone. why:
    the reason for none. failed_at: milliseconds since 1970 UTC. failures: failed events since the
    last version that a training gave.
    """

    event_id: str
    trigger: str
    requested_by: str
    asked: str
    why: str
    failed_at: int
    failures: int = 1

    @property
    def text(self) -> str:
        """Which event and why, in words."""
        more = f" ({self.failures} trainings failed since the last version)"
        asked = f" ({self.asked})" if self.asked else ""
        return (
            f"the training for event {self.event_id}{asked} gave no version: {self.why}"
            f"{more if self.failures > 1 else ''}"
        )

    def facts(self) -> dict[str, Any]:
        """As JSON data, with the words and what to do."""
        return asdict(self) | {"text": self.text, "what_to_do": WHAT_TO_DO}


def standing_failure(events: Iterable[tuple[int, Record]], roles: Roles) -> Failure | None:
    """Return the newest failure of a training after the last one that gave a version, if any.

    events: records of the topic ``retrain``, in its order, each with when it was stored
    (milliseconds since 1970). A trainer answers them in their order.
    """
    versions = {record.event_id for record in roles.records.values()}
    asked: dict[str, tuple[int, str]] = {}
    failed: dict[str, tuple[int, Record]] = {}
    trained = -1
    for place, (at, record) in enumerate(events):
        event_id, status = record["event_id"], record["status"]
        if status == ASKED:
            asked[event_id] = (place, record["reason"])
            if event_id in versions:
                trained = place
        elif status == FAILED and event_id not in versions:
            failed.pop(event_id, None)  # worked on again: the newest is the last
            failed[event_id] = (at, record)
    # By the places at which they were asked for: that is the order in which they are trained.
    standing = [
        found
        for event_id, found in failed.items()
        if asked.get(event_id, (trained + 1,))[0] > trained
    ]
    if not standing:
        return None
    at, record = standing[-1]
    return Failure(
        event_id=record["event_id"],
        trigger=record["trigger"],
        requested_by=record["requested_by"],
        asked=asked.get(record["event_id"], (0, ""))[1],
        why=record["reason"],
        failed_at=at,
        failures=len(standing),
    )
