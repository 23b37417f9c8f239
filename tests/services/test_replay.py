"""The replay on a real broker: every event once, whatever stops it."""

from __future__ import annotations

import math
import multiprocessing
import multiprocessing.connection
import threading
import time
import uuid
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import pandas as pd
import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from services.admin import create_topics
from services.contract import Contract
from services.demo.backlog import Backlog
from services.demo.replay import Replay
from services.demo.resume import ReplayError
from services.demo.timeline import TOPICS, Timeline
from streams.partitioner import partitions_of
from streams.task import Task
from tests.conftest import PATIENCE_S, RunningBroker
from tests.services.test_timeline import TASK, frame

DAYS = [(30 * i, 90 + i % 400) for i in range(4000)]  # 83 days from 1 March
"""Departures every half hour."""
PASSING = (
    KafkaError._TIMED_OUT,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    return frame(DAYS)


@pytest.fixture(scope="module")
def timeline(flights: pd.DataFrame) -> Timeline:
    return Timeline(TASK, flights)


@pytest.fixture
def task(broker: RunningBroker) -> Task:
    """A task whose topics nobody else uses."""
    task = replace(TASK, name=f"t{uuid.uuid4().hex[:12]}")
    create_topics(Contract.of(task, "test"), client(broker))
    return task


def client(broker: RunningBroker) -> dict[str, str]:
    return {"bootstrap.servers": broker.bootstrap}


def keys(broker: RunningBroker, task: Task) -> list[list[list[bytes]]]:
    """What the topics hold: ``[topic][partition]`` is the keys in order."""
    consumer = Consumer({**client(broker), "group.id": "test", "enable.partition.eof": True})
    where = [(f"{task.name}.{name}", n) for name in TOPICS for n in range(task.partitions)]
    consumer.assign([TopicPartition(*each, OFFSET_BEGINNING) for each in where])
    held: dict[tuple[str, int], list[bytes]] = {each: [] for each in where}
    ended = 0
    while ended < len(where):
        message = consumer.poll(PATIENCE_S)
        assert message is not None
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF
            ended += 1
        else:
            held[message.topic(), message.partition()].append(message.key())
    consumer.close()
    return [[held[f"{task.name}.{name}", n] for n in range(task.partitions)] for name in TOPICS]


def expected(task: Task, timeline: Timeline, upto: int) -> list[list[list[bytes]]]:
    """The same for the first ``upto`` events of the timeline."""
    lists: list[list[list[bytes]]] = [[[] for _ in range(task.partitions)] for _ in TOPICS]
    records = timeline.encode(0, upto)
    where = partitions_of(records.keys, task.partitions).tolist()
    for kind, key, partition in zip(records.kinds, records.keys, where, strict=True):
        lists[kind][partition].append(key)
    return lists


@pytest.mark.system
def test_it_stops_and_goes_on_with_every_event_once_and_in_order(
    broker: RunningBroker, task: Task, timeline: Timeline
) -> None:
    stop = threading.Event()
    seen: list[bytes] = []

    def stop_after_1000(ids: list[bytes], at: float) -> None:
        seen.extend(ids)
        if len(seen) > 1000:
            stop.set()

    first = Replay(
        task, timeline, client(broker), speed=math.inf, stop=stop, on_requests=stop_after_1000
    ).run()
    assert 0 < first.position < first.total
    assert keys(broker, task) == expected(task, timeline, first.position)

    second = Replay(task, timeline, client(broker), speed=math.inf).run()
    assert second.done
    assert first.requests + second.requests == len(DAYS)
    assert first.truths + second.truths == len(DAYS)
    assert keys(broker, task) == expected(task, timeline, len(timeline))

    assert Replay(task, timeline, client(broker)).run().requests == 0  # the year is over


@pytest.mark.system
def test_after_kill_9_it_goes_on_with_every_event_once(
    broker: RunningBroker, task: Task, timeline: Timeline
) -> None:
    spawn = multiprocessing.get_context("spawn")
    for _ in range(3):
        pipe, theirs = spawn.Pipe(duplex=False)
        child = spawn.Process(target=_publish, args=(client(broker), task.name, theirs))
        child.start()
        for _ in range(6):  # some hundreds of records on their way
            assert pipe.poll(PATIENCE_S)
            pipe.recv()
        child.kill()
        child.join()
    assert Replay(task, timeline, client(broker), speed=math.inf).run().done
    assert keys(broker, task) == expected(task, timeline, len(timeline))


def _publish(
    librdkafka: dict[str, str], name: str, pipe: multiprocessing.connection.Connection
) -> None:
    timeline = Timeline(TASK, frame(DAYS))
    told: list[int] = []

    def tell(ids: list[bytes], at: float) -> None:
        if len(told) < 6:
            told.append(len(ids))
            pipe.send(len(ids))

    Replay(replace(TASK, name=name), timeline, librdkafka, speed=5.0, on_requests=tell).run()


@pytest.mark.system
def test_requests_of_others_in_the_same_topic_do_not_count(
    broker: RunningBroker, task: Task, timeline: Timeline
) -> None:
    first = Replay(task, timeline, client(broker), speed=20.0).run(for_s=0.3)
    stranger = Producer({**client(broker), "partitioner": "murmur2_random"})
    last = timeline.encode(len(timeline) - 1, len(timeline))
    for n in range(1500):
        stranger.produce(f"{task.name}.requests", b"not ours", f"stranger-{n}".encode())
    stranger.produce(f"{task.name}.requests", b"a copy", last.keys[0])
    assert stranger.flush(PATIENCE_S) == 0

    second = Replay(task, timeline, client(broker), speed=math.inf).run()
    assert first.requests + second.requests == len(DAYS)
    counts = Counter(key for partition in keys(broker, task)[0] for key in partition)
    assert counts.pop(last.keys[0]) == 2
    assert {n for key, n in counts.items()} == {1}


@pytest.mark.system
def test_topics_that_keep_nothing_say_so_instead_of_starting_again(
    broker: RunningBroker, task: Task, timeline: Timeline
) -> None:
    Replay(task, timeline, client(broker), speed=math.inf).run()
    admin = AdminClient(client(broker))
    for done in admin.delete_records([TopicPartition(f"{task.name}.truth", 0, -1)]).values():
        done.result(timeout=PATIENCE_S)
    with pytest.raises(ReplayError, match=r"truth \[0\] keeps nothing .* start afresh"):
        Replay(task, timeline, client(broker)).run()


@pytest.mark.system
def test_event_time_passes_at_the_given_speed(
    broker: RunningBroker, task: Task, timeline: Timeline
) -> None:
    """No faster; how much slower depends on the machine."""
    stop = threading.Event()
    seen: list[bytes] = []

    def stop_after_100(ids: list[bytes], at: float) -> None:
        seen.extend(ids)
        if len(seen) > 100:
            stop.set()

    began = time.monotonic()
    progress = Replay(
        task, timeline, client(broker), speed=10.0, stop=stop, on_requests=stop_after_100
    ).run()
    took = timedelta(seconds=time.monotonic() - began)
    assert progress.event_time is not None
    begin = datetime.fromtimestamp(timeline.times[0] / 1000, progress.event_time.tzinfo)
    assert progress.event_time - begin <= 10 * 86_400 * took


@pytest.mark.system
def test_each_month_is_told_between_its_last_event_and_the_next(
    broker: RunningBroker, task: Task, timeline: Timeline
) -> None:
    told: list[tuple[datetime, int]] = []

    def month(begins: datetime) -> None:
        told.append((begins, sum(len(part) for kind in keys(broker, task) for part in kind)))

    replay = Replay(task, timeline, client(broker), speed=math.inf, on_month=month)
    replay.run()
    assert [begins.strftime("%m-%d") for begins, _ in told] == ["04-01", "05-01"]
    for begins, records in told:
        assert records == int((timeline.times < begins.timestamp() * 1000).sum())

    again: list[datetime] = []
    Replay(task, timeline, client(broker), speed=math.inf, on_month=again.append).run()
    assert again == []


@pytest.mark.system
def test_at_full_speed_it_waits_for_the_worker(
    broker: RunningBroker, task: Task, timeline: Timeline
) -> None:
    """A worker that never commits lets it go no further than it may be ahead."""
    stop = threading.Event()
    looks: list[int] = []

    def backlog() -> int:
        behind = replay.progress().position
        looks.append(behind)
        if looks.count(behind) > 3:
            stop.set()  # it does wait
        return behind

    replay = Replay(
        task,
        timeline,
        client(broker),
        speed=math.inf,
        stop=stop,
        backlog=backlog,
        max_ahead=700,
    )
    assert replay.run().position == 700


@pytest.mark.system
def test_the_backlog_is_what_the_worker_has_not_committed(
    broker: RunningBroker, task: Task, timeline: Timeline
) -> None:
    look = Backlog(task, client(broker))

    def backlog() -> int:
        # Until the new topic has a leader and the group a coordinator; the replay looks again too.
        while True:
            try:
                return look()
            except KafkaException as error:
                if not error.args[0].retriable() and error.args[0].code() not in PASSING:
                    raise

    assert backlog() == 0
    Replay(task, timeline, client(broker), speed=math.inf).run()
    assert backlog() == len(timeline)

    worker = Consumer({**client(broker), "group.id": f"{task.name}-worker"})
    held = len(keys(broker, task)[0][1])
    committed = [
        TopicPartition(f"{task.name}.requests", 1, held),
        TopicPartition(f"{task.name}.truth", 0, 10),
    ]
    worker.commit(offsets=committed, asynchronous=False)
    worker.close()
    assert backlog() == len(timeline) - held - 10


@pytest.mark.system
def test_a_stop_ends_it_while_the_broker_is_away(
    own_broker: RunningBroker, timeline: Timeline
) -> None:
    task = replace(TASK, name="away")
    create_topics(Contract.of(task, "test"), client(own_broker))
    stop, away = threading.Event(), threading.Event()

    def cut(ids: list[bytes], at: float) -> None:
        if not away.is_set():
            own_broker.kill()
            away.set()

    replay = Replay(
        task,
        timeline,
        {**client(own_broker), "queue.buffering.max.messages": 100},
        speed=math.inf,
        stop=stop,
        on_requests=cut,
    )
    thread = threading.Thread(target=replay.run)
    thread.start()
    assert away.wait(PATIENCE_S)
    stop.set()
    thread.join(timeout=PATIENCE_S)
    assert not thread.is_alive()
    own_broker.start()
    assert Replay(task, timeline, client(own_broker), speed=math.inf).run().done
    assert keys(own_broker, task) == expected(task, timeline, len(timeline))
