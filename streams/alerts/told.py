"""What the records of ``alerts`` say is open now: for those who only read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OVER_KEPT = 20

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Told:
    """open: the last record of each open episode, by its id, the oldest episode first. over: the
    last records of what has ended or has no end, the newest last."""

    open: Mapping[str, Record] = field(default_factory=dict)
    over: tuple[Record, ...] = ()

    def after(self, record: Record) -> Told:
        """With one more record, in the topic's order."""
        episode = record["episode"] or record["alert_id"]
        if record["change"] in ("resolved", "happened"):
            still = {key: value for key, value in self.open.items() if key != episode}
            return Told(still, (*self.over, record)[-OVER_KEPT:])
        return Told({**self.open, episode: record}, self.over)
