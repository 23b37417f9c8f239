"""The task's model versions, as the ``models`` topic tells them, without its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.command.context import Context
from services.command.output import note
from services.command.reading import partitions, read_all, readable, reader
from services.trainer.failures import Failure, standing_failure
from streams.roles import ModelRecord, Roles
from streams.unreadable import Unreadable


@dataclass(frozen=True)
class Told:
    """What the topic says: the roles, the records that say so (those that compaction has left,
    oldest first), and the offset up to which that holds."""

    roles: Roles
    records: Sequence[ModelRecord]
    as_of: int


def read_versions(context: Context) -> Roles:
    """All versions with their roles. CommandError where the topic cannot be read."""
    return read_topic(context).roles


def read_topic(context: Context) -> Told:
    """The whole topic. CommandError where it cannot be read."""
    contract = context.contract
    topic = contract.topic("models")
    codec = contract.codec(topic.record, context.settings.home)
    name = topic.topic(contract.task)
    with reader(context.kafka) as consumer:
        stored = list(read_all(consumer, name, partitions(consumer, name)))
    roles, acts, unreadable = Roles(), list[ModelRecord](), Unreadable(note)
    for each in stored:
        place = each.topic, each.partition, each.offset
        roles = unreadable.roles(roles, codec, each.key, each.value, place)
        if (record := unreadable.read(codec, each.value, place)) is not None:
            acts.append(ModelRecord.of(record))
    return Told(roles, acts, stored[-1].offset + 1 if stored else 0)


def read_failure(context: Context, roles: Roles) -> Failure | None:
    """The training that failed last, unless a version came after it. CommandError as above."""
    topic = context.contract.topic("retrain")
    codec = context.contract.codec(topic.record, context.settings.home)
    name = topic.topic(context.contract.task)
    with reader(context.kafka) as consumer:
        stored = list(read_all(consumer, name, partitions(consumer, name)))
    events = [(each.time, record) for each, record in readable(stored, codec)]
    return standing_failure(events, roles)
