"""The join of predictions and truths: which truth of a request holds, given all that were said.

Whatever comes first, comes twice or comes late, each request counts once. Sources of truth have a
priority, and the one that holds is a function of which truths were said, not of their order:

1. only truths in time count: known within the label horizon after the request;
2. of the sources that spoke, the one of the highest priority;
3. of its truths the latest by its own time; of two at the same time the greater value.

So of a request whose prediction is there one truth a source is enough (`Held`). While it is not,
nobody can tell which truths are in time, and all are kept as they came (`Waiting`). Both are what
`streams.restore` rebuilds by replay, however the topics take turns.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

MOST_TRUTHS = 1000
"""Records of truth of one request that are taken; it bounds what one id can cost."""

Value = bool | str | float


class Verdict(Enum):
    """What becomes of a truth."""

    FIRST = "first"  # it is the first truth of its request
    CORRECTION = "correction"  # it replaces the one that held
    OUTRANKED = "outranked"  # a source of higher priority has spoken
    REPEATED = "repeated"  # its source has said the same
    STALE = "stale"  # it differs, but its source has said another one later
    WAITING = "waiting"  # its prediction is not there yet
    LATE = "late"  # known later than the label horizon after its request


@dataclass(frozen=True, slots=True)
class Said:
    """What a source says of a request, and when that became known (milliseconds)."""

    source: str
    known_at: int
    truth: Value


@dataclass(frozen=True, slots=True)
class Held:
    """What is known of a request whose prediction is there.

    heard: how many records of truth came. changes: how often what holds has changed, −1 before
    the first truth in time. latest: of each source its latest, the one that holds first.
    """

    heard: int = 0
    changes: int = -1
    latest: tuple[Said, ...] = ()

    @property
    def holds(self) -> Said | None:
        """The truth that holds, None before there is one."""
        return self.latest[0] if self.latest else None

    def heard_more(self, records: int = 1) -> Held:
        """The same after records that change nothing."""
        return Held(self.heard + records, self.changes, self.latest)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A truth whose prediction is not there.

    known_at: its own time, milliseconds. hour: where `pending`'s index has it. offset,
    record_time, value: of its record in ``truth``.
    """

    known_at: int
    hour: int
    offset: int
    record_time: int
    value: bytes


Known = Held | tuple[Waiting, ...]
Rank = Callable[[str], int]
"""A source's place in the order of priority, from 0; of an unknown one a number beyond all."""


def hear(held: Held, said: Said, rank: Rank) -> tuple[Held, Verdict]:
    """What is known of a request after a truth in time, and what became of that truth."""
    before = held.holds
    own = next((one for one in held.latest if one.source == said.source), None)
    if own is not None and (own.known_at, own.truth) >= (said.known_at, said.truth):
        verdict = Verdict.REPEATED if own.truth == said.truth else Verdict.STALE
        return held.heard_more(), verdict
    others = [one for one in held.latest if one is not own]
    latest = tuple(sorted((said, *others), key=lambda one: (rank(one.source), one.source)))
    now = latest[0]
    if before is None:
        verdict = Verdict.FIRST
    elif (now.source, now.truth) != (before.source, before.truth):
        verdict = Verdict.CORRECTION
    elif own is not None and own.truth == said.truth:
        verdict = Verdict.REPEATED
    else:
        verdict = Verdict.OUTRANKED
    changed = verdict in (Verdict.FIRST, Verdict.CORRECTION)
    return Held(held.heard + 1, held.changes + changed, latest), verdict


def too_late(event_time: int, known_at: int, horizon_ms: int) -> bool:
    """Whether a truth became known later than the label horizon after its request."""
    return known_at - event_time > horizon_ms


_HELD = struct.Struct(">cIi")
_SAID = struct.Struct(">qBcI")
_TIME = struct.Struct(">q")
_WAITING = struct.Struct(">qqqqI")
_HELD_MARK, _WAITING_MARK = b"h", b"w"


def pack(known: Known) -> bytes:
    """What is known of a request as bytes, for the store."""
    if isinstance(known, Held):
        parts = [_HELD.pack(_HELD_MARK, known.heard, known.changes)]
        for said in known.latest:
            source, (kind, truth) = said.source.encode(), _value_bytes(said.truth)
            parts += [_SAID.pack(said.known_at, len(source), kind, len(truth)), source, truth]
        return b"".join(parts)
    parts = [_WAITING_MARK]
    for one in known:
        head = _WAITING.pack(one.known_at, one.hour, one.offset, one.record_time, len(one.value))
        parts += [head, one.value]
    return b"".join(parts)


def pack_firsts(
    sources: Sequence[str], known_at: Sequence[int], truths: Sequence[Value]
) -> list[bytes]:
    """`pack` of requests of which each has one truth, in time: the common case, many at once."""
    before = _HELD.pack(_HELD_MARK, 1, 0)
    after: dict[tuple[str, Value], bytes] = {}
    packed = []
    for source, at, truth in zip(sources, known_at, truths, strict=True):
        # Zero is not remembered: 0.0, -0.0 and False would be one key.
        end = after.get((source, truth)) if truth or truth is False else None
        if end is None:
            kind, value = _value_bytes(truth)
            name = source.encode()
            end = _SAID.pack(0, len(name), kind, len(value))[_TIME.size :] + name + value
            if len(after) < _REMEMBERED:
                after[source, truth] = end
        packed.append(before + _TIME.pack(at) + end)
    return packed


_REMEMBERED = 64  # different truths of a batch: classes are few, numbers are not


def is_waiting(raw: bytes) -> bool:
    """Whether it is what `pack` made of truths that wait; of a record's value it is not."""
    return raw[:1] == _WAITING_MARK


def unpack(raw: bytes) -> Held:
    """What `pack` made of what is held."""
    _, heard, changes = _HELD.unpack_from(raw)
    return Held(heard, changes, tuple(_said(raw)))


def unpack_waiting(raw: bytes) -> tuple[Waiting, ...]:
    """What `pack` made of truths that wait."""
    return tuple(_waiting(raw))


def _waiting(raw: bytes) -> Iterable[Waiting]:
    at = 1
    while at < len(raw):
        known_at, hour, offset, record_time, size = _WAITING.unpack_from(raw, at)
        at += _WAITING.size + size
        yield Waiting(known_at, hour, offset, record_time, raw[at - size : at])


def _said(raw: bytes) -> Iterable[Said]:
    at = _HELD.size
    while at < len(raw):
        known_at, source_size, kind, size = _SAID.unpack_from(raw, at)
        at += _SAID.size + source_size + size
        source = raw[at - source_size - size : at - size].decode()
        yield Said(source, known_at, _value(kind, raw[at - size : at]))


def _value_bytes(value: Value) -> tuple[bytes, bytes]:
    if isinstance(value, bool):
        return b"b", b"\x01" if value else b"\x00"
    if isinstance(value, str):
        return b"s", value.encode()
    return b"d", struct.pack(">d", value)


def _value(kind: bytes, raw: bytes) -> Value:
    if kind == b"b":
        return raw == b"\x01"
    if kind == b"s":
        return raw.decode()
    number: float = struct.unpack(">d", raw)[0]
    return number
