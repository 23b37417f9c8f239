"""The task's model versions, as the ``models`` topic tells them, without its file."""

from __future__ import annotations

from services.command.context import Context
from services.command.reading import partitions, read_all, reader
from streams.roles import ModelRecord, Roles, fold


def read_versions(context: Context) -> Roles:
    """All versions with their roles. CommandError where the topic cannot be read."""
    contract = context.contract
    topic = contract.topic("models")
    codec = contract.codec(topic.record, context.settings.home)
    name = topic.topic(contract.task)
    with reader(context.kafka) as consumer:
        records = list(read_all(consumer, name, partitions(consumer, name)))
    # null: a version that an operator deleted
    return fold(ModelRecord.of(codec.read(r.value)) for r in records if r.value is not None)
