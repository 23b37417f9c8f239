"""Follows a task's topics from where they end: committed records only, in a thread of its own.

It joins no group and commits nothing, so it takes nothing from anybody. Counts are exact; a
batch of predictions is decoded as columns, which costs about 2 µs a prediction.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from schemas.codec import Codec
from schemas.topics import BY_NAME
from services.console.live import Live
from services.contract import Contract
from services.trainer.failures import Failure, standing_failure
from streams.alerts.told import Told
from streams.roles import Roles
from streams.transport.messages import BoundedConsumer
from streams.unreadable import Unreadable, place_of

log = structlog.get_logger("console.tail")

FOLLOWED = ("requests", "predictions", "outcomes", "models", "retrain", "dead-letters", "alerts")
POLL_S = 0.25
"""Longest wait for a batch: what arrives meanwhile is looked at together."""
BATCH = 10_000
RETRY_S = 1.0
"""Pause between two looks for a broker or for topics that are not there yet."""
METADATA_TIMEOUT_S = 5.0
EVENTS_KEPT = 1_000
"""Retrain records that are looked through for the training that failed last."""
LETTERS_KEPT = 50
LETTERS_BACK = 4 * LETTERS_KEPT
"""Offsets to go back for the last dead letters: transactions' markers take offsets too."""


@dataclass(frozen=True)
class Letter:
    """A dead letter as the page shows it; its texts come from strangers."""

    offset: int
    failed_at: int
    stage: str
    reason: str
    message: str
    origin: str
    request_id: str | None
    size: int | None


@dataclass(frozen=True)
class State:
    """How following goes: `ok` once records can arrive; `message` says what it waits for."""

    ok: bool
    message: str


class Tail:
    """Reads the topics' ends into `live`; `roles` and `letters` are replaced as a whole.

    `failure` is the training that failed last, unless a version came after it.
    """

    def __init__(
        self, kafka: Mapping[str, Any], contract: Contract, home: Path, live: Live
    ) -> None:
        self._kafka = dict(kafka)
        self._live = live
        self._topics = {BY_NAME[name].topic(contract.task): name for name in FOLLOWED}
        self._predictions, self._outcomes, self._models, self._dead_letters, self._alerts = (
            contract.codec(record, home)
            for record in ("prediction", "outcome", "model", "dead_letter", "alert")
        )
        self._retrain = contract.codec("retrain", home)
        self._events: deque[tuple[int, Mapping[str, Any]]] = deque(maxlen=EVENTS_KEPT)
        self._unreadable = Unreadable(log.warning)
        self._weak_labels = bool(contract.signals)
        self._letters_end = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tail", daemon=True)
        self.state = State(False, "connecting to Kafka")
        self.roles = Roles({})
        self.letters: tuple[Letter, ...] = ()
        self.alerts = Told()
        self.failure: Failure | None = None

    def start(self) -> None:
        """Begin to follow; waits for nothing."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close its consumer."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread still follows."""
        return self._thread.is_alive()

    def _run(self) -> None:
        consumer = BoundedConsumer(
            {
                **self._kafka,
                "group.id": "weir-console",  # librdkafka wants one; assign() never joins it
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "latest",
                "fetch.wait.max.ms": 250,
                # A page that falls behind must not fill memory with what it will only count.
                "queued.max.messages.kbytes": 16_384,
                "reconnect.backoff.max.ms": 1000,
                "error_cb": self._error,
                "log_level": 0,
            }
        )
        try:
            while not self._stop.is_set() and not self._assign(consumer):
                self._stop.wait(RETRY_S)
            while not self._stop.is_set():
                messages = consumer.consume(BATCH, timeout=POLL_S)
                if not (messages or self.state.ok):
                    self._look_again(consumer)
                try:
                    self._take([message for message in messages if self._is_record(message)])
                except Exception:  # a figure that is wrong beats a page that is dead
                    log.exception("a batch was not counted")
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer) -> bool:
        """Take all partitions of the topics, or say what is missing."""
        try:
            existing = consumer.list_topics(timeout=METADATA_TIMEOUT_S).topics
            missing = [topic for topic in self._topics if topic not in existing]
            if missing:
                self.state = State(False, f"waiting for the topics {', '.join(missing)}")
                return False
            partitions = []
            for topic, name in self._topics.items():
                for number in existing[topic].partitions:
                    at = self._start(consumer, name, TopicPartition(topic, number))
                    partitions.append(TopicPartition(topic, number, at))
            consumer.assign(partitions)
        except KafkaException as error:
            self.state = State(False, f"no Kafka broker answers ({error.args[0].str()})")
            return False
        self.state = State(True, "")
        log.info("following", topics=list(self._topics), partitions=len(partitions))
        return True

    def _look_again(self, consumer: Consumer) -> None:
        """After a failure: nothing may be sent for long, so ask whether the broker is back."""
        self._stop.wait(RETRY_S)
        with contextlib.suppress(KafkaException):
            consumer.list_topics(next(iter(self._topics)), timeout=METADATA_TIMEOUT_S)
            self.state = State(True, "")

    def _start(self, consumer: Consumer, name: str, partition: TopicPartition) -> int:
        """Where to begin: small topics with what they hold, the others at their ends."""
        if name in ("models", "retrain", "alerts"):
            return int(OFFSET_BEGINNING)
        if name == "dead-letters":
            first, end = consumer.get_watermark_offsets(partition, METADATA_TIMEOUT_S)
            self._letters_end = end
            return max(int(first), int(end) - LETTERS_BACK)
        # Resolved now: one that is asked for later would skip what arrives in between.
        return int(consumer.get_watermark_offsets(partition, METADATA_TIMEOUT_S)[1])

    def _error(self, error: KafkaError) -> None:
        """Librdkafka's word on its connections; it goes on trying by itself."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.state = State(False, "no Kafka broker answers; trying again")

    def _is_record(self, message: Message) -> bool:
        error = message.error()
        if error is not None:
            self.state = State(False, f"Kafka: {error.str()}")
        return error is None

    def _take(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        self.state = State(True, "")
        by_topic: dict[str, list[Message]] = defaultdict(list)
        for message in messages:
            by_topic[self._topics[message.topic()]].append(message)
        now = time.time()
        outcomes = self._true(by_topic["outcomes"])
        self._live.count(now, requests=len(by_topic["requests"]), outcomes=outcomes)
        if arrived := by_topic["predictions"]:
            batch = self._predictions.decode([message.value() for message in arrived])
            self._live.predictions(now, batch.columns, unread=len(batch.failures))
        if arrived := by_topic["models"]:
            self._take_models(arrived)
        if arrived := by_topic["retrain"]:
            self._take_events(arrived)
        if by_topic["models"] or by_topic["retrain"]:
            self.failure = standing_failure(self._events, self.roles)
        if arrived := by_topic["dead-letters"]:
            self._take_letters(arrived)
        if arrived := by_topic["alerts"]:
            self._take_alerts(arrived)

    def _true(self, messages: Sequence[Message]) -> int:
        """How many outcomes are not of weak labels; without signals none can be."""
        if not self._weak_labels or not messages:
            return len(messages)
        batch = self._outcomes.decode([message.value() for message in messages])
        return int((batch.columns["label"].values == "true").sum())

    def _take_models(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self.roles = self._unreadable.roles(
                self.roles, self._models, message.key(), message.value(), place_of(message)
            )

    def _take_events(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if (record := self._read(self._retrain, message)) is not None:
                self._events.append((message.timestamp()[1], record))

    def _take_letters(self, messages: Sequence[Message]) -> None:
        new = sum(message.offset() >= self._letters_end for message in messages)
        self._live.count_dead_letters(new)
        letters = deque(self.letters, LETTERS_KEPT)
        for message in messages[-LETTERS_KEPT:]:
            if (record := self._read(self._dead_letters, message)) is not None:
                letters.append(_letter(message.offset(), record))
        self.letters = tuple(letters)

    def _take_alerts(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if (record := self._read(self._alerts, message)) is not None:
                self.alerts = self.alerts.after(record)

    def _read(self, codec: Codec, message: Message) -> dict[str, Any] | None:
        return self._unreadable.read(codec, message.value(), place_of(message))


def _letter(offset: int, record: Mapping[str, Any]) -> Letter:
    value = record["value"]
    return Letter(
        offset=offset,
        failed_at=record["failed_at"],
        stage=record["stage"],
        reason=record["reason"],
        message=record["message"],
        origin=f"{record['topic']}[{record['partition']}]@{record['offset']}",
        request_id=record["request_id"],
        size=None if value is None else len(value),
    )
