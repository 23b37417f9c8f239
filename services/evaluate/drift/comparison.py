"""Every detector on every stream."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.evaluate.drift import peers, stationary
from services.evaluate.drift.jobs import FIRST_SEED, OF_KIND, STREAMS, Job, run
from services.evaluate.drift.judge import Judged, Seen, judge
from services.evaluate.drift.streams import FEATURES
from streams.drift.policy import Drift

Say = Callable[[str], None]
AT_ONCE = 125
"""Draws of labels that a job has: they are held in memory together."""


SLOW_QUIET = 5
"""Stationary draws of labels at most that a slow detector gets: they are long."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    errors, tables: draws of a stream. few: those of errors that a detector gets whose updates are
    slow. peers: of all that alibi-detect and NannyML get. labels: of a stationary draw of errors,
    and of how many. records: of the stationary stream of all kinds. rows: of the stationary
    tables, which are drawn record by record. names: streams; empty: all.
    """

    errors: int = 125
    few: int = 10
    tables: int = 3
    peers: int = 1
    labels: tuple[int, int] = (200_000, 250)
    records: int = 30_000_000
    rows: int = 60_000
    names: Sequence[str] = ()
    policy: Drift = field(default_factory=Drift)

    def times(self, n: int) -> Plan:
        """So many times the draws; those of this plan are among them."""
        size, draws = self.labels
        return replace(
            self,
            errors=n * self.errors,
            tables=n * self.tables,
            labels=(size, n * draws),
            records=n * self.records,
        )


QUICK = Plan(
    20, 2, 1, 0, (100_000, 10), 1_000_000, 30_000, ("errors_10_to_20", "normal_gradual", "sea")
)


@dataclass
class Found:
    """by detector and stream; longest: records of the longest stationary run without a finding."""

    judged: dict[str, dict[str, Judged]] = field(default_factory=dict)
    longest: int = 0

    def plain(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """{detector: {stream: the four figures}}."""
        return {
            detector: {stream: one.plain() for stream, one in by_stream.items()}
            for detector, by_stream in self.judged.items()
        }


def compare(plan: Plan, say: Say, kept: Path | None = None, workers: int | None = None) -> Found:
    """Measure, in as many processes as there are cores. Raises EnvironmentFailed, FlightsError.

    kept: a folder for results of parts, so that a comparison that was stopped goes on.
    """
    jobs = list(_jobs(plan))
    if any(name.startswith("flights") for job in jobs for name in (job.name, *job.names)):
        from services.demo.flights import load_flights

        load_flights()  # once, before many processes want them
    runs: dict[str, dict[str, list[Seen]]] = {}
    count = workers or os.cpu_count() or 1
    for at, (job, given) in enumerate(run(jobs, plan.policy, count, kept), 1):
        say(f"{at} of {len(jobs)} parts: {job.words()}")
        for detector, by_stream in given.items():
            for stream, seen in by_stream.items():
                runs.setdefault(detector, {}).setdefault(stream, []).extend(seen)
    found = Found()
    order = _streams(plan)
    for detector, by_stream in runs.items():
        names = [name for name in order if name in by_stream]
        if detector in OF_KIND:  # what a stream shows nothing of has no line there
            names = [name for name in names if any(seen.alarms for seen in by_stream[name])]
        if names:
            found.judged[detector] = {name: judge(by_stream[name]) for name in names}
    found.longest = stationary.longest(runs["weir"]["none_50_numbers"])
    return found


def _jobs(plan: Plan) -> Iterator[Job]:
    """In an order that ends with small ones, so that no process is left alone with a large one."""
    labels, draws = plan.labels
    for at in range(0, draws, AT_ONCE):
        few = min(plan.few, SLOW_QUIET) if at == 0 else 0
        seed = FIRST_SEED + at
        yield Job("stream", "none_errors", seed, min(AT_ONCE, draws - at), labels, few)
    size = stationary.PER_REFERENCE
    for at, start in enumerate(range(0, plan.records, size)):
        records = min(size, plan.records - start)
        yield Job("policy", "none_50_numbers", FIRST_SEED + at, 1, records)
    tables = ["none_normal"] if plan.names else ["none_normal", "none_flights"]
    changing = [name for name in STREAMS if not plan.names or name in plan.names]
    if plan.peers:
        for peer in peers.SCRIPTS:
            yield Job("peer", peer, FIRST_SEED, plan.peers, names=tuple(changing))
            yield Job("peer", peer, FIRST_SEED, 1, plan.rows, names=tuple(tables))
    for name in changing:
        if STREAMS[name].kind == "errors":
            for at in range(0, plan.errors, AT_ONCE):
                few = max(0, min(plan.few - at, AT_ONCE))
                count = min(AT_ONCE, plan.errors - at)
                yield Job("stream", name, FIRST_SEED + at, count, few=few)
        else:
            for at in range(plan.tables):
                yield Job("stream", name, FIRST_SEED + at, 1)
    for name in tables:
        yield Job("stream", name, FIRST_SEED, 1, plan.rows)


def _streams(plan: Plan) -> list[str]:
    return [*NONE, *(name for name in STREAMS if not plan.names or name in plan.names)]


NONE = {
    "none_50_numbers": f"nothing: {FEATURES} numbers, scores, answers, errors",
    "none_errors": "nothing: errors at 10 %",
    "none_normal": f"nothing: {FEATURES} normal numbers",
    "none_flights": "nothing: flights drawn again",
}
"""Streams in which nothing changes."""


def streams() -> Mapping[str, str]:
    """Every stream with changes: what drifts in it, and how."""
    return {one.name: one.drift for one in STREAMS.values()}
