"""The load generator and the reader: one process, the same for every system.

Requests are encoded before a measurement begins and published by librdkafka in C; the reader polls
in a thread of its own, keeps the messages, and looks into them when the measurement is over.
"""

from __future__ import annotations

import struct
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from schemas.codec import Codec
from tests.benchmarks.task import NAMES, inputs

POOL = 4096  # different inputs
CHUNK = 20_000  # records handed to librdkafka at once
TICK_S = 0.001
# Left out at the start of each measurement, for every system alike: caches, batch sizes and the
# broker's own compiler settle; and of a backlog its last part, when partitions run dry unevenly.
WARM_UP = 0.10
TAIL = 0.05
LOST_AFTER_S = 60.0
PROBES = 64

# The sender must get the interpreter back quickly from the reader, and the other way round.
sys.setswitchinterval(0.0005)


@dataclass(frozen=True)
class Latency:
    """Publish to visible, milliseconds; `answered` of `offered` records had an answer in time.

    Where not all had, those without count as if they had come when reading stopped: the figures
    are then lower bounds.
    """

    p50: float
    p99: float
    p999: float
    max: float
    offered: int
    answered: int


@dataclass(frozen=True)
class Backlog:
    """Records a second over the measured part, and what it took in all."""

    rate: float
    seconds: float
    records: int
    duplicates: int


class Reader(threading.Thread):
    """Reads a topic's committed records from its end on, noting when each came."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        super().__init__(name="bench-reader", daemon=True)
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "bench-reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.queue.backoff.ms": 5,
                "queued.max.messages.kbytes": 256 * 1024,
            }
        )
        self._consumer.assign(
            [TopicPartition(topic, p, self._end(topic, p)) for p in range(partitions)]
        )
        self._over = threading.Event()
        self.arrivals: list[tuple[float, list[Any]]] = []
        self.count = 0
        self.start()

    def _end(self, topic: str, partition: int) -> int:
        """Where a partition ends; a new one is known everywhere only after a moment."""
        deadline = time.monotonic() + 30
        while True:
            try:
                where = TopicPartition(topic, partition)
                return int(self._consumer.get_watermark_offsets(where, 10)[1])
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def run(self) -> None:
        """Poll until told to stop: one record as soon as there is one, and those behind it."""
        while not self._over.is_set():
            first = self._consumer.poll(0.05)
            if first is None:
                continue
            rest = self._consumer.consume(CHUNK, 0)
            now = time.perf_counter()
            messages = [m for m in (first, *rest) if m.error() is None]
            self.arrivals.append((now, messages))
            self.count += len(messages)

    def wait_for(self, n: int, quiet_s: float, deadline: float) -> bool:
        """Wait for n records; False when none came for `quiet_s`, or at the deadline."""
        seen, since = self.count, time.perf_counter()
        while self.count < n:
            now = time.perf_counter()
            if self.count > seen:
                seen, since = self.count, now
            if now > deadline or now - since > quiet_s:
                return False
            time.sleep(0.02)
        return True

    def stop(self) -> None:
        """End reading."""
        self._over.set()
        self.join()
        self._consumer.close()

    def numbers(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The number of each record that came, and when it did."""
        keys = [int(m.key()[1:]) for _, messages in self.arrivals for m in messages]
        sizes = [len(messages) for _, messages in self.arrivals]
        times = np.repeat([at for at, _ in self.arrivals], sizes)
        return np.array(keys, np.int64), times


class Load:
    """Publishes requests to one topic and reads the predictions of another."""

    def __init__(
        self, bootstrap: str, requests: str, predictions: str, codec: Codec, partitions: int
    ) -> None:
        self._bootstrap = bootstrap
        self._requests = requests
        self._predictions = predictions
        self._partitions = partitions
        self._codec = codec
        config = {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 1024 * 1024,
            "linger.ms": 0,
        }
        self._paced = Producer(config)
        self._bulk = Producer({**config, "linger.ms": 5, "transactional.id": f"{requests}-load"})
        self._bulk.init_transactions(30)
        rows = inputs(POOL, seed=3)
        self._tails = [row.astype("<f8").tobytes() for row in rows]
        self._next = 0

    def messages(self, n: int) -> list[dict[str, bytes]]:
        """n requests that were never sent before; their keys hold their numbers."""
        now = _zigzag(time.time_ns() // 1_000_000)
        head = b"\0" + struct.pack(">I", self._codec.id) + _zigzag(10)
        tails = [now + b"\0" + tail for tail in self._tails]
        first, self._next = self._next, self._next + n
        made = []
        for i in range(first, first + n):
            key = b"r%09d" % i
            made.append({"key": key, "value": head + key + tails[i % POOL]})
        record = self._codec.read(made[0]["value"])
        assert record["request_id"] == made[0]["key"].decode()
        assert len(record["features"]) == len(NAMES)
        return made

    def until_answered(self, timeout_s: float = 120.0) -> None:
        """Publish a few requests to all partitions and wait until just these are answered.

        Partitions are read in order: whatever was sent before is answered then as well.
        """
        reader = Reader(self._bootstrap, self._predictions, self._partitions)
        deadline = time.perf_counter() + timeout_s
        try:
            self._paced.produce_batch(self._requests, self.messages(PROBES))
            self._paced.flush(10)
            missing, at = set(range(self._next - PROBES, self._next)), 0
            while missing:
                if time.perf_counter() > deadline:
                    raise TimeoutError(f"no predictions in {self._predictions} for {timeout_s} s")
                time.sleep(0.02)
                while at < len(reader.arrivals):
                    missing -= {int(m.key()[1:]) for m in reader.arrivals[at][1]}
                    at += 1
        finally:
            reader.stop()

    def backlog(self, n: int) -> Backlog:
        """Offer n requests at once and time their predictions.

        The requests become visible together, by one transaction: the system is up, and has not
        seen them. Systems that read uncommitted records begin earlier; they gain nothing by it.
        """
        messages = self.messages(n)
        first = self._next - n
        reader = Reader(self._bootstrap, self._predictions, self._partitions)
        try:
            self._bulk.begin_transaction()
            for at in range(0, n, CHUNK):
                self._bulk.produce_batch(self._requests, messages[at : at + CHUNK])
                self._bulk.poll(0)
            self._bulk.flush(60)
            began = time.perf_counter()
            self._bulk.commit_transaction(60)
            complete = reader.wait_for(n, LOST_AFTER_S, began + 600)
            # What comes twice comes late.
            time.sleep(0.2)
        finally:
            reader.stop()
        numbers, times = reader.numbers()
        if not complete:
            raise RuntimeError(f"{self._predictions}: {len(numbers)} predictions of {n} requests")
        duplicates = len(numbers) - len(np.unique(numbers))
        if numbers.min() < first:
            raise RuntimeError(f"{self._predictions}: answers to earlier requests came in between")
        return Backlog(_rate(times, n), float(times[n - 1] - began), n, duplicates)

    def latency(self, rate: int, seconds: float) -> Latency:
        """Offer `rate` requests a second, evenly spaced; measured from each one's intended time."""
        n = int(rate * seconds)
        messages = self.messages(n)
        first = self._next - n
        reader = Reader(self._bootstrap, self._predictions, self._partitions)
        produce, topic, clock = self._paced.produce_batch, self._requests, time.perf_counter
        start = clock() + 0.05
        sent = 0
        try:
            while sent < n:
                due = min(n, int((clock() - start) * rate) + 1)
                if due > sent:
                    produce(topic, messages[sent:due])
                    sent = due
                    self._paced.poll(0)
                wait = start + max(sent / rate, 0.0) - clock()
                time.sleep(max(TICK_S, wait) if wait > 0 else TICK_S)
            reader.wait_for(n, quiet_s=2.0, deadline=clock() + 5.0)
            ended = clock()
        finally:
            reader.stop()
        numbers, times = reader.numbers()
        came = np.full(n, ended)
        late_first = slice(None, None, -1)  # of two answers to one request the first counts
        came[numbers[late_first] - first] = times[late_first]
        answered = len(np.unique(numbers))
        delays = ((came - (start + np.arange(n) / rate)) * 1000)[int(WARM_UP * n) :]
        p50, p99, p999 = np.quantile(delays, [0.5, 0.99, 0.999], method="higher")
        return Latency(float(p50), float(p99), float(p999), float(delays.max()), n, answered)

    def close(self) -> None:
        """Wait for what is still to be written."""
        self._paced.flush(10)


def _rate(times: npt.NDArray[np.float64], n: int) -> float:
    """Records a second between the arrivals of 10 % and 95 %.

    Records come in lumps: the ends of the span are two arrivals, and what is counted is what came
    after the first of them up to the second.
    """
    begin = times[int(WARM_UP * n)]
    end = times[min(int((1 - TAIL) * n), n - 1)]
    counted = np.searchsorted(times, end, "right") - np.searchsorted(times, begin, "right")
    if end <= begin:
        raise RuntimeError(f"{n} predictions came at one moment: too few to time")
    return float(counted / (end - begin))


def _zigzag(number: int) -> bytes:
    """A long in Avro's variable-length form."""
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
