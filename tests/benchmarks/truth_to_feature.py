"""How long it takes until a truth counts in the windowed features of what is served.

    python -m tests.benchmarks.truth_to_feature [--rate 1000] [--seconds 30] [--json]

A broker as `weir up` starts one, and a worker; the task of `tests.benchmarks.windowed_task` (ten
windowed features). Requests are published at a steady rate, and as many truths: of requests that
were published two seconds before, so that their predictions are there. For each truth, by the
outcome that it became: the first prediction whose logged offsets (``features_as_of``) are beyond
that outcome, so that its features count the truth. Two latencies, both from the moment at which the
truth was handed to the producer, both over truths published after the warm-up:

- ``served``: until that prediction's ``predicted_at``, when serving looked its features up;
- ``visible``: until it came to a consumer of committed records: serving and its commit besides.

A truth that no prediction counted by the end is *not served*, and then the run fails. ``answered``
is the ordinary latency of requests, publish to visible; ``features_per_request`` the records on the
topic of the features for each request; ``cpu`` the processor time of the worker a second. ``steps``
are medians on the way, from the same moment: until the truth was joined, its outcome was handed to
the producer, and the sums with it were.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from confluent_kafka import Producer

from services.broker import Broker
from services.ports import free_port
from services.supervisor.child import Child
from streams.codecs import codecs
from streams.windowed.definition import Definition
from tests.benchmarks import windowed_task
from tests.benchmarks.load import Reader
from tests.system.worker import Bench, wait_for

REFERENCE = f"{Path(windowed_task.__file__)}:Flights"
BEHIND_S = 2.0
"""How much later than its request a truth is published."""
WARM_UP_S = 10.0
"""Left out: the broker compiles what it does often, and the worker its caches."""
TICK_S = 0.002
POOL = 4096

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Load(threading.Thread):
    """Publishes requests and truths, so many of each a second, and notes when."""

    def __init__(self, bench: Bench, rate: int, seconds: float) -> None:
        super().__init__(name="bench-load", daemon=True)
        self._bench = bench
        self._rate, self._n = rate, round(rate * seconds)
        self._behind = round(rate * BEHIND_S)
        self._inputs = windowed_task.inputs(POOL, seed=3)
        self._producer = Producer(
            {
                "bootstrap.servers": bench.bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 0,
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        # When each request and each truth was published, in seconds of the clock that the reader
        # has; of truths also since 1970, as records have it: the two may run apart.
        # Requests go on for longer than truths, so that the last truths are asked for, too.
        self.asked: Floats = np.zeros(self._n + 2 * self._behind)
        self.told: Floats = np.zeros(self._n)
        self.told_at: Floats = np.zeros(self._n)

    def run(self) -> None:
        """Publish what is due every two milliseconds."""
        began = time.perf_counter()
        asked = told = 0
        while asked < len(self.asked):
            due = min(int((time.perf_counter() - began) * self._rate), len(self.asked))
            while asked < due:
                self._ask(asked)
                asked += 1
            while told < min(due - self._behind, self._n):
                self._tell(told)
                told += 1
            self._producer.poll(0)
            time.sleep(TICK_S)
        self._producer.flush(30)

    def _ask(self, i: int) -> None:
        record = {
            "request_id": f"r{i:09}",
            "event_time": int(time.time() * 1000),
            "features": self._inputs[i % POOL],
        }
        self.asked[i] = time.perf_counter()
        self._publish("requests", "request", record)

    def _tell(self, i: int) -> None:
        now = time.time()
        late = float(self._inputs[i % POOL]["x"]) > 0
        record = {"request_id": f"r{i:09}", "known_at": int(now * 1000), "truth": late}
        self.told[i], self.told_at[i] = time.perf_counter(), now
        self._publish("truth", "truth", record)

    def _publish(self, topic: str, record_name: str, record: dict[str, Any]) -> None:
        value = self._bench.codecs[record_name].write(record)
        self._producer.produce(self._bench.topic(topic), value, record["request_id"].encode())


def measure(rate: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Run the benchmark; its figures."""
    broker = Broker(folder / "broker", port=free_port())
    broker.prepare()
    process = Child(broker.command(), {}, folder / "broker.log")
    try:
        broker.wait_until_ready(alive=lambda: not process.has_ended())
        bench = Bench(REFERENCE, broker.bootstrap, folder / "home")
        try:
            bench.train()
            return _measured(bench, rate, seconds)
        finally:
            bench.close()
    finally:
        process.terminate()
        process.wait()


def _measured(bench: Bench, rate: int, seconds: float) -> dict[str, Any]:
    worker = bench.worker()
    worker.wait_until_ready()
    reader = Reader(bench.bootstrap, bench.topic("predictions"), bench.task.partitions)
    load = Load(bench, rate, seconds)
    usage = psutil.Process(worker.process.pid)
    begun, before = time.perf_counter(), usage.cpu_times()
    load.start()
    load.join()
    spent, after = time.perf_counter() - begun, usage.cpu_times()
    n = len(load.told)
    wait_for(lambda: reader.count >= len(load.asked), "a prediction of each request")
    outcomes = wait_for(
        lambda: len(found := bench.read("outcomes")) >= n and found, "an outcome of each truth"
    )
    places = {int(m.key()[1:]): (m.partition(), m.offset()) for m in outcomes}
    places_at = {int(m.key()[1:]): m.timestamp()[1] for m in outcomes}
    # So that the last truths are counted too: a few more requests, until one has all of them.
    _ask_until_all_count(bench, reader, places, len(load.asked))
    reader.stop()
    served = _Served(bench, reader)
    steady = np.flatnonzero(load.told > load.told[0] + WARM_UP_S)
    told, told_at = load.told[steady], load.told_at[steady]
    partition, offset = np.array([places[i] for i in steady.tolist()], np.int64).T
    answered = served.arrived[np.searchsorted(served.numbers, steady)] - load.asked[steady]
    features = bench.read("features")
    handed = np.array([places_at[i] for i in steady.tolist()]) / 1000
    cpu = after.user + after.system - before.user - before.system
    return {
        "rate": rate,
        "truths": len(steady),
        "served_ms": _spread(served.first(served.predicted, partition, offset) - told_at),
        "visible_ms": _spread(served.first(served.arrived, partition, offset) - told),
        "answered_ms": _spread(answered),
        "features_per_request": round(len(features) / len(served.numbers), 3),
        "steps_ms": {
            "joined": _median(_joined_at(bench, outcomes)[steady] - told_at),
            "outcome": _median(handed - told_at),
            "sums": _median(_summed_at(bench, features, partition, offset) - told_at),
        },
        "cpu": round(cpu / spent, 3),
    }


def _joined_at(bench: Bench, outcomes: Sequence[Any]) -> Floats:
    """When each outcome was made, by the number of its request."""
    columns = bench.codecs["outcome"].decode([m.value() for m in outcomes]).columns
    numbers = np.array([int(id_[1:]) for id_ in columns["request_id"].values], np.int64)
    found: Floats = columns["joined_at"].values[np.argsort(numbers)] / 1000
    return found


def _summed_at(bench: Bench, features: Sequence[Any], partitions: Ints, offsets: Ints) -> Floats:
    """When the sums that count each outcome were handed to the producer."""
    ends: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for message in features:
        update = bench.codecs["feature_update"].read(message.value())
        if update["through"] is not None:
            ends[update["source"]].append((update["through"], message.timestamp()[1]))
    found = np.full(len(offsets), np.nan)
    for partition in np.unique(partitions).tolist():
        rows = np.flatnonzero(partitions == partition)
        through, at = np.array(ends[f"{bench.topic('outcomes')}/{partition}"], np.int64).T
        found[rows] = at[np.searchsorted(through, offsets[rows], side="right")] / 1000
    return found


def _median(seconds: Floats) -> float:
    return round(1000 * float(np.median(seconds)), 1)


class _Served:
    """The predictions: which request, when made and when visible, and what each counted."""

    def __init__(self, bench: Bench, reader: Reader) -> None:
        times = np.repeat([at for at, _ in reader.arrivals], [len(m) for _, m in reader.arrivals])
        messages = [message for _, found in reader.arrivals for message in found]
        decoded = codecs(bench.task)["prediction"].decode([m.value() for m in messages])
        assert not decoded.failures
        columns = decoded.columns
        numbers = np.array([int(id_[1:]) for id_ in columns["request_id"].values], np.int64)
        order = np.argsort(numbers)
        self.numbers = numbers[order]
        self.arrived = times[order]
        self.predicted = columns["predicted_at"].values[order] / 1000
        marks, at = np.unique(columns["features_as_of"].values.astype(str), return_inverse=True)
        as_of = np.array([list(map(int, mark.split(","))) for mark in marks.tolist()], np.int64)
        sources = Definition(bench.task).sources
        topic = bench.topic("outcomes")
        places = [sources.index(f"{topic}/{p}") for p in range(bench.task.partitions)]
        self._as_of: Ints = as_of[at[order]][:, places]

    def first(self, times: Floats, partitions: Ints, offsets: Ints) -> Floats:
        """The least of these times of a prediction that counts each outcome; NaN without one."""
        found = np.full(len(offsets), np.nan)
        for partition in np.unique(partitions).tolist():
            rows = np.flatnonzero(partitions == partition)
            as_of = self._as_of[:, partition]
            order = np.argsort(as_of, kind="stable")
            earliest = np.minimum.accumulate(times[order][::-1])[::-1]
            at = np.searchsorted(as_of[order], offsets[rows], side="right")
            found[rows] = np.append(earliest, np.nan)[at]
        return found


def _ask_until_all_count(
    bench: Bench, reader: Reader, places: dict[int, tuple[int, int]], first: int
) -> None:
    wanted: dict[int, int] = defaultdict(int)
    for partition, offset in places.values():
        wanted[partition] = max(wanted[partition], offset + 1)
    codec = bench.codecs["prediction"]
    sources = Definition(bench.task).sources
    at = {p: sources.index(f"{bench.topic('outcomes')}/{p}") for p in wanted}
    tried = iter(range(first, first + 10_000))

    def all_count() -> bool:
        i = next(tried)
        record = {
            "request_id": f"r{i:09}",
            "event_time": int(time.time() * 1000),
            "features": windowed_task.inputs(1, seed=i)[0],
        }
        bench.send("requests", record)
        bench.flush()
        wait_for(lambda: reader.count > i, "the probe is answered")
        last = codec.read(reader.arrivals[-1][1][-1].value())
        as_of = [int(one) for one in last["features_as_of"].split(",")]
        return all(as_of[at[p]] >= end for p, end in wanted.items())

    wait_for(all_count, "a prediction counts all truths")


def _spread(seconds: Floats) -> dict[str, float]:
    """Milliseconds; RuntimeError where some have none."""
    missing = int(np.isnan(seconds).sum())
    if missing:
        raise RuntimeError(f"{missing} truths were never counted by a prediction")
    quantiles = {"p50": 50, "p90": 90, "p99": 99, "max": 100}
    return {
        name: round(1000 * float(np.percentile(seconds, q)), 1) for name, q in quantiles.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rate", type=int, default=1000, help="requests and truths a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(given.rate, given.seconds, Path(folder))
    if given.json:
        print(json.dumps(figures, indent=2))
        return 0
    print(f"{figures['truths']:,} truths at {figures['rate']:,} requests and truths a second")
    for name in ("served_ms", "visible_ms", "answered_ms"):
        print(f"{name:>12}  " + "  ".join(f"{q} {ms:,.1f}" for q, ms in figures[name].items()))
    print("       steps  " + "  ".join(f"{s} {ms:,.1f}" for s, ms in figures["steps_ms"].items()))
    print(f"records on the features' topic for each request: {figures['features_per_request']}")
    print(f"processor time of the worker: {figures['cpu']} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
