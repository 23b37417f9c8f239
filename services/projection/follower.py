"""Follows the ``models`` topic in a thread of the trainer, and makes MLflow say the same.

The whole topic is read at each start: it is compacted, a record a version. Of several trainers one
has the topic's only partition, and tells MLflow; the offset that its group commits is how far
MLflow is. MLflow may be down for as long as it likes: it is tried again, and nothing else waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from prometheus_client import Gauge

from schemas.topics import BY_NAME
from services.projection.converge import Registry, converge
from services.projection.facts import wanted
from services.projection.places import Describer, open_store
from streams.codecs import codecs
from streams.roles import Roles
from streams.settings import Settings
from streams.task import Task
from streams.transport.batches import reader
from streams.unreadable import Unreadable

log = structlog.get_logger("trainer.projection")

LAG = Gauge("weir_registry_lag", "Records of the models topic that MLflow does not tell yet")

POLL_MS = 500
RETRY_S = (1.0, 60.0)
"""Between two tries while MLflow does not answer: doubled each time, from the first to the last."""
RECHECK_S = 30.0
"""MLflow is looked at again after so long: somebody may have changed an alias there by hand, and a
journal gets its last lines after the record."""
SESSION_TIMEOUT_MS = 15_000
MAX_POLL_INTERVAL_MS = 600_000
"""MLflow may take long to take a large bundle; after so long another trainer takes over."""


@dataclass
class Progress:
    """How far MLflow is: ``behind`` records (-1: not known yet), and what went wrong last."""

    behind: int = -1
    error: str = ""

    def facts(self) -> Mapping[str, Any]:
        """For the health page."""
        return {"behind": self.behind, "error": self.error}


class Projection(threading.Thread):
    """The thread. ``open_registry`` is called, late, by the thread itself."""

    def __init__(
        self,
        task: Task,
        settings: Settings,
        stop: threading.Event,
        open_registry: Callable[[Settings, Task], Registry] | None = None,
    ) -> None:
        super().__init__(name="projection", daemon=True)
        self.progress = Progress()
        self._task = task
        self._settings = settings
        self._stop_asked = stop
        self._open = open_registry or _open
        self._describe = Describer(settings)
        self._unreadable = Unreadable(log.warning)
        self._codec = codecs(task, settings.home)["model"]
        self._place = TopicPartition(BY_NAME["models"].topic(task.name), 0)
        self._begin()

    def _begin(self) -> None:
        self._roles = Roles()
        self._told, self._told_at = -1, 0.0
        self._wait_s, self._next = RETRY_S[0], 0.0

    def run(self) -> None:
        """Follow until the trainer stops; nothing that goes wrong here stops anything else."""
        while not self._stop_asked.is_set():
            try:
                self._follow()
            except Exception as error:
                self._complain("the projection of the roles failed; it begins again", error)
                self._stop_asked.wait(RETRY_S[0])

    def _follow(self) -> None:
        consumer = reader(
            **self._settings.kafka_python(),
            group_id=f"{self._task.name}-projection",
            group_instance_id=f"{self._task.name}-projection-{self._settings.worker}",
            session_timeout_ms=SESSION_TIMEOUT_MS,
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        registry: Registry | None = None
        try:
            consumer.subscribe([self._place.topic], listener=_FromTheBeginning(consumer, self))
            while not self._stop_asked.is_set():
                for records in consumer.poll(timeout_ms=POLL_MS).values():
                    self._take(records)
                if self._place not in consumer.assignment():
                    continue
                end = consumer.end_offsets([self._place])[self._place]
                at = consumer.position(self._place)
                self.progress.behind = max(0, end - max(self._told, 0))
                LAG.set(self.progress.behind)
                now = time.monotonic()
                due = self._told < at or now - self._told_at > RECHECK_S
                if at < end or not due or now < self._next:
                    continue
                if self._roles.records or registry is not None:
                    try:
                        registry = registry or self._open(self._settings, self._task)
                        self._tell(registry, at)
                    except Exception as error:
                        self._complain("MLflow does not take the roles; trying again", error)
                        self._next = now + self._wait_s
                        self._wait_s = min(2 * self._wait_s, RETRY_S[1])
                        continue
                self._wait_s, self._told_at = RETRY_S[0], time.monotonic()
                if self._told == at:
                    continue
                self._told = at
                log.info("MLflow tells the roles", as_of=at, versions=len(self._roles.records))
                consumer.commit({self._place: OffsetAndMetadata(at, "", -1)})
        finally:
            consumer.close(autocommit=False)

    def _take(self, records: list[Any]) -> None:
        """Fold records, in order."""
        for record in records:
            place = record.topic, record.partition, record.offset
            self._roles = self._unreadable.roles(
                self._roles, self._codec, record.key, record.value, place
            )

    def _tell(self, registry: Registry, at: int) -> None:
        means = wanted(self._roles, at, self._describe)
        failed = converge(registry, means)
        for version, why in failed.items():
            log.warning("MLflow was not told all of a version", version=version, why=why)
        self.progress.error = next(iter(failed.values()), "")

    def _complain(self, what: str, error: Exception) -> None:
        self.progress.error = f"{type(error).__name__}: {error}"[:300]
        log.warning(what, error=self.progress.error)


def _open(settings: Settings, task: Task) -> Registry:
    reference = settings.task.rpartition(":")[0]
    return open_store(settings, task.name, Path(reference).resolve().parent)


class _FromTheBeginning(ConsumerRebalanceListener):  # type: ignore[misc]
    """Whoever gets the partition reads all of it: the roles are a fold of the whole topic."""

    def __init__(self, consumer: KafkaConsumer, projection: Projection) -> None:
        self._consumer = consumer
        self._projection = projection

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing to hand over."""

    def on_partitions_assigned(self, assigned: Any) -> None:
        """Begin again."""
        self._projection._begin()
        if assigned:
            self._consumer.seek_to_beginning(*assigned)
