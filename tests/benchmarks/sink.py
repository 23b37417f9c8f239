"""The sink: rows a second from a backlog, and how far behind it is in the whole system.

    python -m tests.benchmarks.sink [--rows 1000000] [--seconds 60] [--only backlog,system]

A sink and a store as processes, on a broker of their own. Backlogs are predictions as the serving
stage makes them of the benchmark's task (20 features) and truths (small records); the rate is that
of the rows between the first and the last twentieth. The whole system is a worker, a store and
a sink under requests and truths at an even rate; behind is the time from the last one's
publication until every request, prediction, truth and outcome is in its table. The last line is
one JSON object. `weir bench` has the same as rows (``--only sink`` for these alone).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
from confluent_kafka import Producer

from schemas.topics import BY_NAME
from services import contract as contracts
from services.admin import create_topics
from services.contract import Contract
from services.ports import free_port
from services.supervisor.child import Child
from streams.codecs import codecs
from streams.task import Task, load_task
from tests.benchmarks.join import BATCH, Traffic, truth_values
from tests.benchmarks.load import PROBES, Load
from tests.benchmarks.systems import REFERENCE, Running, Stage, System, fresh_stage

PASSWORD = "a benchmark's password"
TIMEOUT_S = 600.0
LOOK_S = 0.2
RATE = 3000
"""Requests, and as many truths, a second."""
TRUTH_AFTER_S = 1.0
"""From a request to its truth."""
WARM_UP_RATE, WARM_UP_S = 1000, 3.0
WHOLE = System("weir_and_sink", "Weir, complete, with its sink", "exactly once")
TABLES = ("requests", "predictions", "truth", "outcomes")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Backlog:
    """What a backlog of one topic took; CPU in microseconds a row, of each process."""

    rows: int
    rows_per_s: float
    sink_us: float
    store_us: float
    broker_us: float


@dataclass(frozen=True)
class Whole:
    """The whole system under an even load; behind_s is told in the module's words."""

    rate: int
    seconds: float
    behind_s: float
    rows: int


@dataclass(frozen=True)
class Sunk:
    """All of it."""

    predictions: Backlog | None = None
    truths: Backlog | None = None
    system: Whole | None = None


class Destination:
    """A store of its own, and the sink of one task, in one home."""

    def __init__(self, stage: Stage, home: Path, task: str) -> None:
        self.home, self.task, self._stage = home, task, stage
        self._port = free_port()
        self._env = {
            "WEIR_HOME": str(home),
            "WEIR_TASK": REFERENCE,
            "WEIR_BENCH_TASK": task,
            "WEIR_BOOTSTRAP": stage.bootstrap,
            "WEIR_CLICKHOUSE_PORT": str(self._port),
            "WEIR_CLICKHOUSE_PASSWORD": PASSWORD,
        }
        home.mkdir(parents=True, exist_ok=True)
        self.store = self._start("services.store")
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=60)
        self._until(self._answers)

    def start_sink(self) -> Child:
        """Start the sink."""
        self.sink = self._start("services.sink")
        return self.sink

    def _start(self, module: str) -> Child:
        log = self.home / f"{module}.log"
        return Child([sys.executable, "-m", module], self._env, log)

    def _answers(self) -> bool:
        try:
            return self._client.get("/ping").status_code == 200
        except httpx.TransportError:
            return False

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.task}: not within {TIMEOUT_S:g} s")
            for child in (self.store, getattr(self, "sink", self.store)):
                if child.has_ended():
                    raise RuntimeError(f"a process of {self.task} ended; logs: {self.home}")
            time.sleep(LOOK_S)

    def count(self, topic: str) -> int:
        """Rows of a topic's table; 0 where there is none yet."""
        query = f"SELECT count() FROM {self.task}.{BY_NAME[topic].table}"
        answer = self._client.post("/", content=query)
        return int(answer.text) if answer.status_code == 200 else 0

    def until_rows(self, wanted: dict[str, int]) -> None:
        """Wait until the tables hold so many rows."""
        self._until(lambda: all(self.count(topic) >= n for topic, n in wanted.items()))

    def times(self, topic: str, n: int) -> list[tuple[float, int]]:
        """When how many rows were there, until there are n."""
        seen = [(time.perf_counter(), 0)]

        def all_there() -> bool:
            seen.append((time.perf_counter(), self.count(topic)))
            return seen[-1][1] >= n

        self._until(all_there)
        return seen

    def stop(self) -> None:
        """End both."""
        for child in (getattr(self, "sink", None), self.store):
            if child is not None:
                child.terminate()
                child.wait()


@contextlib.contextmanager
def destination(stage: Stage, home: Path, task: str) -> Iterator[Destination]:
    """A store in a home, ended afterwards."""
    made = Destination(stage, home, task)
    try:
        yield made
    finally:
        made.stop()


def measure(stage: Stage, rows: int, seconds: float, only: set[str], say: Say) -> Sunk:
    """The backlogs and the whole system, one after the other."""
    predictions = truths = system = None
    if not only or "backlog" in only:
        task = _topics(stage, "sink_backlog")
        _fill(stage, task, rows)
        with destination(stage, stage.folder / "sink_backlog", task.name) as one:
            one.start_sink()
            predictions = _backlog(stage, one, "predictions", rows)
        say(f"  predictions: {_words(predictions)}")
        task = _topics(stage, "sink_small")
        _fill(stage, task, 2 * rows, small=True)
        with destination(stage, stage.folder / "sink_small", task.name) as one:
            one.start_sink()
            truths = _backlog(stage, one, "truth", 2 * rows)
        say(f"  truths: {_words(truths)}")
    if not only or "system" in only:
        system = _whole(stage, seconds)
        say(f"  {system.rate:,}/s for {seconds:g} s: {system.behind_s:.1f} s behind at the end")
    return Sunk(predictions, truths, system)


def _words(found: Backlog) -> str:
    return (
        f"{found.rows_per_s:,.0f} rows/s, CPU µs/row: sink {found.sink_us:.1f}, "
        f"store {found.store_us:.1f}, broker {found.broker_us:.1f}"
    )


def _topics(stage: Stage, name: str) -> Task:
    """The benchmark's task under this name, with its topics."""
    os.environ["WEIR_BENCH_TASK"] = name
    task = load_task(REFERENCE)
    contract = Contract.of(task, REFERENCE)
    contracts.record(contract, stage.folder / name)
    create_topics(contract, {"bootstrap.servers": stage.bootstrap})
    return task


def _fill(stage: Stage, task: Task, rows: int, small: bool = False) -> None:
    """Publish predictions, or truths, in transactions of a batch as a worker does."""
    traffic = Traffic(task, rows)
    producer = Producer(
        {
            "bootstrap.servers": stage.bootstrap,
            "partitioner": "murmur2_random",
            "queue.buffering.max.kbytes": 1024 * 1024,
            "linger.ms": 5,
            "transactional.id": f"{task.name}-fill",
        }
    )
    producer.init_transactions(60)
    topic = BY_NAME["truth" if small else "predictions"].topic(task.name)
    for first in range(0, rows, BATCH):
        if small:
            keys, values = traffic.truths(np.arange(first, first + BATCH))
        else:
            keys, values = traffic.predictions()
        producer.begin_transaction()
        _publish(producer, topic, keys[: rows - first], values[: rows - first])
        producer.commit_transaction(60)


def _publish(
    producer: Producer, topic: str, keys: Sequence[bytes], values: Sequence[bytes]
) -> None:
    pairs = zip(keys, values, strict=True)
    producer.produce_batch(topic, [{"key": key, "value": value} for key, value in pairs])
    producer.poll(0)


def _backlog(stage: Stage, one: Destination, topic: str, rows: int) -> Backlog:
    """Time the rows' arrival; CPU is all that the processes used until the last was there."""
    store, sink = psutil.Process(one.store.pid), psutil.Process(one.sink.pid)
    one.until_rows({topic: 1})
    before = [_cpu_s(store), _cpu_s(sink), stage.broker_cpu_s()]
    here = one.count(topic)
    seen = one.times(topic, rows)
    after = [_cpu_s(store), _cpu_s(sink), stage.broker_cpu_s()]
    used = [(b - a) / (rows - here) * 1e6 for a, b in zip(before, after, strict=True)]
    begin = next((at, n) for at, n in seen if n >= rows / 20)
    end = next((at, n) for at, n in seen if n >= rows * 19 / 20)
    rate = (end[1] - begin[1]) / (end[0] - begin[0])
    return Backlog(rows, rate, sink_us=used[1], store_us=used[0], broker_us=used[2])


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _whole(stage: Stage, seconds: float) -> Whole:
    """Worker, store and sink under requests and truths at an even rate."""
    with stage.running(WHOLE) as running:
        task = load_task(REFERENCE)
        with destination(stage, stage.folder / task.name, task.name) as one:
            one.start_sink()
            load = Load(
                stage.bootstrap,
                running.requests,
                running.predictions,
                running.codec,
                running.partitions,
            )
            load.until_answered()
            load.latency(WARM_UP_RATE, WARM_UP_S)
            load.until_answered()
            offered = 2 * PROBES + int(WARM_UP_RATE * WARM_UP_S)
            one.until_rows({"requests": offered, "predictions": offered})
            before = {topic: one.count(topic) for topic in TABLES}
            n = int(RATE * seconds)
            ended = _offer(load, task, running, stage, n)
            one.until_rows({topic: before[topic] + n for topic in TABLES})
            behind = time.perf_counter() - ended
            rows = sum(one.count(topic) for topic in TABLES) - sum(before.values())
            load.close()
    return Whole(RATE, seconds, behind, rows)


def _offer(load: Load, task: Task, running: Running, stage: Stage, n: int) -> float:
    """Publish n requests and, each a while later, their truths; returns when the last was out."""
    requests = load.messages(n)
    keys = [message["key"] for message in requests]
    ids = np.array([key.decode() for key in keys], object)
    values = truth_values(codecs(task)["truth"], ids, np.arange(n) % 3 == 0)
    truths = [{"key": k, "value": v} for k, v in zip(keys, values, strict=True)]
    producer = Producer({"bootstrap.servers": stage.bootstrap, "partitioner": "murmur2_random"})
    topic = BY_NAME["truth"].topic(task.name)
    start, sent = time.perf_counter(), {running.requests: 0, topic: 0}
    while sent[topic] < n:
        for name, messages, after_s in (
            (running.requests, requests, 0.0),
            (topic, truths, TRUTH_AFTER_S),
        ):
            due = int((time.perf_counter() - start - after_s) * RATE)
            due = max(sent[name], min(n, due))
            producer.produce_batch(name, messages[sent[name] : due])
            sent[name] = due
        producer.poll(0)
        time.sleep(0.002)
    producer.flush(60)
    return time.perf_counter()


def say(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", default="", metavar="backlog,system")
    chosen = parser.parse_args()
    os.environ.setdefault("WEIR_BENCH_TASK", "bench")
    folder = Path(tempfile.mkdtemp(prefix="weir-sink-"))
    say(f"logs are in {folder}")
    only = set(filter(None, chosen.only.split(",")))
    with fresh_stage(folder) as stage:
        found = measure(stage, chosen.rows, chosen.seconds, only, say)
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
