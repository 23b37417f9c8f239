"""The demo's replay waits for what the loop makes of it, as a real broker tells."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.topics import BY_NAME
from services.admin import create_topics
from services.contract import Contract
from services.demo import loop
from services.demo.frontier import TRAINING_AHEAD_MS, TRUTH_AHEAD_MS
from services.demo.loop import Following
from streams.codecs import codecs
from streams.task import Task, Windowed
from tests.conftest import PATIENCE_S, RunningBroker
from tests.services.test_timeline import TASK

pytestmark = pytest.mark.system

LATER = 10_000_000
"""When the next truth is to be published, in milliseconds."""


class World:
    """The topics of a task, written by the test in the place of worker and trainer."""

    def __init__(self, broker: RunningBroker) -> None:
        feature = Windowed("late_1h", timedelta(hours=1))
        self.task: Task = replace(TASK, name=f"t{uuid.uuid4().hex[:12]}", windowed=[feature])
        self.contract = Contract.of(self.task, "test")
        self.client = {"bootstrap.servers": broker.bootstrap}
        create_topics(self.contract, self.client)
        self._producer = Producer(self.client)
        self._codecs = codecs(self.task)

    def put(self, topic: str, key: bytes, record: object, partition: int = 0) -> None:
        about = BY_NAME[topic]
        value = record
        if isinstance(record, dict):
            value = self._codecs[about.record].write(record)
        self._producer.produce(about.topic(self.task.name), value, key, partition)
        assert self._producer.flush(PATIENCE_S) == 0

    def counted(self, partition: int, through: int) -> None:
        """A record of features that counts the outcomes before an offset."""
        names = ("series_names", "sum_series", "keys", "bucket_ends", "counts", "totals")
        sums: dict[str, object] = {name: [] for name in names}
        source = f"{self.task.name}.outcomes/{partition}"
        facts = {"definition": "00000000", "source": source, "through": through, "newest": 5}
        self.put("features", b"0", sums | facts, 0)

    def nonsense(self) -> None:
        """What no schema reads, and tombstones, in every topic that is followed."""
        for topic in ("outcomes", "features", "retrain", "models"):
            self.put(topic, b"strange", b"\x00nonsense")
            self.put(topic, b"strange", None)


@pytest.fixture
def world(broker: RunningBroker) -> World:
    return World(broker)


@pytest.fixture
def following(world: World, tmp_path: Path) -> Iterator[Following]:
    with Following(world.task, world.contract, world.client, tmp_path) as running:
        yield running


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_truth_is_waited_for_until_the_features_count_it(
    world: World, following: Following
) -> None:
    following.publishing([b"a", b"b"], [1_000, 2_000])
    world.nonsense()
    world.put("outcomes", b"a", b"", 1)
    world.counted(0, 99)
    assert following.limit(LATER).until_ms == 1_000 + TRUTH_AHEAD_MS
    world.counted(1, 1)
    until(lambda: following.limit(LATER).until_ms == 2_000 + TRUTH_AHEAD_MS)
    world.counted(1, 99)  # it was counted before its outcome was seen here
    world.put("outcomes", b"b", b"", 1)
    until(lambda: following.limit(LATER).until_ms == LATER + TRUTH_AHEAD_MS)


def test_a_training_is_waited_for_until_a_version_or_a_failure_answers_it(
    world: World, following: Following
) -> None:
    asked = {
        "event_id": "monthly-1",
        "requested_at": 1,
        "trigger": "schedule",
        "reason": "it is due",
        "requested_by": "weir",
        "event_time": 5_000,
    }
    world.nonsense()
    world.put("retrain", b"refused", {**asked, "event_id": "no", "status": "refused"})
    world.put("retrain", b"monthly-1", asked)
    until(lambda: following.limit(2 * TRAINING_AHEAD_MS).until_ms == 5_000 + TRAINING_AHEAD_MS)
    assert "monthly-1" in following.limit(2 * TRAINING_AHEAD_MS).waits_for
    world.put("retrain", b"monthly-1", {**asked, "status": "failed"})
    until(lambda: following.limit(None).until_ms is None)


def test_truths_that_the_worker_has_read_and_made_nothing_of_are_given_up(
    world: World, following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "STALLED_S", 0.2)
    topic = BY_NAME["truth"].topic(world.task.name)
    following.publishing([b"a"], [1_000])
    world.put("truth", b"a", b"")
    worker = Consumer({**world.client, "group.id": f"{world.task.name}-worker"})
    ends = [TopicPartition(topic, n, 0) for n in range(world.task.partitions)]
    worker.commit(offsets=ends, asynchronous=False)
    assert following.limit(LATER).until_ms == 1_000 + TRUTH_AHEAD_MS  # it has not read it yet
    worker.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
    until(lambda: following.limit(LATER).until_ms == LATER + TRUTH_AHEAD_MS)
    worker.close()
