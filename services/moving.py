"""Gives roles by hand: reads the topic, decides (`services.moves`), checks bundles, writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from kafka.errors import KafkaError

from services.moves import Act, Asked, decide, in_service
from services.registry import Publisher, RegistryError, read_roles
from streams.bundle import BundleError, folder_of, load_bundle
from streams.roles import ModelRecord
from streams.settings import Settings
from streams.task import Task


class Refused(RuntimeError):
    """A version cannot serve: its bundle is missing or refused. Nothing was written."""


class Publishes(Protocol):
    """Writes a record and returns when it is stored."""

    def publish(self, topic: str, key: str, record: Mapping[str, Any]) -> None:
        """See `services.registry.Publisher`."""


def move(
    settings: Settings, task: Task, publisher: Publishes, asked: Asked, act: Act
) -> Sequence[ModelRecord]:
    """Do what is asked, by the roles as they are now; returns the records that were written.

    Raises MoveError, Refused, and RegistryError where the broker does not answer. A crash after
    step 3 has changed nothing; the records of step 4 are in an order in which each leaves a
    champion.
    """
    # 1. The roles as they are. 2. The records.
    records = decide(read_roles(settings, task), asked, act)
    # 3. What is to serve can be loaded, by whom it will be loaded by: the same checks.
    for record in in_service(records):
        check(settings, task, record)
    # 4. Each acknowledged by all replicas before the next.
    for record in records:
        publisher.publish("models", record.version, record.record())
    return records


def check(settings: Settings, task: Task, record: ModelRecord) -> None:
    """Raise Refused where a worker would refuse the version's bundle."""
    key = settings.signing_key.get_secret_value().encode()
    try:
        folder = folder_of(settings.artifacts, record.bundle)
        version = load_bundle(folder, task, key)
    except (BundleError, ValueError) as error:
        raise Refused(f"{record.version} cannot serve: {error}. Nothing was changed.") from error
    if version.id != record.version:
        raise Refused(
            f"{record.version} cannot serve: the bundle {folder} is of {version.id}. Nothing was "
            "changed."
        )


def act_once(settings: Settings, task: Task, asked: Asked, act: Act) -> Sequence[ModelRecord]:
    """`move`, with a publisher of its own."""
    try:
        publisher = Publisher(settings, task)
    except KafkaError as error:
        raise RegistryError(
            f"the broker does not answer: {error}; is it running? `weir status` tells"
        ) from error
    try:
        return move(settings, task, publisher, asked, act)
    finally:
        publisher.close()
