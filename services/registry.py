"""The registry of model versions: what the ``models`` topic says, and how to ask for a new one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import KafkaException
from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from schemas.codec import Codec
from schemas.topics import BY_NAME
from services.contract import Contract
from streams.codecs import codecs
from streams.roles import ModelRecord, Role, Roles
from streams.settings import Settings
from streams.task import Task
from streams.transport.batches import reader
from streams.triggers.pointer import ends
from streams.unreadable import Unreadable

log = structlog.get_logger("registry")

if TYPE_CHECKING:  # NumPy and scikit-learn: not for those who only read roles
    from streams.bundle import BundleInfo
    from streams.manifest import Contents

PUBLISH_TIMEOUT_S = 60.0
"""Longest wait for the broker to acknowledge a record: longer than an election of a leader."""
READ_TIMEOUT_S = 30.0
"""Longest time without progress while a topic is read to its end."""
_UNREADABLE = Unreadable(log.warning)
"""Of the process: the topic is read again and again."""


class RegistryError(RuntimeError):
    """The registry cannot be read or written; the message says what to do."""


class Publisher:
    """Writes control records (models, retrain, alerts) of one task, acknowledged by all replicas.

    The producer is idempotent: a retry inside it never doubles a record.
    """

    def __init__(self, settings: Settings, task: Task | Contract) -> None:
        self._task, self._codecs = _records(settings, task)
        self._producer = KafkaProducer(**settings.kafka_python(), acks="all", linger_ms=0)

    def publish(self, topic: str, key: str, record: Mapping[str, Any]) -> None:
        """Write one record and wait until it is stored. Raises RegistryError."""
        about = BY_NAME[topic]
        value = self._codecs(about.record).write(record)
        try:
            sent = self._producer.send(about.topic(self._task), value, key=key.encode())
            sent.get(timeout=PUBLISH_TIMEOUT_S)
        except Exception as error:
            raise RegistryError(
                f"the record {key} was not stored in {about.topic(self._task)}: {error!r}; "
                "is the broker running?"
            ) from error

    def close(self) -> None:
        """Let go of the connections."""
        self._producer.close(timeout=PUBLISH_TIMEOUT_S)


def read_roles(settings: Settings, task: Task | Contract) -> Roles:
    """All versions that are recorded now, with their roles. Raises RegistryError."""
    name, records = _records(settings, task)
    roles = Roles()
    topic, codec = BY_NAME["models"].topic(name), records("model")
    for record in _read_all(settings, topic):
        place = record.topic, record.partition, record.offset
        roles = _UNREADABLE.roles(roles, codec, record.key, record.value, place)
    return roles


def request_retrain(
    settings: Settings,
    task: Task | Contract,
    reason: str,
    requested_by: str,
    trigger: str = "manual",
    data_from: int | None = None,
    data_to: int | None = None,
    evidence: Mapping[str, str] | None = None,
    event_id: str | None = None,
) -> str:
    """Ask for a new version; returns the event's id, by which the registry will name it.

    event_id: for an occasion that has a name of its own: asked twice, it is trained for once.

    data_from, data_to: event times in milliseconds since 1970, from inclusive and to exclusive;
    None: no bound. The outcomes that are there now are trained on, told by their offsets. Raises
    RegistryError where the broker does not take it.
    """
    event_id = event_id or f"{trigger}-{uuid.uuid4()}"
    name = task.name if isinstance(task, Task) else task.task
    try:
        outcomes = ends(settings.librdkafka(), BY_NAME["outcomes"].topic(name), task.partitions)
        publisher = Publisher(settings, task)
    except (KafkaException, KafkaError) as error:
        raise RegistryError(
            f"the broker does not answer: {error}; is it running? `weir status` tells"
        ) from error
    try:
        publisher.publish(
            "retrain",
            event_id,
            {
                "event_id": event_id,
                "requested_at": now_ms(),
                "trigger": trigger,
                "reason": reason,
                "requested_by": requested_by,
                "data_from": data_from,
                "data_to": data_to,
                "evidence": dict(evidence or {}),
                "outcomes_from": [0] * len(outcomes),
                "outcomes_to": outcomes,
            },
        )
    finally:
        publisher.close()
    return event_id


def _records(settings: Settings, task: Task | Contract) -> tuple[str, Callable[[str], Codec]]:
    """A task's name, and its codecs by record."""
    if isinstance(task, Task):
        return task.name, codecs(task, settings.home).__getitem__
    return task.task, lambda record: task.codec(record, settings.home)


def model_record(
    contents: Contents, info: BundleInfo, role: Role, reason: str, changed_by: str
) -> ModelRecord:
    """The record that gives a version that was just saved its first role, now."""
    return ModelRecord(
        version=contents.id,
        role=role,
        changed_at=now_ms(),
        reason=reason,
        event_id=contents.event_id,
        bundle=info.folder.name,
        sha256=info.sha256,
        dataset_id=contents.dataset["id"],
        rows=contents.dataset["rows"],
        data_from=contents.dataset["from"],
        data_to=contents.dataset["to"],
        metrics={name: float(value) for name, value in contents.metrics.items()},
        changed_by=changed_by,
    )


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def _read_all(settings: Settings, topic: str) -> Iterator[Any]:
    """Every record of the topic's only partition, up to where it ends now."""
    consumer = reader(
        **settings.kafka_python(),
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        end = consumer.end_offsets([partition])[partition]
        consumer.seek_to_beginning(partition)
        moved_at = time.monotonic()
        while consumer.position(partition) < end:
            before = consumer.position(partition)
            for records in consumer.poll(timeout_ms=500).values():
                yield from records
            if consumer.position(partition) > before:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > READ_TIMEOUT_S:
                raise RegistryError(f"{topic} could not be read to its end; is the broker running?")
    finally:
        consumer.close()
