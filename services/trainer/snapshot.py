"""Which outcomes an event may see: those that were in the topic when it was asked for.

ClickHouse gets outcomes a moment later, and more of them all the time. So that a repeated event
sees what it saw, its outcomes are told by their offsets, and the sink is waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import structlog
from clickhouse_connect.driver.client import Client
from kafka import KafkaConsumer, TopicPartition

from schemas.topics import BY_NAME
from streams.settings import Settings
from streams.task import Task

log = structlog.get_logger("trainer")

PATIENCE_S = 20.0
"""Time without any new row after which the sink is not waited for any longer."""
LOOK_S = 0.5
"""Between two looks at what the sink has written."""
MARKERS = 1
"""Offsets at the end that may hold no record: that of a transaction's end."""


class Stopped(Exception):
    """The trainer is ending; the event will be worked on again after the next start."""


def ends_at(settings: Settings, task: Task, time_ms: int) -> list[int]:
    """For each partition of the outcomes the offset of the first record after a time.

    Where there is none, the topic's end. It is the same whenever it is asked, as long as the
    clocks of those who write agree to what passes between an event and its training.
    """
    topic = BY_NAME["outcomes"].topic(task.name)
    consumer = KafkaConsumer(
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


def wait_for_sink(client: Client, task: Task, ends: Sequence[int], stop: threading.Event) -> None:
    """Return when ClickHouse has the outcomes before ``ends``, or gets no more of them.

    Raises Stopped where ``stop`` is set, and the client's errors.
    """
    table = BY_NAME["outcomes"].table
    before, moved_at = -1, time.monotonic()
    while True:
        rows = client.query(
            f"SELECT _partition, max(_offset) FROM `{task.name}`.`{table}` GROUP BY _partition"
        ).result_rows
        held = dict(rows)
        missing = [max(0, end - 1 - held.get(number, -1)) for number, end in enumerate(ends)]
        if all(count <= MARKERS for count in missing):
            return
        if sum(missing) != before:
            before, moved_at = sum(missing), time.monotonic()
            log.info("waiting for the sink", missing=before)
        elif time.monotonic() - moved_at > PATIENCE_S:
            log.warning("training on what ClickHouse has: the sink writes nothing", missing=before)
            return
        if stop.wait(LOOK_S):
            raise Stopped
