"""Reads a task's topics from where the tables end.

librdkafka fetches, decompresses and checks in threads of its own. Its messages are taken apart a
column at a time by ``map`` over the accessors: a loop in C.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, groupby
from typing import Any

import numpy as np
import stamina
import structlog
from confluent_kafka import (
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from services.sink import metrics
from services.sink.rows import Records
from services.sink.writing import Stopped
from streams.transport.messages import BoundedConsumer, headers_of

log = structlog.get_logger("sink")

# The sink's own settings of the consumer; the reasons are times and memory.
_CONSUMER: dict[str, Any] = {
    # Only what a transaction has committed; what was aborted is nobody's record.
    "isolation.level": "read_committed",
    # Offsets come from the tables; these are for those who watch the lag.
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # Never jump over records silently: an offset that is gone ends the sink, and its start looks.
    "auto.offset.reset": "error",
    "allow.auto.create.topics": False,
    "check.crcs": True,
    # Says where a partition ends: after its last record a transaction's marker has an offset too.
    "enable.partition.eof": True,
    # Ten fetches a second rather than one for each record that arrives: rows are inserted twice a
    # second at most, and each fetch costs the broker and this process the same.
    "fetch.wait.max.ms": 100,
    "fetch.min.bytes": 256 << 10,
    # Read ahead while an insert runs: at most 64 MiB, and go on as soon as there is room.
    "queued.max.messages.kbytes": 64 << 10,
    "fetch.queue.backoff.ms": 20,
}
# The offsets of the group are for those who watch: a stop does not wait longer for them.
_LAST_COMMIT_S = 5.0
# For one question to the brokers at the start.
_ASK_S = 30.0
_TRACEPARENT = "traceparent"
_MOST_TRACEPARENT_BYTES = 256  # W3C's first version has 55, and a later one may have more


class TopicRecreated(RuntimeError):
    """A table holds offsets that its topic has not reached; the message says what to do."""


class _Missing(RuntimeError):
    """Topics that do not exist yet."""


def records_of(messages: Sequence[Message]) -> Records:
    """Messages of one topic by columns, partition by partition: so ClickHouse need not sort."""
    n = len(messages)
    partitions = np.fromiter(map(Message.partition, messages), np.int64, n)
    if (partitions[1:] < partitions[:-1]).any():
        order = np.argsort(partitions, kind="stable")
        messages = [messages[at] for at in order.tolist()]
        partitions = partitions[order]
    times = chain.from_iterable(map(Message.timestamp, messages))
    return Records(
        partitions,
        np.fromiter(map(Message.offset, messages), np.int64, n),
        np.fromiter(times, np.int64, 2 * n)[1::2],  # behind the kind of the timestamp
        list(map(Message.key, messages)),
        list(map(Message.value, messages)),
        _traceparents(headers_of(messages)),
    )


def _traceparents(headers: Sequence[Sequence[tuple[str, bytes]] | None]) -> list[bytes]:
    if not any(headers):
        return [b""] * len(headers)
    # Of several of one name the first counts, as ever: the last that a dict is given.
    found = (dict(reversed(some)).get(_TRACEPARENT) or b"" if some else b"" for some in headers)
    return [value if len(value) <= _MOST_TRACEPARENT_BYTES else b"" for value in found]


class Reader:
    """A consumer of all topics of one task, assigned by hand: the sink is alone anyway.

    config: of the connection, as librdkafka takes it. topics: full names.
    """

    def __init__(self, config: Mapping[str, Any], topics: Sequence[str], group: str) -> None:
        own = {"group.id": group, "error_cb": _warn, "on_commit": self._committed}
        self._consumer = BoundedConsumer({**_CONSUMER, **config, **own})
        self._admin = AdminClient(dict(config))
        self._topics = list(topics)
        self._commits = 0
        self.reached: dict[str, dict[int, int]] = {topic: {} for topic in topics}
        """The offset up to which each partition has been read, by topic."""

    def start(
        self, positions: Mapping[str, Mapping[int, int]], stopping: Callable[[], bool]
    ) -> None:
        """Go to the record after ``positions`` (highest offset held, by topic and partition).

        Waits until all topics exist. Raises TopicRecreated, or Stopped where ``stopping``.
        """

        def worth_waiting(error: Exception) -> bool:
            if not isinstance(error, (_Missing, KafkaException)):
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
        found = self._consumer.list_topics(timeout=_ASK_S).topics
        missing = [t for t in self._topics if t not in found or not found[t].partitions]
        if missing:
            raise _Missing(f"topics that do not exist yet: {', '.join(missing)}")
        all_ = [TopicPartition(t, p) for t in self._topics for p in sorted(found[t].partitions)]
        first, end = (
            self._offsets(all_, OffsetSpec.earliest()),
            self._offsets(all_, OffsetSpec.latest()),
        )
        for place in all_:
            held = positions.get(place.topic, {}).get(place.partition, -1)
            at = (place.topic, place.partition)
            place.offset = self._next(place, held, first[at], end[at])
            self.reached[place.topic][place.partition] = place.offset
        self._consumer.assign(all_)

    def _offsets(self, places: Sequence[TopicPartition], spec: OffsetSpec) -> dict[Any, int]:
        asked = self._admin.list_offsets(dict.fromkeys(places, spec), request_timeout=_ASK_S)
        return {
            (place.topic, place.partition): answer.result().offset
            for place, answer in asked.items()
        }

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

    def poll(self, timeout_s: float, most: int) -> dict[str, list[Message]]:
        """Messages that have arrived, at most ``most``, by topic; those of a partition in order.

        Waits up to ``timeout_s`` for so many. Raises KafkaException where reading cannot go on.
        """
        messages = self._consumer.consume(most, timeout_s)
        if any(map(Message.error, messages)):
            messages = [message for message in messages if not self._is_event(message)]
        by_topic: dict[str, list[Message]] = {}
        for topic, of_topic in groupby(messages, Message.topic):
            listed = by_topic.setdefault(topic, [])
            for partition, of_partition in groupby(of_topic, Message.partition):
                listed.extend(of_partition)
                self._reach(topic, partition, listed[-1].offset() + 1)
        return by_topic

    def _reach(self, topic: str, partition: int, offset: int) -> None:
        reached = self.reached[topic]
        reached[partition] = max(offset, reached.get(partition, 0))

    def _is_event(self, message: Message) -> bool:
        """Whether a message is no record but tells something; KafkaException where it is fatal."""
        error = message.error()
        if error is None:
            return False
        if error.code() == KafkaError._PARTITION_EOF:
            self._reach(message.topic(), message.partition(), message.offset())
        elif error.fatal() or not error.retriable():
            raise KafkaException(error)
        else:
            _warn(error)
        return True

    def show_progress(
        self, passed: Mapping[str, Mapping[int, int]], last: bool = False
    ) -> dict[str, int]:
        """Commit ``passed`` to the group, for those who watch or wait; returns the lag by topic.

        passed: the offset up to which each partition's records are in the tables, or never will
        be. last: nothing comes after it, so wait for the brokers to take it, but not for long.
        """
        offsets, lags = [], {}
        for topic, partitions in passed.items():
            lags[topic] = 0
            for partition, offset in partitions.items():
                place = TopicPartition(topic, partition, offset)
                offsets.append(place)
                # Unknown (negative) before the first fetch.
                end = self._consumer.get_watermark_offsets(place, cached=True)[1]
                lags[topic] += max(0, end - offset)
        self._commit(offsets)
        if last:
            self._consumer.unassign()
            ends = time.monotonic() + _LAST_COMMIT_S
            while self._commits and time.monotonic() < ends:
                self._consumer.poll(0.05)
            if self._commits:
                log.info("the last progress was not committed", offsets=len(offsets))
        for topic, lag in lags.items():
            metrics.LAG.labels(topic).set(lag)
        return lags

    def _commit(self, offsets: list[TopicPartition]) -> None:
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
            self._commits += 1
        except KafkaException as error:
            log.info("the progress was not committed", error=str(error))

    def _committed(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        self._commits -= 1
        if error is not None:
            log.info("the progress was not committed", error=str(error))

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()


def _warn(error: KafkaError) -> None:
    """What librdkafka tells and gets over by itself, such as a broker that is away."""
    log.warning("the client says", error=str(error)[:300])
