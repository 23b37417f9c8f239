"""The trainer's loop: one event at a time, trained in a thread while Kafka is polled."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import stamina
import structlog
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import CommitFailedError, KafkaError
from prometheus_client import Counter, Gauge

from schemas.topics import BY_NAME
from services.projection.follower import Projection
from services.projection.places import NONE
from services.registry import Publisher, RegistryError, now_ms, read_roles
from services.sink.settings import SinkSettings
from services.trainer.events import Event, first_event
from services.trainer.failures import ASKED
from services.trainer.journal import write_progress
from services.trainer.snapshot import Stopped, ends_at, passed_by_sink
from services.trainer.training import Workshop, work_on
from streams.codecs import codecs
from streams.observe import Health
from streams.settings import Settings
from streams.task import Task
from streams.transport.batches import reader
from streams.unreadable import Unreadable

log = structlog.get_logger("trainer")

TRAININGS = Counter("weir_trainings", "Retrain events worked on", ["result"])
PROGRESS = Gauge("weir_training_progress", "Share of the training in work that is done; 1: idle")

POLL_MS = 500
"""Between looks at the training thread; records are fetched as they come."""
MAX_POLL_INTERVAL_MS = 300_000
"""The loop polls twice a second: after five minutes without, the process hangs."""
SESSION_TIMEOUT_MS = 15_000
"""Without a heartbeat for so long, another trainer takes over."""
HANGS_AFTER_S = 60.0
"""Without a poll for so long, the trainer is not well."""
STOP_WAIT_S = 10.0
"""For the training in work at SIGTERM: it ends between two phases, or is left and repeated."""


@dataclass
class State:
    """What the trainer is doing, for its health page and log."""

    phase: str = "starting"
    done: float = 0.0
    event_id: str = ""
    last: str = ""
    polled_at: float = -math.inf
    registry: Callable[[], Mapping[str, Any]] = dict
    """How far MLflow is behind the roles; being behind does not make the trainer unwell."""

    def health(self) -> Health:
        """Well while the loop polls Kafka, also when a training was refused."""
        return Health(
            time.monotonic() - self.polled_at < HANGS_AFTER_S,
            {
                "phase": self.phase,
                "done": round(self.done, 2),
                "event_id": self.event_id,
                "last": self.last,
                **{f"registry_{name}": value for name, value in self.registry().items()},
            },
        )


class Trainer:
    """Consumes ``<task>.retrain`` and answers every event with a record, exactly once in effect."""

    def __init__(self, task: Task, settings: Settings, stop: threading.Event) -> None:
        self._task = task
        self._settings = settings
        self._stop = stop
        self._codec = codecs(task, settings.home)["retrain"]
        self._topic = BY_NAME["retrain"].topic(task.name)
        self._unreadable = Unreadable(log.warning)
        self.state = State()
        self._projection: Projection | None = None
        if settings.mlflow_uri != NONE:
            self._projection = Projection(task, settings, stop)
            self.state.registry = self._projection.progress.facts

    def run(self) -> None:
        """Work until ``stop`` is set."""
        if self._projection is not None:
            self._projection.start()
        with contextlib.suppress(Stopped):
            self._run()
        if self._projection is not None:
            self._projection.join(STOP_WAIT_S)

    def _run(self) -> None:
        settings = self._settings
        publisher: Publisher = self._connected(lambda: Publisher(settings, self._task))
        consumer: KafkaConsumer = self._connected(
            lambda: reader(
                self._topic,
                **settings.kafka_python(),
                group_id=f"{self._task.name}-trainer",
                # A member that is known by name: when it was killed, its next start takes over at
                # once and does not wait until the session of the dead one times out.
                group_instance_id=f"{self._task.name}-trainer-{settings.worker}",
                session_timeout_ms=SESSION_TIMEOUT_MS,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                max_poll_records=1,
                max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            )
        )
        shop = Workshop(
            task=self._task,
            home=settings.home,
            artifacts=settings.artifacts,
            key=settings.signing_key.get_secret_value().encode(),
            clickhouse=settings.clickhouse(),
            ends=lambda at: self._connected(lambda: ends_at(settings, self._task, at)),
            roles=lambda: self._connected(lambda: read_roles(settings, self._task)),
            publisher=publisher,
            progress=self._progress,
            stop=self._stop,
            passed=lambda: passed_by_sink(
                settings, self._task, SinkSettings().group_of(self._task.name)
            ),
        )
        try:
            self._ask_for_first(shop)
            self._progress("idle", 1.0)
            while not self._stop.is_set():
                for partition, records in self._poll(consumer).items():
                    for record in records:
                        self._handle(consumer, partition, record, shop)
        finally:
            consumer.close(autocommit=False)
            publisher.close()

    def _ask_for_first(self, shop: Workshop) -> None:
        """Publish the first event where there is a history and no champion.

        A restart before it is answered publishes it again; the copy finds it answered.
        """
        if self._task.history is None:
            return
        roles = shop.roles()
        event = first_event(self._task, now_ms())
        if roles.champion is None and roles.of_event(event.event_id) is None:
            shop.publisher.publish("retrain", event.event_id, event.record())

    def _handle(
        self, consumer: KafkaConsumer, partition: TopicPartition, record: Any, shop: Workshop
    ) -> None:
        """One event: train in a thread, poll meanwhile, commit when its answer is stored."""
        try:
            said = self._codec.read(record.value)
            event = Event.of(said)
        except ValueError as error:
            self._unreadable.leave_out((partition.topic, partition.partition, record.offset), error)
            TRAININGS.labels("unreadable").inc()
            self._commit(consumer, partition, record.offset)
            return
        if said["status"] != ASKED:
            self._commit(consumer, partition, record.offset)
            return
        self.state.event_id = event.event_id
        log.info("training", event_id=event.event_id, trigger=event.trigger, reason=event.reason)
        work = _Work(lambda: work_on(shop, event))
        consumer.pause(partition)
        while work.is_alive():
            self._poll(consumer)
            if self._stop.is_set():
                work.join(STOP_WAIT_S)
                break
        if work.result is None and work.error is None:
            raise Stopped
        if work.error is not None:
            raise work.error
        assert work.result is not None
        TRAININGS.labels(work.result).inc()
        self.state.last = f"{event.event_id}: {work.result}"
        self._commit(consumer, partition, record.offset)
        if partition in consumer.assignment():
            # A rebalance forgets the pause: what was polled since has not been worked on.
            consumer.seek(partition, record.offset + 1)
            consumer.resume(partition)
        self._progress("idle", 1.0)

    def _poll(self, consumer: KafkaConsumer) -> dict[TopicPartition, list[Any]]:
        polled: dict[TopicPartition, list[Any]] = {}
        try:
            polled = consumer.poll(timeout_ms=POLL_MS)
        except KafkaError as error:
            # The client gets over most of a broker's absence by itself, but raises some of it.
            if not error.retriable:
                raise
            log.warning("the broker is away; asking again", error=repr(error)[:300])
            self._stop.wait(POLL_MS / 1000)
        self.state.polled_at = time.monotonic()
        return polled

    def _commit(self, consumer: KafkaConsumer, partition: TopicPartition, offset: int) -> None:
        try:
            consumer.commit({partition: OffsetAndMetadata(offset + 1, "", -1)})
        except CommitFailedError:
            # Another trainer has the partition now; it finds the event answered.
            log.warning("the event's offset could not be committed: the group has moved on")

    def _progress(self, phase: str, done: float) -> None:
        self.state.phase, self.state.done = phase, done
        PROGRESS.set(done)
        try:
            write_progress(self._settings.home, self.state.event_id, phase, done, now_ms())
        except OSError as error:  # a full disk: the page shows less
            log.warning("the progress cannot be shown", error=str(error))
        log.info("progress", phase=phase, done=round(done, 2), event_id=self.state.event_id)

    def _connected(self, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, as soon as the broker answers. Raises Stopped."""

        def worth_waiting(error: Exception) -> bool:
            if self._stop.is_set():
                raise Stopped from error
            log.warning("Kafka does not answer; trying again", error=repr(error)[:300])
            return isinstance(error, KafkaError | RegistryError | OSError)

        for attempt in stamina.retry_context(
            on=worth_waiting, attempts=None, timeout=None, wait_initial=0.2, wait_max=5.0
        ):
            with attempt:
                made = make()
        return made


class _Work(threading.Thread):
    """A function in a thread of its own, with what it returned or raised."""

    def __init__(self, function: Callable[[], str]) -> None:
        super().__init__(name="training", daemon=True)
        self._function = function
        self.result: str | None = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._function()
        except BaseException as error:
            self.error = error
