"""How far the worker is behind what was published: the replay waits for it at full speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

TIMEOUT_S = 30
"""Longest wait for an answer of the broker."""


class Backlog:
    """Counts the records of some topics that a consumer group has not committed yet.

    Markers of transactions count as records, so a quiet system may show a few per partition.
    """

    def __init__(
        self, librdkafka: Mapping[str, Any], group: str, partitions: Mapping[str, int]
    ) -> None:
        """``partitions``: the number of each topic's partitions, by full topic name."""
        self._admin = AdminClient(dict(librdkafka))
        self._group = group
        self._where = [(topic, n) for topic, count in partitions.items() for n in range(count)]

    def __call__(self) -> int:
        """Records that are published and not committed. KafkaException without a broker."""
        ends = self._admin.list_offsets(
            {TopicPartition(*where): OffsetSpec.latest() for where in self._where},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=TIMEOUT_S,
        )
        committed = self._committed()
        behind = 0
        for partition, end in ends.items():
            done = committed.get((partition.topic, partition.partition), 0)
            behind += max(0, end.result().offset - done)
        return behind

    def _committed(self) -> dict[tuple[str, int], int]:
        wanted: Sequence[TopicPartition] = [TopicPartition(*where) for where in self._where]
        answer = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(self._group, list(wanted))], request_timeout=TIMEOUT_S
        )
        offsets = answer[self._group].result().topic_partitions
        return {(o.topic, o.partition): max(0, o.offset) for o in offsets}
