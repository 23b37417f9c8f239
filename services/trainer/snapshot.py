"""Which outcomes an event may see: those that were in the topic when it was asked for.

ClickHouse gets outcomes a moment later, and more of them all the time. So that a repeated event
sees what it saw, its outcomes are told by their offsets, and the sink is waited for: until its
table holds them, or the sink has passed them. Not every offset becomes a row: some are marks of a
transaction's end, records of one that was aborted, or values that no schema reads. The offsets
that the sink commits to its consumer group count those.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import structlog
from clickhouse_connect.driver.client import Client
from confluent_kafka import KafkaException
from kafka import TopicPartition

from schemas.topics import BY_NAME
from services.groups import GroupOffsets
from streams.settings import Settings
from streams.task import Task
from streams.transport.batches import reader

log = structlog.get_logger("trainer")

PATIENCE_S = 20.0
"""Time without any new row after which the sink is not waited for any longer."""
LOOK_S = 0.2
"""Between two looks at what the sink has written."""
_ASK_S = 5.0
"""For the broker's answer how far the sink is; without one, the table alone says it."""


class Stopped(Exception):
    """The trainer is ending; the event will be worked on again after the next start."""


def ends_at(settings: Settings, task: Task, time_ms: int) -> list[int]:
    """For each partition of the outcomes the offset of the first record after a time.

    Where there is none, the topic's end. It is the same whenever it is asked, as long as the
    clocks of those who write agree to what passes between an event and its training.
    """
    topic = BY_NAME["outcomes"].topic(task.name)
    consumer = reader(
        **settings.kafka_python(),
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    try:
        numbers = sorted(consumer.partitions_for_topic(topic) or ())
        places = [TopicPartition(topic, number) for number in numbers]
        later = consumer.offsets_for_times(dict.fromkeys(places, time_ms))
        last = consumer.end_offsets(places)
        found = [later[place].offset if later.get(place) else last[place] for place in places]
    finally:
        consumer.close()
    return found


def passed_by_sink(settings: Settings, task: Task, group: str) -> list[int]:
    """For each partition of the outcomes the offset up to which the sink is done with it.

    Empty where that is not known: no sink has said so yet, or no broker answers.
    """
    topic = BY_NAME["outcomes"].topic(task.name)
    places = [(topic, number) for number in range(task.partitions)]
    offsets = GroupOffsets(settings.librdkafka(), group)
    try:
        passed = offsets.committed(places, _ASK_S)
    except KafkaException as error:
        log.info("how far the sink is, is not known", error=str(error)[:300])
        return []
    finally:
        offsets.close()
    return [passed.get(place, 0) for place in places]


def missing(ends: Sequence[int], held: Mapping[int, int], passed: Sequence[int]) -> int:
    """How many offsets before ``ends`` the sink is not known to be done with.

    held: the highest offset of a row, by partition. passed: of `passed_by_sink`.

    >>> missing([11, 5], {0: 9}, [])
    6
    >>> missing([11, 5], {0: 9}, [11, 5])
    0
    """
    passed = [*passed, *[0] * (len(ends) - len(passed))]
    done = [max(held.get(number, -1) + 1, offset) for number, offset in enumerate(passed)]
    return sum(max(0, end - reached) for end, reached in zip(ends, done, strict=False))


def wait_for_sink(
    client: Client,
    task: Task,
    ends: Sequence[int],
    stop: threading.Event,
    passed: Callable[[], Sequence[int]],
) -> None:
    """Return when the sink is done with the outcomes before ``ends``, or writes no more of them.

    passed: `passed_by_sink`. Raises Stopped where ``stop`` is set, and the client's errors.
    """
    table = BY_NAME["outcomes"].table
    before, moved_at = -1, time.monotonic()
    while True:
        rows = client.query(
            f"SELECT _partition, max(_offset) FROM `{task.name}`.`{table}` GROUP BY _partition"
        ).result_rows
        left = missing(ends, dict(rows), ())
        # Only where rows are missing: most often the table has them all.
        if not left or not (left := missing(ends, dict(rows), passed())):
            return
        if left != before:
            before, moved_at = left, time.monotonic()
            log.info("waiting for the sink", missing=before)
        elif time.monotonic() - moved_at > PATIENCE_S:
            log.warning("training on what ClickHouse has: the sink writes nothing", missing=before)
            return
        if stop.wait(LOOK_S):
            raise Stopped
