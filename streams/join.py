"""The join of predictions and truths: what to do with each record, given what is known of its id.

Whatever comes first, comes twice or comes late, each request counts once. What is known of a
request depends on which records were seen, not on how the two topics took turns: that is what
lets `streams.restore` rebuild it by replay.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum

_HEAD = struct.Struct(">qiqq")


@dataclass(frozen=True, slots=True)
class KnownTruth:
    """The truth that holds for a request.

    known_at: its own time, milliseconds. revision: how many truths it has replaced.
    offset, record_time: of its record in ``truth``. value: that record's value.
    """

    known_at: int
    revision: int
    offset: int
    record_time: int
    value: bytes

    def pack(self) -> bytes:
        """As bytes, for the store."""
        return _HEAD.pack(self.known_at, self.revision, self.offset, self.record_time) + self.value

    @classmethod
    def unpack(cls, raw: bytes) -> KnownTruth:
        """What `pack` made."""
        return cls(*_HEAD.unpack_from(raw), raw[_HEAD.size :])


class Verdict(Enum):
    """What becomes of a truth."""

    FIRST = "first"  # it is the first truth of its request
    CORRECTION = "correction"  # it differs from the one that holds and is later by its own time
    REPEATED = "repeated"  # it says what is known already
    STALE = "stale"  # it differs, but is not later than the one that holds


def judge(known: KnownTruth | None, same: bool, known_at: int) -> Verdict:
    """What a truth is, given the one that holds, whether it says the same, and its time.

    The latest by its own time wins; of two at the same time the one that came first.
    """
    if known is None:
        return Verdict.FIRST
    if same:
        return Verdict.REPEATED
    return Verdict.CORRECTION if known_at > known.known_at else Verdict.STALE


def too_late(event_time: int, known_at: int, horizon_ms: int) -> bool:
    """Whether a truth became known later than the label horizon after its request."""
    return known_at - event_time > horizon_ms
