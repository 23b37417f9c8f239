"""Reads a task's topics from where the tables end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import stamina
import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from services.sink import metrics
from services.sink.rows import Record
from services.sink.writing import Stopped

log = structlog.get_logger("sink")

# The sink's own settings of the consumer; the reasons are times and memory.
_CONSUMER: dict[str, Any] = {
    # Only what a transaction has committed; what was aborted is nobody's record.
    "isolation_level": "read_committed",
    # Offsets come from the tables; these are for those who watch the lag.
    "enable_auto_commit": False,
    # Never jump over records silently: an offset that is gone ends the sink, and its start looks.
    "auto_offset_reset": "none",
    "allow_auto_create_topics": False,
    # Ten fetches a second rather than one for each record that arrives: rows are inserted once a
    # second at most, and each fetch costs the broker and this process the same.
    "fetch_max_wait_ms": 100,
    "fetch_min_bytes": 256 << 10,
    # Read ahead while an insert runs: at most 32 MiB.
    "fetch_max_bytes": 32 << 20,
    "max_partition_fetch_bytes": 4 << 20,
}
# The offsets of the group are for those who watch: a stop does not wait longer for them.
_LAST_COMMIT_MS = 5_000
# Between two questions to a broker that is away.
_AWAY_S = 0.2


class TopicRecreated(RuntimeError):
    """A table holds offsets that its topic has not reached; the message says what to do."""


class _Missing(RuntimeError):
    """Topics that do not exist yet."""


class Reader:
    """A consumer of all topics of one task, assigned by hand: the sink is alone anyway.

    config: of the connection, as kafka-python takes it. topics: full names.
    """

    def __init__(self, config: Mapping[str, Any], topics: Sequence[str], group: str) -> None:
        self._consumer = KafkaConsumer(group_id=group, **_CONSUMER, **config)
        self._topics = list(topics)

    def start(
        self, positions: Mapping[str, Mapping[int, int]], stopping: Callable[[], bool]
    ) -> None:
        """Go to the record after ``positions`` (highest offset held, by topic and partition).

        Waits until all topics exist. Raises TopicRecreated, or Stopped where ``stopping``.
        """

        def worth_waiting(error: Exception) -> bool:
            if not isinstance(error, (_Missing, KafkaError)):
                return False
            if stopping():
                raise Stopped from error
            log.info("topics not ready", error=str(error))
            return True

        for attempt in stamina.retry_context(
            on=worth_waiting,
            attempts=None,
            timeout=None,
            wait_initial=0.1,
            wait_max=2.0,
        ):
            with attempt:
                self._assign(positions)

    def _assign(self, positions: Mapping[str, Mapping[int, int]]) -> None:
        found = {topic: self._consumer.partitions_for_topic(topic) for topic in self._topics}
        missing = [topic for topic, partitions in found.items() if not partitions]
        if missing:
            raise _Missing(f"topics that do not exist yet: {', '.join(missing)}")
        all_ = [
            TopicPartition(topic, partition)
            for topic, partitions in found.items()
            for partition in sorted(partitions or ())
        ]
        self._consumer.assign(all_)
        first, end = self._consumer.beginning_offsets(all_), self._consumer.end_offsets(all_)
        for place in all_:
            held = positions.get(place.topic, {}).get(place.partition, -1)
            self._consumer.seek(place, self._next(place, held, first[place], end[place]))

    @staticmethod
    def _next(place: TopicPartition, held: int, first: int, end: int) -> int:
        if held >= end:
            raise TopicRecreated(
                f"the table of {place.topic} holds offset {held} of partition {place.partition}, "
                f"and the topic ends at {end}: it was deleted and made again. Rename the table "
                "(RENAME TABLE ...) so that a new one is made, and start the sink again"
            )
        missed = first - (held + 1)
        if held >= 0 and missed > 0:
            metrics.MISSED.labels(place.topic).inc(missed)
            log.warning(
                "records were deleted before they were read",
                topic=place.topic,
                partition=place.partition,
                missed=missed,
            )
        return max(first, held + 1)

    def poll(self, timeout_s: float, most: int) -> dict[str, list[Record]]:
        """Records that have arrived, at most ``most``, by topic; those of a partition in order.

        Waits up to ``timeout_s`` for the first.
        """
        try:
            polled = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=most)
        except KafkaError as error:
            # The client gets over most of a broker's absence by itself, but raises some of it.
            if not error.retriable:
                raise
            log.warning("the broker is away; asking again", error=repr(error)[:300])
            time.sleep(_AWAY_S)
            return {}
        by_topic: dict[str, list[Record]] = {}
        for place, records in polled.items():
            by_topic.setdefault(place.topic, []).extend(records)
        return by_topic

    def show_progress(
        self, positions: Mapping[str, Mapping[int, int]], last: bool = False
    ) -> dict[str, int]:
        """Commit ``positions`` to the group, for those who watch; returns the lag by topic.

        last: nothing comes after it, so wait for the brokers to take it, but not for long.
        """
        offsets, lags = {}, dict.fromkeys(self._topics, 0)
        for place in self._consumer.assignment():
            held = positions.get(place.topic, {}).get(place.partition, -1)
            if held >= 0:
                offsets[place] = OffsetAndMetadata(held + 1, "", -1)
            end = self._consumer.highwater(place)
            # After the last record a transaction's own marker has an offset too.
            reached = max(held + 1, self._consumer.position(place, timeout_ms=0) or 0)
            if end is not None:
                lags[place.topic] += max(0, end - reached)
        if offsets and last:
            try:
                self._consumer.commit(offsets, timeout_ms=_LAST_COMMIT_MS)
            except KafkaError as error:
                log.info("the last progress was not committed", error=str(error))
        elif offsets:
            self._consumer.commit_async(offsets)
        for topic, lag in lags.items():
            metrics.LAG.labels(topic).set(lag)
        return lags

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close(autocommit=False)
