"""The feedback agent on the broker: its rate and its memory with many predictions pending.

A worker with that agent alone takes predictions until so many are pending; then as many again as
are joined, and truths of requests chosen at random among the pending ones, all visible at once.
The rate counts both, from that moment until the agent has committed the last of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import psutil
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from services.groups import GroupOffsets
from streams.task import load_task
from tests.benchmarks.join import BATCH, Traffic
from tests.benchmarks.systems import REFERENCE, Running, Stage, System

JOIN_ONLY = System(
    "weir_join_only",
    "Weir, feedback agent alone",
    "exactly once",
    module="tests.benchmarks.join_only",
)
TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class Joined:
    """What the agent did. resident: bytes, the largest seen, of the worker's process."""

    pending: int
    resident: int
    rate: float


def measure(stage: Stage, pending: int, joined: int, say: Callable[[str], None]) -> Joined:
    """Fill the agent's stores, then let it join."""
    with stage.running(JOIN_ONLY) as running:
        task = load_task(REFERENCE)
        traffic = Traffic(task, pending)
        watch = _Watch(stage.bootstrap, f"{task.name}-worker", running)
        load = Producer(
            {
                "bootstrap.servers": stage.bootstrap,
                "partitioner": "murmur2_random",
                "queue.buffering.max.messages": 4_000_000,
                "queue.buffering.max.kbytes": 1024 * 1024,
                "linger.ms": 5,
                "transactional.id": f"{task.name}-join-load",
            }
        )
        load.init_transactions(30)
        began = time.perf_counter()
        while traffic.asked < pending:
            load.begin_transaction()
            _publish(load, f"{task.name}.predictions", *traffic.predictions())
            load.commit_transaction(60)
        watch.until_committed(f"{task.name}.predictions")
        seconds = time.perf_counter() - began
        say(f"  {traffic.asked:,} pending after {seconds:.0f} s, {watch.resident / 1e6:,.0f} MB")
        pending = traffic.asked
        chosen = np.random.default_rng(6).permutation(pending)[:joined]
        load.begin_transaction()
        for first in range(0, len(chosen), BATCH):
            _publish(load, f"{task.name}.predictions", *traffic.predictions())
            _publish(load, f"{task.name}.truth", *traffic.truths(chosen[first : first + BATCH]))
        load.flush(60)
        began = time.perf_counter()
        load.commit_transaction(60)
        watch.until_committed(f"{task.name}.predictions", f"{task.name}.truth")
        rate = (traffic.asked - pending + len(chosen)) / (time.perf_counter() - began)
        say(f"  join: {rate:,.0f} records/s, {watch.resident / 1e6:,.0f} MB resident")
        return Joined(pending, watch.resident, rate)


def _publish(load: Producer, topic: str, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
    pairs = zip(keys, values, strict=True)
    load.produce_batch(topic, [{"key": key, "value": value} for key, value in pairs])
    load.poll(0)


class _Watch:
    """How far a group has come, and how large its process gets."""

    def __init__(self, bootstrap: str, group: str, running: Running) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._offsets = GroupOffsets({"bootstrap.servers": bootstrap}, group)
        self._running = running
        self._process = psutil.Process(running.children[0].pid)
        self.resident = 0

    def until_committed(self, *topics: str) -> None:
        """Wait until the group has committed all that topics hold now."""
        ends = self._ends(topics)
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            self._running.check()
            self.resident = max(self.resident, self._process.memory_info().rss)
            reached = self._offsets.committed(ends, 30)
            if all(reached.get(place, 0) >= end for place, end in ends.items()):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the join did not come to the end in {TIMEOUT_S:.0f} s")
            time.sleep(0.05)

    def _ends(self, topics: Sequence[str]) -> dict[tuple[str, int], int]:
        """Where partitions end; the last entry of each is the marker of its transaction."""
        known = self._admin.list_topics(timeout=10).topics
        asked = {
            TopicPartition(topic, partition): OffsetSpec.latest()
            for topic in topics
            for partition in known[topic].partitions
        }
        answers = self._admin.list_offsets(asked)
        return {
            (one.topic, one.partition): future.result(30).offset - 1
            for one, future in answers.items()
        }
