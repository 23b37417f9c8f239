"""The join of predictions and truths: what to do with each record, given what is known of its id.

Whatever comes first, comes twice or comes late, each request counts once. What is known of a
request depends on which records were seen, not on how the two topics took turns: that is what
lets `streams.restore` rebuild it by replay.

The truths of a request are a chain, in which each corrects the one before it. The whole chain is
kept and not its end alone: while the prediction is not there, nobody can tell which of them come
within the label horizon after its request.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

_HEAD = struct.Struct(">qqqqI")

MOST_TRUTHS = 100
"""Truths of one request, the first and its corrections; it bounds what one id can cost."""


@dataclass(frozen=True, slots=True)
class KnownTruth:
    """A truth of a request.

    known_at: its own time, milliseconds. until: the latest time at which it was said again.
    offset, record_time: of its record in ``truth``. value: that record's value.
    """

    known_at: int
    until: int
    offset: int
    record_time: int
    value: bytes

    def again(self, known_at: int) -> KnownTruth:
        """This truth, said again."""
        return replace(self, until=max(self.until, known_at))


Chain = tuple[KnownTruth, ...]
"""Truths of one request in order of their own times: the i-th replaces the one before it."""


def pack(chain: Iterable[KnownTruth]) -> bytes:
    """A chain as bytes, for the store."""
    parts = []
    for one in chain:
        size = len(one.value)
        parts += [
            _HEAD.pack(one.known_at, one.until, one.offset, one.record_time, size),
            one.value,
        ]
    return b"".join(parts)


def unpack(raw: bytes | None) -> Chain:
    """What `pack` made; nothing of None."""
    chain: list[KnownTruth] = []
    at = 0
    while raw is not None and at < len(raw):
        known_at, until, offset, record_time, size = _HEAD.unpack_from(raw, at)
        at += _HEAD.size + size
        chain.append(KnownTruth(known_at, until, offset, record_time, raw[at - size : at]))
    return tuple(chain)


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
    return Verdict.CORRECTION if known_at > known.until else Verdict.STALE


def too_late(event_time: int, known_at: int, horizon_ms: int) -> bool:
    """Whether a truth became known later than the label horizon after its request."""
    return known_at - event_time > horizon_ms


def in_time(chain: Sequence[KnownTruth], event_time: int, horizon_ms: int) -> int:
    """How many truths of a chain, from its start, came within the horizon of a request."""
    return sum(not too_late(event_time, one.known_at, horizon_ms) for one in chain)
