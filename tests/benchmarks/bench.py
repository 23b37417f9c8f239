"""`weir bench`: Weir and its peers in one run, on one broker, under the same load.

    python -m tests.benchmarks.bench [--quick] [--only weir,quix] [--report docs/performance.md]

For each system, on topics of its own: start it; wait until predictions come from every partition;
warm it up; offer a backlog and time its predictions; offer 1,000, 5,000 and 10,000 requests/s and
take the time from publish to visible. Then the join with many predictions pending, beside the
serving agent (``--only join`` for these two), and the sink, from backlogs and in the whole system
(``--only sink``). Progress goes to stderr, tables to stdout; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from tests.benchmarks import join_agent, report, sink
from tests.benchmarks.join_agent import JOIN_ONLY, Joined
from tests.benchmarks.load import Backlog, Latency, Load
from tests.benchmarks.systems import PEER_PYTHON, Running, Stage, System, fresh_stage

SYSTEMS = (
    System("weir_exactly_once", "Weir, complete", "exactly once"),
    System("weir_at_least_once", "Weir, complete", "at least once"),
    System("faust_event", "Faust, event by event", "at least once", "faust_event.py", backlog=0.1),
    System("faust_take", "Faust, take(500)", "at least once", "faust_take.py", backlog=0.25),
    System("quix", "Quix Streams", "at least once", "quix.py", backlog=0.2),
    System("bytewax", "Bytewax, batched", "at least once", "bytewax_batched.py"),
    System(
        "limit_at_least_once",
        "confluent-kafka loop",
        "at least once",
        "confluent_loop.py",
        ("at_least_once",),
    ),
    System(
        "limit_exactly_once",
        "confluent-kafka loop",
        "exactly once",
        "confluent_loop.py",
        ("exactly_once",),
    ),
)
TWO_WORKERS = System("weir_two_workers", "Weir, 2 workers", "exactly once", workers=2)
SERVING_ONLY = System(
    "weir_serving_only",
    "Weir, serving agent alone",
    "exactly once",
    module="tests.benchmarks.serving_only",
)
EXTRA = (TWO_WORKERS, SERVING_ONLY)
JOIN = "join"
SINK = "sink"
WARM_UP_RATE, WARM_UP_S = 1000, 3.0
COMPILER_SHARE = 0.1  # of a core: below it the broker's compiler has next to nothing left
RATES = (1000, 5000, 10_000)


@dataclass(frozen=True)
class Size:
    """How much is offered."""

    backlog: int
    seconds: float
    warm_up_s: float
    rates: tuple[int, ...] = RATES
    pending: int = 1_000_000  # predictions, when the join is measured
    joined: int = 200_000
    sunk: int = 1_000_000  # predictions in the sink's backlog, and half of its small records
    sunk_s: float = 60.0  # of the whole system with its sink


FULL = Size(200_000, 20.0, 120.0)
QUICK = Size(40_000, 5.0, 40.0, pending=200_000, joined=80_000, sunk=200_000, sunk_s=15.0)


@dataclass
class Measured:
    """What one system did.

    cpu_us, broker_us: CPU time of its processes, and of the broker for it, a request of the backlog
    (so many seconds a million requests). resident_mb: its memory after that. stages_us: time of
    each stage's work, a request, under each load: ``backlog``, or so many a second.
    """

    system: System
    backlog: Backlog | None = None
    cpu_us: float = 0.0
    broker_us: float = 0.0
    resident_mb: float = 0.0
    latency: dict[int, Latency] = field(default_factory=dict)
    stages_us: dict[str, dict[str, float]] = field(default_factory=dict)


def measure(stage: Stage, system: System, size: Size, rates: tuple[int, ...]) -> Measured:
    """Backlog, then each rate; a rate that leaves requests unanswered ends the process after it."""
    measured = Measured(system)
    left = list(rates)
    first = True
    while first or left:
        with stage.running(system) as running:
            load = load_of(stage, running)
            load.until_answered()
            load.latency(WARM_UP_RATE, WARM_UP_S)
            _wait_until_idle(running)
            load.until_answered()
            if first:
                _backlog(stage, load, running, measured, int(size.backlog * system.backlog))
                first = False
            _wait_until_idle(running)
            while left:
                rate = left.pop(0)
                before = running.stages_s()
                latency = load.latency(rate, size.seconds)
                measured.latency[rate] = latency
                say(f"  {rate:,}/s: p50 {latency.p50:.1f} p99 {latency.p99:.1f} ms")
                running.check()
                if latency.answered < latency.offered:
                    break
                _wait_until_idle(running)
                measured.stages_us[f"{rate:,}/s"] = _stages_us(running, before, latency.offered)
            load.close()
    return measured


def load_of(stage: Stage, running: Running) -> Load:
    """The load generator for a system that runs."""
    return Load(
        stage.bootstrap, running.requests, running.predictions, running.codec, running.partitions
    )


def warm_up(stage: Stage, most_s: float) -> None:
    """Let the broker's JVM compile what it does often, which takes it minutes of half a core.

    Until it is done with that, or for `most_s` seconds: whoever is measured first would pay for it.
    """
    say("warming the broker up")
    began = time.monotonic()
    with stage.running(SYSTEMS[0]) as running:
        load = load_of(stage, running)
        load.until_answered()
        share = 1.0
        while share > COMPILER_SHARE and time.monotonic() - began < most_s:
            before, since = stage.compiler_cpu_s(), time.monotonic()
            load.latency(WARM_UP_RATE * 5, WARM_UP_S)
            share = (stage.compiler_cpu_s() - before) / (time.monotonic() - since)
            say(f"  its compiler takes {share:.2f} of a core")
        load.close()


def _backlog(stage: Stage, load: Load, running: Running, measured: Measured, n: int) -> None:
    before, broker_before, stages = running.cpu_s(), stage.broker_cpu_s(), running.stages_s()
    measured.backlog = load.backlog(n)
    running.check()
    _wait_until_idle(running)
    measured.cpu_us = (running.cpu_s() - before) / n * 1e6
    measured.broker_us = (stage.broker_cpu_s() - broker_before) / n * 1e6
    measured.resident_mb = running.resident_mb()
    measured.stages_us["backlog"] = _stages_us(running, stages, n)
    backlog = measured.backlog
    say(
        f"  backlog of {n:,}: {backlog.rate:,.0f} records/s, all in {backlog.seconds:.1f} s, "
        f"CPU {measured.cpu_us:.0f} µs/record, {backlog.duplicates} duplicates"
    )


def _stages_us(running: Running, before: Counter[str], n: int) -> dict[str, float]:
    """What each stage's work took since then, µs a request."""
    spent = running.stages_s() - before
    return {stage: round(seconds / n * 1e6, 2) for stage, seconds in spent.most_common()}


def _wait_until_idle(running: Running, timeout_s: float = 60.0) -> None:
    """Wait until a system has done all that follows its predictions: it then takes little CPU."""
    deadline = time.monotonic() + timeout_s
    before = running.cpu_s()
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = running.cpu_s()
        if now - before < 0.1:  # a fifth of a core: Faust's own idling is below that
            return
        before = now


def run(
    size: Size, only: set[str], folder: Path
) -> tuple[list[Measured], Joined | None, sink.Sunk | None, dict[str, Any]]:
    """Start a broker, measure all systems on it, end it."""
    with fresh_stage(folder) as stage:
        circumstances = report.circumstances()
        say(f"load average before: {circumstances['load_average']}")
        results = []
        wanted = [s for s in (*SYSTEMS, *EXTRA) if not only or s.name in only]
        warm_up(stage, size.warm_up_s)
        for system in wanted:
            say(f"{system.title}, {system.delivery}")
            rates = () if system in EXTRA else size.rates
            try:
                results.append(measure(stage, system, size, rates))
            except (RuntimeError, OSError, KafkaException) as error:
                # The others' figures are worth having; its own are missing, and so is a ratio.
                say(f"  not measured: {error}; logs are in {folder}")
        joined = None
        if not only or JOIN in only:
            say(JOIN_ONLY.title)
            try:
                joined = join_agent.measure(stage, size.pending, size.joined, say)
            except (RuntimeError, OSError, KafkaException) as error:
                say(f"  not measured: {error}; logs are in {folder}")
        sunk = None
        if not only or SINK in only:
            say("the sink")
            try:
                sunk = sink.measure(stage, size.sunk, size.sunk_s, set(), say)
            except (RuntimeError, OSError, KafkaException) as error:
                say(f"  not measured: {error}; logs are in {folder}")
        return results, joined, sunk, circumstances


def as_json(
    results: list[Measured], joined: Joined | None, sunk: sink.Sunk | None
) -> dict[str, Any]:
    """The figures that other programs read."""
    by_name = {m.system.name: m for m in results}
    rate = {name: round(m.backlog.rate) for name, m in by_name.items() if m.backlog}
    workers = {"1": rate.get("weir_exactly_once"), "2": rate.get(TWO_WORKERS.name)}
    join = {}
    if joined is not None:
        join["join"] = {
            "pending": joined.pending,
            "resident_mb": round(joined.resident / 1e6),
            "records_per_s": round(joined.rate),
            "serving_records_per_s": rate.get(SERVING_ONLY.name),
        }
    return {
        "throughput": {s.name: rate[s.name] for s in SYSTEMS if s.name in rate},
        "latency_ms": {
            name: {
                str(offered): {
                    "p50": round(latency.p50, 2),
                    "p99": round(latency.p99, 2),
                    "p999": round(latency.p999, 2),
                    "max": round(latency.max, 2),
                }
                for offered, latency in m.latency.items()
            }
            for name, m in by_name.items()
            if m.latency
        },
        "workers": {n: value for n, value in workers.items() if value is not None},
        "stages_us": {
            name: m.stages_us for name, m in by_name.items() if any(m.stages_us.values())
        },
        **join,
        **({"sink": asdict(sunk)} if sunk is not None else {}),
    }


def say(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print, and write the page where asked."""
    parser = argparse.ArgumentParser(prog="weir bench", description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    parser.add_argument("--quick", action="store_true", help="a fifth of the load: a few minutes")
    parser.add_argument("--backlog", type=int, metavar="N", help="requests in the backlog")
    parser.add_argument("--seconds", type=float, metavar="S", help="seconds at each rate")
    parser.add_argument("--pending", type=int, metavar="N", help="predictions, for the join")
    parser.add_argument("--only", default="", metavar="NAME,…", help="these systems only")
    parser.add_argument("--report", type=Path, metavar="FILE", help="renew this page's figures")
    parser.add_argument("--keep", action="store_true", help="keep the folder of logs")
    chosen = parser.parse_args()
    only = set(filter(None, chosen.only.split(",")))
    unknown = only - {s.name for s in (*SYSTEMS, *EXTRA)} - {JOIN, SINK}
    if unknown:
        parser.error(f"no system is called {', '.join(sorted(unknown))}")
    if JOIN in only:  # its rate says something beside the serving agent's
        only.add(SERVING_ONLY.name)
    if not PEER_PYTHON.exists():
        sys.exit("weir bench: the peers' environment .venv-bench is missing; `make bench` makes it")
    os.environ.setdefault("WEIR_BENCH_TASK", "bench")
    size = QUICK if chosen.quick else FULL
    size = replace(
        size,
        backlog=chosen.backlog or size.backlog,
        seconds=chosen.seconds or size.seconds,
        pending=chosen.pending or size.pending,
    )
    folder = Path(tempfile.mkdtemp(prefix="weir-bench-"))
    began = datetime.now(UTC)
    try:
        results, joined, sunk, circumstances = run(size, only, folder)
    except BaseException:
        say(f"logs are in {folder}")
        raise
    if chosen.keep:
        say(f"logs are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    circumstances |= {"began": began, "size": size}
    figures = as_json(results, joined, sunk)
    if not chosen.json:
        report.show(results, circumstances, figures)
    if chosen.report:
        report.write(chosen.report, results, circumstances, figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
