"""Follows what the loop makes of the replay: outcomes, features, retrain events and versions.

    with Following(task, contract, librdkafka, home) as loop:
        loop.publishing(keys, known_at)     # before truths are sent
        loop.limit(next_truth_ms)           # up to when event time may run (`frontier.Limit`)

It reads what the worker's own followers read, as they do: committed records only.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from confluent_kafka import KafkaException, Message

from schemas.topics import BY_NAME
from services.contract import Contract
from services.demo.backlog import Backlog
from services.demo.frontier import Frontier, Limit
from services.demo.tail import Tail
from streams.roles import Roles
from streams.task import Task
from streams.unreadable import Unreadable, place_of

STALLED_S = 5.0
"""After so long without any truth that came through, those that the worker has read and that have
no outcome are given up: a request that was rejected, for example, has none."""

log = structlog.get_logger(__name__)


class LoopError(RuntimeError):
    """The loop cannot be followed; the message says why."""


class Following(Tail):
    """Knows how far the loop is behind the replay; its methods are thread-safe."""

    def __init__(
        self, task: Task, contract: Contract, librdkafka: Mapping[str, Any], home: Path
    ) -> None:
        super().__init__("loop", librdkafka, fetch_wait_ms=20)
        self._outcomes = BY_NAME["outcomes"].topic(task.name)
        self._partitions = task.partitions
        self._unreadable = Unreadable(log.warning)
        take: dict[str, Callable[[Sequence[Message]], None]] = {
            "outcomes": self._take_outcomes,
            "features": self._take_features,
            "retrain": self._take_retrain,
            "models": self._take_models,
        }
        self._take = {BY_NAME[name].topic(task.name): function for name, function in take.items()}
        self._codecs = {
            name: contract.codec(BY_NAME[name].record, home)
            for name in ("features", "retrain", "models")
        }
        self._features_count = any(windowed.of == "truth" for windowed in task.windowed)
        self._unread = Backlog(task, librdkafka, ("truth",))
        self._frontier = Frontier()
        self._lock = threading.Lock()
        self._moved = threading.Event()
        self._moved_at = time.monotonic()
        self._newest_ms = 0
        self._roles = Roles()

    def publishing(self, keys: Sequence[bytes], known_at: Sequence[int]) -> None:
        """Truths that are about to be published, in order of time (milliseconds since 1970)."""
        with self._lock:
            self._frontier.published(keys, known_at)
            self._newest_ms = max([self._newest_ms, *known_at])

    def limit(self, next_truth_ms: int | None) -> Limit:
        """Up to when events may be published now (`Frontier.limit`).

        LoopError if the topics cannot be followed.
        """
        if self.failure is not None:
            raise LoopError(f"the loop cannot be followed: {self.failure}") from self.failure
        with self._lock:
            return self._frontier.limit(next_truth_ms)

    @property
    def roles(self) -> Roles:
        """The roles of the versions, as the topic says."""
        return self._roles

    def wait(self, timeout_s: float) -> None:
        """Wait until the limit may have moved, at most so long."""
        self._moved.wait(timeout_s)
        self._moved.clear()

    def _places(self) -> Mapping[tuple[str, int], bool]:
        """Outcomes and features from now on; of the few others all, for what waits from before."""
        places = {}
        for topic in self._take:
            name = topic.rpartition(".")[2]
            for number in range(self._partitions if BY_NAME[name].partitioned else 1):
                places[topic, number] = name not in ("outcomes", "features")
        return places

    def _taken(self, messages: Sequence[Message], at: float) -> None:
        by_topic: defaultdict[str, list[Message]] = defaultdict(list)
        for message in messages:
            by_topic[message.topic()].append(message)
        with self._lock:
            before = self._frontier.on_the_way
            for topic, take in self._take.items():  # outcomes before the features that count them
                if topic in by_topic:
                    take(by_topic[topic])
            if self._frontier.on_the_way < before:
                self._moved_at = time.monotonic()
        self._moved.set()

    def _looked(self) -> None:
        if not self._frontier.on_the_way:
            self._moved_at = time.monotonic()
        elif time.monotonic() - self._moved_at > STALLED_S:
            self._give_up()
            self._moved_at = time.monotonic()

    def _take_outcomes(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.key() is not None:
                self._frontier.joined(message.partition(), message.offset(), message.key())
            if not self._features_count:
                self._frontier.counted(message.partition(), message.offset() + 1)

    def _take_features(self, messages: Sequence[Message]) -> None:
        for record in self._read("features", messages):
            topic, _, partition = record["source"].rpartition("/")
            if topic == self._outcomes and record["through"] is not None:
                self._frontier.counted(int(partition), record["through"])

    def _take_retrain(self, messages: Sequence[Message]) -> None:
        for record in self._read("retrain", messages):
            if record["status"] == "failed":
                self._frontier.answered(record["event_id"])
            elif record["status"] == "asked":
                known = record["event_time"] or record["data_to"] or self._newest_ms
                self._frontier.asked(record["event_id"], known)

    def _take_models(self, messages: Sequence[Message]) -> None:
        for record in self._read("models", messages):
            self._frontier.answered(record["event_id"])
        for message in messages:
            self._roles = self._unreadable.roles(
                self._roles,
                self._codecs["models"],
                message.key(),
                message.value(),
                place_of(message),
            )

    def _read(self, name: str, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """The records that can be read; the worker dead-letters the others."""
        codec = self._codecs[name]
        read = (self._unreadable.read(codec, one.value(), place_of(one)) for one in messages)
        return [record for record in read if record is not None]

    def _give_up(self) -> None:
        """Let go of truths that the worker has read and made no outcome of."""
        with self._lock:
            waiting = self._frontier.without_outcome()
        if not waiting:
            return
        try:
            unread = self._unread()
        except KafkaException:  # the broker is away
            return
        if unread == 0:
            log.warning("truths without an outcome", truths=len(waiting), first=waiting[0].decode())
            with self._lock:
                self._frontier.give_up(waiting)
            self._moved.set()
