"""What the signals of a request say: its weak label and its exposure, as a function of them alone.

Which signals were seen and how far event time has come in their topic decide; the order in which
they came does not. So a label that was told can be told again from the state (to take it back in
a correction), and a replay of the topic comes to the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from streams.weak_labels import WeakLabels

MOST_SIGNALS = 100
"""Different signals of one request that are taken; it bounds what one id can cost."""


class Signal(NamedTuple):
    """One signal: when (event time, ms), what, and what an impression tells of the exposure."""

    at: int
    kind: str
    value: float | None = None
    position: int | None = None
    propensity: float | None = None
    role: str | None = None


Signals = tuple[Signal, ...]
"""The different signals of a request, in order of time."""


class Exposure(NamedTuple):
    """How an answer was shown; None where nobody told."""

    position: int | None = None
    propensity: float | None = None
    role: str | None = None


class Weak(NamedTuple):
    """A weak label: which way it goes, its weight (0: taken back), since when (ms), exposure."""

    positive: bool
    weight: float
    known_at: int
    exposure: Exposure


def taken(signals: Signals, new: Signal) -> Signals:
    """The signals with another one; the same object where it is known already."""
    if new in signals:
        return signals
    return tuple(sorted((*signals, new), key=_order))


def in_time(signals: Signals, event_time: int, horizon_ms: int) -> Signals:
    """The signals that came within the label horizon after their request."""
    return tuple(one for one in signals if one.at - event_time <= horizon_ms)


def session_end(rules: WeakLabels, signals: Signals) -> int:
    """When the session of a request ends that has signals."""
    return signals[0].at + rules.session_ms


def exposure(rules: WeakLabels, signals: Signals) -> Exposure:
    """What the first impression tells."""
    for one in signals:
        if one.kind in rules.examined:
            return Exposure(one.position, one.propensity, one.role)
    return Exposure()


def weak_label(rules: WeakLabels, signals: Signals, watermark: int | None) -> Weak | None:
    """The label that signals make, once event time has come to ``watermark``.

    None while the session is open, and where no signal speaks for or against the answer or says
    that it was examined. Signals after the session's end change a label that is there.
    """
    if watermark is None or not signals or session_end(rules, signals) > watermark:
        return None
    known_at = max(session_end(rules, signals), signals[-1].at)
    standing: list[tuple[bool, float]] = []
    undone: tuple[bool, float] | None = None
    examined = False
    for one in signals:
        examined = examined or one.kind in rules.examined
        if one.kind in rules.undo:
            undone = standing.pop() if standing else undone
        elif (said := _said(rules, one)) is not None:
            standing.append(said)
    shown = exposure(rules, signals)
    if standing:
        # The last one decides which way, the strongest of its kind how much.
        positive = standing[-1][0]
        weight = max(weight for way, weight in standing if way is positive)
        return Weak(positive, weight, known_at, shown)
    if examined and rules.ignored > 0:
        return Weak(False, rules.ignored, known_at, shown)
    if undone is not None:
        return Weak(undone[0], 0.0, known_at, shown)
    return None


def _said(rules: WeakLabels, signal: Signal) -> tuple[bool, float] | None:
    """Which way a signal speaks, and its weight."""
    if signal.kind in rules.positive:
        return True, rules.positive[signal.kind]
    if signal.kind in rules.negative:
        return False, rules.negative[signal.kind]
    dwell = rules.dwell.get(signal.kind)
    if dwell is not None and signal.value is not None and signal.value >= dwell.at_least:
        return True, dwell.weight
    return None


def _order(signal: Signal) -> tuple[object, ...]:
    """By time; what happened at the same time in an order of its own, none before any value."""
    numbers = ((part is not None, part or 0) for part in signal[2:5])
    return (signal.at, signal.kind, *numbers, signal.role or "")


def pack(signals: Iterable[Signal]) -> bytes:
    """Signals as bytes, for the store."""
    return json.dumps([list(one) for one in signals], separators=(",", ":")).encode()


def unpack(raw: bytes | None) -> Signals:
    """What `pack` made; nothing of None."""
    return tuple(Signal(*one) for one in json.loads(raw)) if raw else ()
