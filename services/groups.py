"""How far consumer groups have come, asked in a way that cannot end the process that asks.

`AdminClient.list_consumer_group_offsets` would be the obvious call. While a broker starts, or is
too busy to keep its place, its answer may be "not the coordinator", and librdkafka then reads a
null pointer: the process ends by SIGSEGV (confluentinc/librdkafka#5040, seen here with 2.12.1). A
consumer that never joins asks the same and survives that answer. Nor is any other question of a
process that lives on put by an admin client: one that a dying broker leaves unanswered could end it
by an assertion (`eonce->refcnt > 0`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

Place = tuple[str, int]
"""A topic and a partition of it."""


def places_of(client: AdminClient | Consumer, task: str, timeout_s: float) -> list[Place]:
    """Return every partition of a task's topics. Raises KafkaException without an answer."""
    topics = client.list_topics(timeout=timeout_s).topics
    return [
        (name, number)
        for name, topic in topics.items()
        if name.startswith(f"{task}.")
        for number in topic.partitions
    ]


class GroupOffsets:
    """The committed offsets of one group; it never joins it. Not for several threads."""

    def __init__(self, librdkafka: Mapping[str, Any], group: str) -> None:
        self._consumer = Consumer(
            {
                "log_level": 0,
                **librdkafka,
                "group.id": group,
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )

    def committed(self, places: Iterable[Place], timeout_s: float) -> dict[Place, int]:
        """Return the next offset of each partition that the group has committed one for.

        Raises KafkaException where the broker does not answer in time.
        """
        asked = [TopicPartition(*place) for place in places]
        if not asked:
            return {}
        answers = self._consumer.committed(asked, timeout=timeout_s)
        return {(one.topic, one.partition): one.offset for one in answers if one.offset >= 0}

    def behind(self, task: str, timeout_s: float) -> int:
        """Return how many records of a task's topics the group has yet to commit.

        Of partitions that it has committed something of; markers of transactions count, which are
        few. Raises KafkaException where the broker does not answer in time.
        """
        done = self.committed(places_of(self._consumer, task, timeout_s), timeout_s)
        ends = (
            self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=timeout_s)[1]
            for place in done
        )
        return sum(max(0, end - offset) for end, offset in zip(ends, done.values(), strict=True))

    def close(self) -> None:
        """Let go of the connections."""
        self._consumer.close()
