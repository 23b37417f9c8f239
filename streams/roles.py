"""Which model version does what, as the records of the ``models`` topic say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from schemas.codec import Codec

Role = Literal["champion", "canary", "shadow", "candidate", "archived", "rejected", "none"]

BY_TRAINER, BY_ROLLOUT, BY_LEARNER = "trainer", "rollout", "learner"
"""Who gives roles by rule: whatever else ``changed_by`` names, somebody decided it by hand."""

CONTINUAL = "continual-"
"""How the event ids of versions begin that learned in the stream: no retrain event asked for
them."""


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """One record of the ``models`` topic; its fields are those of ``schemas/avro/model.avsc``.

    Times are milliseconds since 1970 UTC.
    """

    version: str
    role: Role
    changed_at: int
    reason: str
    event_id: str
    bundle: str
    sha256: str
    dataset_id: str
    rows: int
    data_from: int
    data_to: int
    metrics: Mapping[str, float]
    replaces: str = ""
    changed_by: str = ""
    share: float = 0.0
    experiment: str = ""
    decision: str = ""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> ModelRecord:
        """From a decoded record; fields that a later schema may add are left out."""
        return cls(**{f.name: record[f.name] for f in fields(cls) if f.name in record})

    @property
    def by_hand(self) -> bool:
        """Whether somebody asked for this role: what goes by rule obeys it."""
        return self.changed_by not in ("", BY_TRAINER, BY_ROLLOUT, BY_LEARNER)

    @property
    def continual(self) -> bool:
        """Whether the version learns in the stream (`streams.continual`)."""
        return self.event_id.startswith(CONTINUAL)

    def record(self) -> dict[str, Any]:
        """As the codec writes it."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {
            "metrics": dict(self.metrics)
        }


@dataclass(frozen=True)
class Roles:
    """What is known of all versions: the last record of each, in the order of those records."""

    records: Mapping[str, ModelRecord] = field(default_factory=dict)

    @property
    def champion(self) -> ModelRecord | None:
        """The record of the version that answers, if there is one.

        The last of the versions whose own last record says champion: so when the champion is
        archived or rejected without a new one, the one before it answers again.
        """
        champions = [record for record in self.records.values() if record.role == "champion"]
        return champions[-1] if champions else None

    @property
    def batch_champion(self) -> ModelRecord | None:
        """The champion, or what it is on top of where it is a version that learns in the stream."""
        champion = self.champion
        if champion is None or not champion.continual:
            return champion
        return self.records.get(champion.replaces)

    def role(self, version: str) -> Role:
        """What a version is doing; a champion that another has followed counts as archived."""
        record = self.records.get(version)
        if record is None:
            return "none"
        champion = self.champion
        if record.role == "champion" and champion is not None and champion.version != version:
            return "archived"
        return record.role

    def with_role(self, role: Role) -> list[ModelRecord]:
        """The records of the versions that have a role now, oldest first."""
        return [r for r in self.records.values() if self.role(r.version) == role]

    def after(self, version: str, record: ModelRecord | None) -> Roles:
        """The roles after a record of a version; None: an operator has deleted it (a null)."""
        if record is not None:
            return fold([record], self)
        return Roles({known: r for known, r in self.records.items() if known != version})

    def told(self, key: bytes | None, value: bytes | None, codec: Codec) -> Roles:
        """The roles after a record of the topic as it is stored; a null deletes its version.

        ValueError where it is no record of Weir's.
        """
        if value is None:
            return self.after((key or b"").decode(errors="replace"), None)
        return fold([ModelRecord.of(codec.read(value))], self)

    def of_event(self, event_id: str) -> ModelRecord | None:
        """The version that a retrain event led to, if it is recorded."""
        found = [record for record in self.records.values() if record.event_id == event_id]
        return found[-1] if found else None


def is_called(version: str, short: str) -> bool:
    """Whether an id, or the hash in it, begins with what a person typed."""
    return bool(short) and (
        version.startswith(short) or version.rpartition("-")[2].startswith(short)
    )


def fold(records: Iterable[ModelRecord], start: Roles | None = None) -> Roles:
    """The roles after some records, in the topic's order.

    The topic is compacted by version; records that compaction has removed change nothing here.
    """
    known = dict(start.records) if start else {}
    for record in records:
        known.pop(record.version, None)  # to the end: the order is that of the last records
        known[record.version] = record
    return Roles(known)
