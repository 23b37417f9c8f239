"""How far the worker is behind what was published: the replay waits for it at full speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from schemas.topics import TOPICS
from services.groups import GroupOffsets
from streams.task import Task

TIMEOUT_S = 2
"""Longest wait for an answer of the broker; the replay looks again, and has to see its stop."""


READ = ("requests", "predictions", "truth", "outcomes", "tallies", "profiles")
"""The topics between a request, its metrics and the drifts."""


class Backlog:
    """Counts the records that the worker is to read and has not committed yet.

    Markers of transactions count as records, so a quiet system may show a few per partition.
    """

    def __init__(
        self, task: Task, librdkafka: Mapping[str, Any], names: Sequence[str] = READ
    ) -> None:
        """The worker of ``task``, and the topics to look at."""
        self._admin = AdminClient({"log_level": 0, **librdkafka})
        self._group = GroupOffsets(librdkafka, f"{task.name}-worker")
        self._where = [
            (topic.topic(task.name), number)
            for topic in TOPICS
            if topic.name in names
            for number in range(task.partitions if topic.partitioned else 1)
        ]

    def __call__(self) -> int:
        """Records that are published and not committed. KafkaException without a broker."""
        ends = self._admin.list_offsets(
            {TopicPartition(*where): OffsetSpec.latest() for where in self._where},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=TIMEOUT_S,
        )
        committed = self._group.committed(self._where, TIMEOUT_S)
        behind = 0
        for partition, end in ends.items():
            done = committed.get((partition.topic, partition.partition), 0)
            behind += max(0, end.result().offset - done)
        return behind
