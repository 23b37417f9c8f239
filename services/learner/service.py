"""The learner's loop: outcomes in, versions out; what it goes on from is its last version."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import stamina
import structlog
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError
from prometheus_client import Counter, Gauge

from schemas.topics import BY_NAME
from services.learner.following import followed, role_of_next
from services.learner.lessons import learn_history, lesson
from services.registry import Publisher, RegistryError, model_record, now_ms, read_roles
from streams.bundle import (
    BundleError,
    BundleInfo,
    folder_of,
    load_bundle,
    remove_learned,
    save_bundle,
)
from streams.codecs import codecs
from streams.continual.contents import contents_of, reason, resumed
from streams.continual.learner import Learner
from streams.manifest import Contents
from streams.observe import Health
from streams.roles import BY_LEARNER, ModelRecord, Role, Roles
from streams.settings import Settings
from streams.task import Task
from streams.training.errors import TrainingError
from streams.transport.batches import reader
from streams.version import Version

log = structlog.get_logger("learner")

LEARNED = Counter("weir_learned_outcomes", "Outcomes that the learner has learned from")
UNREADABLE = Counter("weir_learner_unreadable", "Outcomes that cannot be read, and are left out")
VERSIONS = Counter("weir_learned_versions", "Versions that the learner published", ["role"])
LOSS = Gauge("weir_prequential_loss", "Mean loss before the truth was learned from", ["of"])

POLL_MS = 500
MOST_RECORDS = 500
"""Outcomes of a batch: all of it is answered before any of it is learned from."""
ROLES_S = 2.0
"""Between two looks at which version is the champion."""
HANGS_AFTER_S = 60.0
"""Without a poll for so long, the learner is not well."""
KEPT = 5
"""Bundles of its own archived versions that stay, to look at or to go back to."""


class Stopped(Exception):
    """The learner is ending."""


@dataclass
class State:
    """What it is doing, for its health page."""

    phase: str = "starting"
    learned: int = 0
    compared: int = 0
    base: str = ""
    version: str = ""
    polled_at: float = field(default=-math.inf, repr=False)


class LearnerService:
    """Consumes ``<task>.outcomes`` and writes bundles and records of ``<task>.models``.

    Its state is its last version: the bundle's manifest names the offsets up to which it has
    learned. A learner that is killed goes on from there, and learns what came after once more,
    into a state that has not seen it: so in effect each outcome is learned from once. One process
    a task runs it.
    """

    def __init__(self, task: Task, settings: Settings, stop: threading.Event) -> None:
        assert task.continual is not None
        self._task, self._policy, self._settings, self._stop = task, task.continual, settings, stop
        self._key = settings.signing_key.get_secret_value().encode()
        self._codec = codecs(task, settings.home)["outcome"]
        topic = BY_NAME["outcomes"].topic(task.name)
        self._places = [TopicPartition(topic, number) for number in range(task.partitions)]
        self._state = State()
        self._roles_at = -math.inf
        self._published: tuple[int, float] = (0, -math.inf)
        self._base_published = ""

    def health(self) -> Health:
        """Well while it polls Kafka, also where there is nothing to learn from yet."""
        shown = {name: value for name, value in vars(self._state).items() if name != "polled_at"}
        return Health(time.monotonic() - self._state.polled_at < HANGS_AFTER_S, shown)

    def run(self) -> None:
        """Work until ``stop`` is set."""
        with contextlib.suppress(Stopped):
            self._run()

    def _run(self) -> None:
        settings = self._settings
        self._publisher: Publisher = self._connected(lambda: Publisher(settings, self._task))
        consumer: KafkaConsumer = self._connected(
            lambda: reader(
                **settings.kafka_python(),
                group_id=f"{self._task.name}-learner",  # for its lag; partitions are assigned
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                max_poll_records=MOST_RECORDS,
            )
        )
        try:
            self._base = self._wait_for_base()
            self._learner, self._offsets = self._resumed_or_new()
            consumer.assign(self._places)
            for place, offset in zip(self._places, self._offsets, strict=True):
                consumer.seek(place, offset)
            self._state.phase = "learning"
            while not self._stop.is_set():
                self._learn(self._poll(consumer))
                self._follow_base()
                if self._due():
                    self._publish(consumer)
        finally:
            consumer.close(autocommit=False)
            self._publisher.close()

    def _wait_for_base(self) -> Version:
        """The batch-trained champion, as soon as there is one that loads."""
        self._state.phase = "waiting for a first version"
        while True:
            base = self._newest_base("")
            if base is not None:
                return base
            self._state.polled_at = time.monotonic()
            if self._stop.wait(ROLES_S):
                raise Stopped

    def _newest_base(self, known: str) -> Version | None:
        """The batch-trained champion where it is another than the known one, and loads."""
        record = self._roles().batch_champion
        if record is None or record.version == known:
            return None
        try:
            base = self._load(record)
        except BundleError as error:
            log.error("a version cannot be learned on top of", error=str(error))
            return None
        self._state.base = base.id
        return base

    def _resumed_or_new(self) -> tuple[Learner, list[int]]:
        """The learner of its newest version that loads; else one that knows the history."""
        mine = [record for record in self._roles().records.values() if record.continual]
        for record in sorted(mine, key=lambda one: one.rows, reverse=True):
            try:
                version = self._load(record)
                learner, offsets = resumed(self._task, version)
            except (BundleError, ValueError) as error:
                log.warning("not gone on from", version=record.version, error=str(error))
                continue
            self._state.version = version.id
            self._base_published = version.manifest["continual"]["base"]
            self._published = (learner.scores.outcomes, time.monotonic())
            more = len(self._places) - len(offsets)
            log.info("goes on", version=version.id, offsets=offsets, learned=learner.learned)
            return learner, [*offsets, *[0] * more]
        learner = Learner(self._task)
        try:
            rows = learn_history(learner, self._task)
        except TrainingError as error:
            log.error("the history is not learned from", error=str(error))
            rows = 0
        log.info("begins", history=rows)
        return learner, [0] * len(self._places)

    def _poll(self, consumer: KafkaConsumer) -> list[bytes]:
        """The values of some outcomes; the offsets are then those after them."""
        polled: dict[TopicPartition, list[Any]] = {}
        try:
            polled = consumer.poll(timeout_ms=POLL_MS)
        except KafkaError as error:
            if not error.retriable:
                raise
            log.warning("the broker is away; asking again", error=repr(error)[:300])
            self._stop.wait(POLL_MS / 1000)
        self._state.polled_at = time.monotonic()
        values: list[bytes] = []
        for place, records in polled.items():
            values += [record.value for record in records if record.value is not None]
            self._offsets[place.partition] = records[-1].offset + 1
        return values

    def _learn(self, values: list[bytes]) -> None:
        if not values:
            return
        batch = self._codec.decode(values)
        if batch.failures:
            UNREADABLE.inc(len(batch.failures))
            log.warning(
                "outcomes cannot be read, and are left out",
                count=len(batch.failures),
                first=batch.failures[0].message,
            )
        if len(batch):
            LEARNED.inc(lesson(self._learner, self._base, batch.columns))
        scores = self._learner.scores
        self._state.learned, self._state.compared = self._learner.learned, scores.outcomes
        for name, mean in scores.means().items():
            LOSS.labels(name).set(mean)

    def _follow_base(self) -> None:
        if time.monotonic() - self._roles_at >= ROLES_S:
            self._base = self._newest_base(self._base.id) or self._base

    def _due(self) -> bool:
        """Whether there is enough that is new, or something else to be on top of."""
        outcomes, at = self._published
        if time.monotonic() - at < self._policy.seconds:
            return False
        new = self._learner.scores.outcomes - outcomes
        return new >= self._policy.every or (new > 0 and self._base.id != self._base_published)

    def _publish(self, consumer: KafkaConsumer) -> None:
        """Make a version of what has been learned.

        A crash after step 1 leaves a bundle that nothing names, and the version is made again of
        the same outcomes or more. From step 2 on it is what the learner goes on from; the roles
        that step 3 takes are taken after its next version. Steps 4 and 5 only tidy.
        """
        # 1. The bundle, whole or not at all.
        contents = contents_of(self._task, self._learner, self._base, self._offsets)
        info = save_bundle(self._settings.artifacts, self._task, contents, self._key)
        # 2. The record, which puts it in service where it leads.
        roles = self._roles()
        role = role_of_next(self._task, roles, self._learner.leads)
        record = self._record(contents, info, role)
        self._publisher.publish("models", record.version, record.record())
        # 3. Those before it have nothing to do any more; below a champion that does not lead any
        # longer, what it was on top of answers again.
        mine = [r for r in roles.records.values() if r.continual and r.version != record.version]
        for next_ in followed(self._task, roles, role, self._learner.leads, now_ms()):
            self._publisher.publish("models", next_.version, next_.record())
        # 4. Their bundles go, but for the newest few.
        for old in sorted(mine, key=lambda one: one.changed_at)[:-KEPT]:
            with contextlib.suppress(BundleError):  # another's, or gone already
                remove_learned(folder_of(self._settings.artifacts, old.version), self._key)
        # 5. How far it has come, for whoever looks at the group's lag.
        with contextlib.suppress(KafkaError):
            consumer.commit(
                {
                    place: OffsetAndMetadata(offset, "", -1)
                    for place, offset in zip(self._places, self._offsets, strict=True)
                }
            )
        self._published = (self._learner.scores.outcomes, time.monotonic())
        self._base_published, self._state.version = self._base.id, record.version
        VERSIONS.labels(record.role).inc()
        log.info("version recorded", version=record.version, role=record.role, reason=record.reason)

    def _record(self, contents: Contents, info: BundleInfo, role: Role) -> ModelRecord:
        made = model_record(contents, info, role, reason(self._learner), BY_LEARNER)
        return replace(made, replaces=self._base.id)

    def _roles(self) -> Roles:
        self._roles_at = time.monotonic()
        roles: Roles = self._connected(lambda: read_roles(self._settings, self._task))
        return roles

    def _load(self, record: ModelRecord) -> Version:
        return load_bundle(
            folder_of(self._settings.artifacts, record.bundle), self._task, self._key
        )

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
