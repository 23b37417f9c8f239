"""How far each consumer group of a task is behind its topics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from services.command.output import CommandError
from services.deployment import answers

TIMEOUT_S = 10


def lags(kafka: Mapping[str, Any], task: str) -> dict[str, dict[str, Any]]:
    """By group: ``members`` now, and ``lag`` by short topic name (records not yet committed).

    Offsets that transactions' markers take count too, so a group that has read everything may
    seem a few behind. Groups are those whose name begins with the task's. CommandError where no
    broker answers.
    """
    if not answers(kafka["bootstrap.servers"]):
        raise CommandError(f"no Kafka broker answers on {kafka['bootstrap.servers']}")
    client = AdminClient(dict(kafka))
    try:
        listed = client.list_consumer_groups(request_timeout=TIMEOUT_S).result().valid
        groups = [g.group_id for g in listed if g.group_id.startswith(f"{task}-")]
        return {group: _group(client, group, task) for group in sorted(groups)}
    except KafkaException as error:
        raise CommandError(f"the broker does not tell: {error.args[0].str()}") from error


def _group(client: AdminClient, group: str, task: str) -> dict[str, Any]:
    described = client.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group].result()
    answer = client.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group)], request_timeout=TIMEOUT_S
    )
    committed = {
        (o.topic, o.partition): o.offset for o in answer[group].result().topic_partitions or []
    }
    ends = client.list_offsets(
        {TopicPartition(*where): OffsetSpec.latest() for where in committed},
        isolation_level=IsolationLevel.READ_COMMITTED,
        request_timeout=TIMEOUT_S,
    )
    lag: dict[str, int] = {}
    for where, end in ends.items():
        behind = end.result().offset - max(0, committed[where.topic, where.partition])
        short = where.topic.removeprefix(f"{task}.")
        lag[short] = lag.get(short, 0) + max(0, behind)
    members = 0 if described.state == ConsumerGroupState.EMPTY else len(described.members)
    return {"members": members, "lag": dict(sorted(lag.items()))}
