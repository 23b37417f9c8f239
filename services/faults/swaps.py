"""Model swaps under load: ``weir faults --swaps``.

The load goes on at its rate while versions are put in service one after the other, most of them
good, some damaged, one while the artifacts cannot be reached. Stretches with swaps and without
take turns, so that both see the same machine.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt

from services.faults.harness import SENT_S, ZERO, Say, drain, verified
from services.faults.load import Load
from services.faults.pool import DAMAGES, damaged, make_pool
from services.faults.reading import Reading
from services.faults.running import WORKER, Running, wait_for
from services.faults.traffic import Traffic
from services.faults.visible import Visible
from services.registry import Publisher, now_ms
from streams.loading import KEPT
from streams.roles import ModelRecord
from streams.task import Task

POOL = KEPT + 2
"""Versions that take turns: more than a worker keeps loaded, so that each swap loads a bundle."""
GOOD, AWAY = "good", "artifacts_away"
REFUSED = 10
"""Swaps, in the run, that are to be refused (for good, or as long as the artifacts are away)."""
AWAY_S = 1.5
WARM_UP = 0.1
"""Share of the load before the first stretch: it is not measured."""
STRETCHES = 6
"""Without swaps and with them in turn, an even number."""
SWAPPED = (*ZERO, "refused_served", "refusals_untold")
"""The figures that are 0 when every promise is kept."""


@dataclass(frozen=True)
class Swap:
    """One change of the champion, when so many requests are published."""

    at: int
    how: str


@dataclass(frozen=True)
class Plan:
    """When what is done; ``calm`` are the stretches (from, to) of requests without swaps."""

    swaps: Sequence[Swap]
    calm: Sequence[tuple[int, int]]


def make_plan(swaps: int, requests: int) -> Plan:
    """So many good swaps, spread over every second stretch of the load, and some that are to be
    refused. ValueError where there are too few requests to tell them apart."""
    if swaps < 1 or requests < 100 * (swaps + STRETCHES):
        raise ValueError(
            f"{swaps} swaps over {requests} requests: at least one swap, and "
            f"{100 * (swaps + STRETCHES)} requests for so many are needed"
        )
    hows: list[str] = []
    others = cycle([*DAMAGES, AWAY])
    every = max(1, swaps // REFUSED)
    for number in range(1, swaps + 1):
        hows.append(GOOD)
        if number % every == 0:
            hows.append(next(others))
    ends = np.linspace(WARM_UP * requests, requests, STRETCHES + 1).astype(int)
    calm = [(int(ends[i]), int(ends[i + 1])) for i in range(0, STRETCHES, 2)]
    busy = [(int(ends[i]), int(ends[i + 1])) for i in range(1, STRETCHES, 2)]
    parts = np.array_split(np.arange(len(hows)), len(busy))
    planned = [
        Swap(int(at), hows[number])
        for (first, last), part in zip(busy, parts, strict=True)
        for number, at in zip(part, np.linspace(first, last, len(part) + 2)[1:-1], strict=True)
    ]
    return Plan(planned, calm)


@dataclass
class SwapRun:
    """One run: `of_seed` plans it, `execute` does it."""

    seed: int
    requests: int
    rate: float
    plan: Plan
    seconds: list[float] = field(default_factory=list)
    refused: list[ModelRecord] = field(default_factory=list)
    measured: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def of_seed(cls, seed: int, swaps: int, requests: int, rate: float) -> SwapRun:
        """Plan a run. ValueError where there are too few requests."""
        return cls(seed, requests, rate, make_plan(swaps, requests))

    def execute(self, running: Running, task: Task, say: Say) -> dict[str, Any]:
        """Do it; the report."""
        began = time.monotonic()
        settings = running.settings
        key = settings.signing_key.get_secret_value().encode()
        say(f"training {POOL} versions that take turns")
        pool = make_pool(task, settings.artifacts, key, POOL)
        traffic = Traffic(self.seed, self.requests, [])
        expected = traffic.expected()
        kafka = settings.librdkafka()
        publisher = Publisher(settings, task)
        try:
            with (
                Load(traffic, task, kafka, self.rate) as load,
                Visible(task.name, task.partitions, kafka, load.published_at) as visible,
            ):
                load.allow(self.requests, slowly=False)
                self._swap(running, publisher, pool, load, key, say)
                load.finish(SENT_S + self.requests / self.rate)
                say(f"all published after {time.monotonic() - began:.0f} s; draining")
                with Reading(running.contract, kafka) as reading:
                    account_ = drain(reading, running, expected, [], say)
                    versions = reading.versions()
                    told = reading.refusals()
                checks = verified(running, task, say)
        finally:
            publisher.close()
        bad = {record.version for record in self.refused}
        figures = {
            **account_,
            **checks.figures,
            "refused_served": sum(versions.get(version, 0) for version in bad),
            "refusals_untold": len(self.refused) - min(len(self.refused), told[pool[-1].version]),
        }
        return {
            "seed": self.seed,
            "requests": self.requests,
            "rate": self.rate,
            **{name: figures[name] for name in SWAPPED},
            "swaps": dict(Counter(swap.how for swap in self.plan.swaps)),
            "swap_s": _spread(np.array(self.seconds)),
            "versions_served": sum(version not in bad for version in versions),
            **latencies(visible.waited, self.plan.calm, self.measured),
            "seconds": round(time.monotonic() - began, 1),
            "unrecovered": [],
            "wrong": checks.wrong,
        }

    def _swap(
        self,
        running: Running,
        publisher: Publisher,
        pool: Sequence[ModelRecord],
        load: Load,
        key: bytes,
        say: Say,
    ) -> None:
        """Do what is planned; each swap is waited for. The pool's last version is for what is to be
        refused, and never served."""
        turns, spoilt = cycle(pool[:-1]), pool[-1]
        artifacts = running.settings.artifacts
        for number, swap in enumerate(self.plan.swaps):
            wait_for(partial(_sent, load, swap.at), f"request {swap.at} is published", SENT_S)
            first, since = load.sent, time.monotonic()
            if swap.how in DAMAGES:
                record = damaged(artifacts, spoilt, swap.how, key)
                self.refused.append(record)
                _put(publisher, record)
                wait_for(_refuses(running, record.version), f"swap {number} is refused")
                # What it was to replace is named again: a worker that starts has a champion.
                _put(publisher, replace(record, role="rejected"))
            else:
                record = next(turns)
                if swap.how == AWAY:
                    away = artifacts.with_name("artifacts-away")
                    artifacts.rename(away)
                    try:
                        _put(publisher, record)
                        wait_for(_refuses(running, record.version), f"swap {number} is refused")
                        time.sleep(AWAY_S)  # the fault itself, not a wait
                    finally:
                        away.rename(artifacts)
                else:
                    _put(publisher, record)
                wait_for(_serves(running, record.version), f"swap {number} is in service")
            load.check()
            self.measured.append((first, load.sent))
            if swap.how == GOOD:
                self.seconds.append(time.monotonic() - since)
            if number % 10 == 9 or swap.how != GOOD:
                say(
                    f"{number + 1}/{len(self.plan.swaps)} {swap.how} at request {first}: "
                    f"{time.monotonic() - since:.2f} s"
                )


def latencies(
    waited: npt.NDArray[np.float64],
    calm: Sequence[tuple[int, int]],
    swaps: Sequence[tuple[int, int]],
) -> dict[str, Any]:
    """Publish to visible, in milliseconds, of requests of the stretches without swaps and of those
    between the first and the last swap of the others; ``p99_ratio``: the second p99 over the first.

    waited: by request, seconds; 0: not seen. swaps: by swap, the requests during which it happened.
    What a swap still does when a calm stretch begins is not counted as calm.
    """
    quiet = np.zeros(len(waited), bool)
    for first, last in calm:
        quiet[first:last] = True
    busy = np.zeros(len(waited), bool)
    groups: list[list[int]] = []
    for first, last in swaps:
        if groups and not quiet[groups[-1][1] : first].any():
            groups[-1][1] = max(groups[-1][1], last)
        else:
            groups.append([first, last])
    for first, last in groups:
        busy[first : last + 1] = True
    quiet &= ~busy
    found = {
        "without_swaps_ms": _spread(1000 * waited[quiet & (waited > 0)]),
        "with_swaps_ms": _spread(1000 * waited[busy & (waited > 0)]),
    }
    with_, without = found["with_swaps_ms"]["p99"], found["without_swaps_ms"]["p99"]
    return {**found, "p99_ratio": round(with_ / without, 2) if with_ and without else None}


def _spread(values: npt.NDArray[np.float64]) -> dict[str, float | None]:
    names = {"p50": 50, "p99": 99, "max": 100}
    return {
        name: round(float(np.percentile(values, q)), 3) if len(values) else None
        for name, q in names.items()
    }


def _put(publisher: Publisher, record: ModelRecord) -> None:
    record = replace(record, changed_at=now_ms())
    publisher.publish("models", record.version, record.record())


def _sent(load: Load, request: int) -> bool:
    load.check()
    return load.sent >= request


def _serves(running: Running, version: str) -> Callable[[], bool]:
    return lambda: running.health(WORKER).get("version") == version


def _refuses(running: Running, version: str) -> Callable[[], bool]:
    return lambda: version in str(running.health(WORKER).get("refused", ""))
