"""A run of the harness: load and faults, until everything is drained, then the account."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.topics import BY_NAME
from services.faults import account, tables
from services.faults.inject import Injector, Recovery, skipped_reasons
from services.faults.load import Load
from services.faults.plan import LONGEST_S, Fault, Kind, make_plan
from services.faults.reading import Reading
from services.faults.running import FaultError, Running
from services.faults.traffic import Expected, Traffic
from services.faults.visible import Visible
from services.verify import logged, metrics, recount
from streams.task import Task

SENT_S = 600.0
"""Longest time for the load to get from one fault to the next."""
QUIET_S = 4.0
"""Nothing is added to any topic for so long when the system may have finished: windows that change
are told of once a second, and the sink inserts twice a second."""
GIVE_UP_S = 60.0
"""When nothing is added for so long and something is still missing, it does not come any more."""
LOOK_S = 0.3
MOST_LINES = 20

ZERO = (
    *("lost", "duplicates", "refused", "unasked", "outcomes_lost", "outcomes_double_counted"),
    *("sink_lost", "sink_duplicates", "metrics_wrong", "features_wrong"),
    *("retrains_lost", "retrains_doubled"),
    *("poison_untold", "poison_told_twice"),
    *("dead_letters_lost", "dead_letters_doubled", "dead_letters_unexpected"),
)
"""The figures that are 0 when every promise is kept."""

Say = Callable[[str], None]


@dataclass
class Run:
    """One run: `of_seed` plans it, `execute` does it."""

    seed: int
    requests: int
    rate: float
    plan: list[Fault]
    recoveries: list[Recovery] = field(default_factory=list)
    unrecovered: list[str] = field(default_factory=list)

    @classmethod
    def of_seed(
        cls,
        seed: int,
        faults: int,
        requests: int,
        rate: float,
        kinds: Sequence[Kind] = tuple(Kind),
        longest_s: float = LONGEST_S,
    ) -> Run:
        """Plan a run. ValueError where there are too few requests for the faults."""
        return cls(seed, requests, rate, make_plan(seed, faults, requests, kinds, longest_s))

    def execute(self, running: Running, task: Task, disk: str, say: Say) -> dict[str, Any]:
        """Do it; the report. disk: why the store's disk cannot be filled, or ''."""
        began = time.monotonic()
        bursts = [fault.at for fault in self.plan if fault.kind is Kind.POISON]
        traffic = Traffic(self.seed, self.requests, bursts)
        expected = traffic.expected()
        kafka = running.settings.librdkafka()
        with (
            Load(traffic, task, kafka, self.rate) as load,
            Visible(task.name, task.partitions, kafka, load.published_at) as visible,
        ):
            injector = Injector(running, task, visible, lambda: load.sent, disk)
            self._do(injector, load, say)
            load.finish(SENT_S + self.requests / self.rate)
            say(f"all published after {time.monotonic() - began:.0f} s; draining")
            with Reading(running.contract, kafka) as reading:
                account_ = drain(reading, running, expected, injector.retrains, say)
                counts = dict(reading.counts)
            checks = verified(running, task, say)
            figures = {**account_, **checks.figures}
            latency = visible.latency_ms()
        return {
            "seed": self.seed,
            "requests": self.requests,
            **{name: figures[name] for name in ZERO},
            "faults": dict(Counter(str(r.fault.kind) for r in self.recoveries if not r.skipped)),
            "recovery_s": account.recovery_figures(
                (str(r.fault.kind), r.seconds) for r in self.recoveries if not r.skipped
            ),
            "longest_wait_s": account.recovery_figures(
                (str(r.fault.kind), r.worst_s) for r in self.recoveries if not r.skipped
            ),
            "skipped": skipped_reasons(self.recoveries),
            "unrecovered": self.unrecovered,
            "latency_ms": latency,
            "records": counts,
            "rate": self.rate,
            "seconds": round(time.monotonic() - began, 1),
            "windows": checks.windows,
            "features": checks.features,
            "wrong": checks.wrong,
        }

    def _do(self, injector: Injector, load: Load, say: Say) -> None:
        for number, fault in enumerate(self.plan):
            load.allow(fault.at, slowly=False)
            load.wait_until_sent(fault.at, SENT_S)
            # While the fault is on, requests go on and leave the next fault its moment.
            following = self.plan[number + 1].at if number + 1 < len(self.plan) else self.requests
            load.allow(following, slowly=True)
            try:
                recovery = injector.inject(fault)
            except FaultError as error:
                self.unrecovered.append(f"{fault.kind} at request {fault.at}: {error}")
                say(f"not recovered: {self.unrecovered[-1]}")
                return  # one that is not over makes the next one mean nothing
            self.recoveries.append(recovery)
            load.check()
            how = recovery.skipped or f"{recovery.seconds:.1f} s"
            say(f"{number + 1}/{len(self.plan)} {fault.kind} at request {fault.at}: {how}")


def kept(report: Mapping[str, Any], zero: Sequence[str] = ZERO) -> bool:
    """Whether a report shows every promise kept; zero: the figures that must be 0."""
    return not any(report[name] for name in zero) and not report["unrecovered"]


def drain(
    reading: Reading, running: Running, expected: Expected, retrains: list[str], say: Say
) -> dict[str, int]:
    """Read until nothing is missing, or nothing comes any more; the figures of the account."""
    quiet_since, judged = time.monotonic(), False
    while True:
        if reading.advance():
            quiet_since, judged = time.monotonic(), False
        quiet = time.monotonic() - quiet_since
        stored = tables.counts(running)
        behind = sum(max(0, n - stored.get(name, 0)) for name, n in reading.counts.items())
        over = quiet > GIVE_UP_S
        if over or (quiet > QUIET_S and not behind and not judged):
            figures = accounted(reading, running, expected, retrains)
            judged = True
            if over or not any(figures.values()):
                return figures
            say("waiting: " + ", ".join(f"{name} {n}" for name, n in figures.items() if n))
        time.sleep(LOOK_S)


def accounted(
    reading: Reading, running: Running, expected: Expected, retrains: list[str]
) -> dict[str, int]:
    """The figures that follow from who got what: all of ``ZERO`` but those of `verified`."""
    forgetful = [name for name, topic in BY_NAME.items() if topic.cleanup == "compact"]
    return {
        **account.predictions_figures(expected, reading.requests(), reading.predictions()),
        **account.outcomes_figures(expected, reading.outcomes()),
        **account.dead_letter_figures(expected, reading.dead_letters()),
        **account.sink_figures(reading.offsets(), tables.offsets(running), forgetful),
        **account.trainer_figures(retrains, reading.models()),
    }


@dataclass(frozen=True)
class Checks:
    """What ``weir verify`` finds when all is quiet.

    figures: ``metrics_wrong`` and ``features_wrong``. windows: metric records that were recounted.
    features: what `services.verify.features.Report` tells. wrong: a line for each of the first
    windows and values that are wrong.
    """

    figures: dict[str, int]
    windows: int
    features: dict[str, Any]
    wrong: list[str]


def verified(running: Running, task: Task, say: Say) -> Checks:
    """Recompute all windows and all logged windowed features from the topics.

    The windows' last records are compared in the topic and in ClickHouse.
    """
    home, kafka = running.settings.home, running.settings.librdkafka()
    found = metrics.verify(task, home, kafka, say, lambda _done, _of: None)
    stored = recount.differences(found.wanted, tables.metrics(running))
    wrong = {"topic": found.wrong, "ClickHouse": stored}
    features = logged.verify(task, home, kafka)
    say(f"recounted {found.windows:,} windows and {features.values:,} values of windowed features")
    lines = [f"{where}: {line}" for where, some in wrong.items() for line in recount.lines(some)]
    return Checks(
        {"metrics_wrong": len(lines), "features_wrong": features.differences},
        found.windows,
        {
            name: value
            for name, value in features.figures().items()
            if name in ("predictions", "values", "differences", "complete", "lag_s")
        },
        [*lines[:MOST_LINES], *features.examples],
    )
