"""Every detector on every stream."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.evaluate.drift import ours, peers, rivers, stationary
from services.evaluate.drift.flights import FLIGHTS, drawn
from services.evaluate.drift.judge import Judged, Seen, judge
from services.evaluate.drift.streams import (
    ERRORS,
    GENERATED,
    NORMAL,
    REFERENCE,
    Made,
    Stream,
    stationary_errors,
    stationary_normal,
)
from streams.drift.policy import Drift

Say = Callable[[str], None]
FIRST_SEED = 1_000
"""Others were used while the detectors were made."""


OFTEN = 1_000_000
"""``weir_1m`` is the policy with false alarms so far apart: about as ADWIN's are, measured."""


MOST_SLOW = 40_000
"""Records of a stream that a detector of `rivers.SLOW` is given."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    errors, tables: draws of a stream. peers: those of them that alibi-detect and NannyML get.
    labels: of the stationary stream of errors. records: of the stationary one of all kinds.
    rows: of the stationary tables, which are drawn record by record. names: streams; empty: all.
    """

    errors: int = 40
    tables: int = 6
    peers: int = 2
    labels: int = 2_000_000
    records: int = 50_000_000
    rows: int = 100_000
    names: Sequence[str] = ()
    policy: Drift = field(default_factory=Drift)


QUICK = Plan(3, 1, 0, 30_000, 300_000, 30_000, ("errors_10_to_20", "normal_gradual", "sea"))


@dataclass
class Found:
    """by detector and stream; longest: records of the longest stationary run without a finding."""

    judged: dict[str, dict[str, Judged]] = field(default_factory=dict)
    longest: int = 0

    def add(self, detector: str, stream: str, runs: Sequence[Seen]) -> None:
        """Judge the draws of one stream."""
        self.judged.setdefault(detector, {})[stream] = judge(runs)

    def plain(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """{detector: {stream: the four figures}}."""
        return {
            detector: {stream: one.plain() for stream, one in by_stream.items()}
            for detector, by_stream in self.judged.items()
        }


def compare(plan: Plan, say: Say) -> Found:
    """Measure. Raises EnvironmentFailed, FlightsError."""
    found = Found()
    with tempfile.TemporaryDirectory(prefix="weir-evaluate-") as folder:
        handed = peers.Handed(Path(folder))
        _stationary(plan, say, found, handed)
        for stream in (*ERRORS, *GENERATED, *NORMAL, *FLIGHTS):
            if not plan.names or stream.name in plan.names:
                _stream(stream, plan, say, found, handed)
        for name in peers.SCRIPTS if plan.peers else ():
            say(name)
            for at, runs in handed.watch(name).items():
                found.add(name, at, runs)
    return found


def _stationary(plan: Plan, say: Say, found: Found, handed: peers.Handed) -> None:
    say(f"stationary: {plan.records:,} records of 50 numbers, scores, answers and labels")
    runs = []
    for seed, start in enumerate(range(0, plan.records, stationary.PER_REFERENCE)):
        part = min(stationary.PER_REFERENCE, plan.records - start)
        runs.append(stationary.watch(part, plan.policy, FIRST_SEED + seed))
        say(f"{start + part:,} records, {sum(len(seen.alarms) for seen in runs)} findings")
    found.add("weir", "none_50_numbers", runs)
    found.longest = stationary.longest(runs)
    say(f"stationary errors: {plan.labels:,} labels")
    errors = stationary_errors(FIRST_SEED, REFERENCE + plan.labels)
    _ours("none_errors", [errors], plan, found)
    for name in rivers.OF_ERRORS:
        few = errors if name not in rivers.SLOW else _cut(errors, min(len(errors), MOST_SLOW))
        found.add(name, "none_errors", [rivers.watch(name, few)])
    say(f"stationary tables: {plan.rows:,} rows")
    numbers = stationary_normal(FIRST_SEED, REFERENCE + plan.rows)
    flights = [] if plan.names else [("none_flights", drawn(FIRST_SEED, REFERENCE + plan.rows))]
    for stream, made in (("none_normal", numbers), *flights):
        _ours(stream, [made], plan, found)
        for name in rivers.OF_NUMBERS:
            if name not in rivers.SLOW:
                found.add(name, stream, [rivers.watch(name, made)])
        if plan.peers:
            handed.add(stream, [made])


def _stream(stream: Stream, plan: Plan, say: Say, found: Found, handed: peers.Handed) -> None:
    count = plan.errors if stream.kind == "errors" else plan.tables
    say(f"{stream.name} ({stream.drift}): {count} draws")
    draws = [stream.make(FIRST_SEED + seed) for seed in range(count)]
    _ours(stream.name, draws, plan, found)
    has_errors = draws[0].wrong is not None
    for name in rivers.OF_ERRORS if has_errors else rivers.OF_NUMBERS:
        if name in rivers.SLOW and (stream.kind != "errors" or len(draws[0]) > MOST_SLOW):
            continue
        some = draws if name not in rivers.SLOW else draws[:1]
        found.add(name, stream.name, [rivers.watch(name, made) for made in some])
    if plan.peers:
        handed.add(stream.name, draws[: plan.peers])


def _ours(stream: str, draws: Sequence[Made], plan: Plan, found: Found) -> None:
    runs = [ours.watch(made, plan.policy) for made in draws]
    found.add("weir", stream, [seen for seen, _ in runs])
    if not draws[0].numbers:
        often = replace(plan.policy, false_alarm_every=OFTEN)
        found.add("weir_1m", stream, [ours.watch(made, often)[0] for made in draws])
    kinds = sorted({kind for _, by_kind in runs for kind in by_kind})
    for kind in kinds:
        none = [
            by_kind.get(kind, Seen(seen.records, seen.reference, seen.changes, (), seen.cpu_s))
            for seen, by_kind in runs
        ]
        found.add(f"weir_{kind}", stream, none)


def _cut(made: Made, n: int) -> Made:
    assert made.wrong is not None
    return Made(made.reference, made.changes, wrong=made.wrong[:n])


def streams() -> Mapping[str, str]:
    """Every stream with changes: what drifts in it, and how."""
    return {one.name: one.drift for one in (*ERRORS, *GENERATED, *NORMAL, *FLIGHTS)}
