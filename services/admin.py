"""Creates a task's topics from the table, and says where existing ones differ from it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicMetadata,
)

from services.contract import Contract

TIMEOUT_S = 30
"""Longest wait for the broker's answer: creating all topics takes a second or two."""


class AdminError(RuntimeError):
    """The topics cannot be as the task needs them; the message says what to do."""


@dataclass(frozen=True)
class Difference:
    """A setting of an existing topic that is not what the table says."""

    topic: str
    setting: str
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.found}, the table says {self.wanted}"


@dataclass(frozen=True)
class Report:
    """What ``create_topics`` found and did; names are full topic names."""

    created: list[str] = field(default_factory=list)
    existing: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)


def create_topics(contract: Contract, librdkafka: Mapping[str, Any]) -> Report:
    """Create the topics that are missing, with their partitions and policies; check the others.

    Settings that differ are reported and left alone: an operator may have meant them. Raises
    AdminError where a topic has another number of partitions than the task says (the keys of
    one request would lie in different partitions, and nothing would join), or where the broker
    refuses to create one.
    """
    client = AdminClient({"log_level": 0, **librdkafka})
    existing = client.list_topics(timeout=TIMEOUT_S).topics
    missing = [
        NewTopic(
            name,
            num_partitions=contract.partitions_of(topic),
            replication_factor=-1,  # the cluster's own default
            config=topic.config(contract.horizon_ms),
        )
        for name, topic in contract.topics()
        if name not in existing
    ]
    created = list(_create(client, missing)) if missing else []
    existing = _await_topics(client, [name for name, _ in contract.topics()])
    _await_leaders(client, {name: existing[name] for name in created})
    _check_partitions(contract, {name: len(topic.partitions) for name, topic in existing.items()})
    there = [name for name in existing if name not in created]
    return Report(created, there, list(_differences(client, contract, there)))


def _create(client: AdminClient, topics: list[NewTopic]) -> Iterator[str]:
    refused = []
    for name, done in client.create_topics(topics, operation_timeout=TIMEOUT_S).items():
        try:
            done.result(timeout=TIMEOUT_S)
            yield name
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                refused.append(f"- {name}: {error.args[0].str()}")
    if refused:
        raise AdminError("the broker did not create these topics:\n" + "\n".join(refused))


def _await_topics(client: AdminClient, names: Sequence[str]) -> dict[str, TopicMetadata]:
    """The topics, once the broker knows all of them with a leader for each partition.

    A broker answers that a topic is created before it tells clients of it: whoever subscribed
    now might not see it, and Faust silently consumes nothing from a topic that is not there.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        known = client.list_topics(timeout=TIMEOUT_S).topics
        there = {name: known[name] for name in names if name in known and not known[name].error}
        led = all(p.leader >= 0 for topic in there.values() for p in topic.partitions.values())
        if led and len(there) == len(names):
            return there
        if time.monotonic() > deadline:
            missing = ", ".join(name for name in names if name not in there) or "leaders"
            raise AdminError(f"after {TIMEOUT_S} s the broker still does not serve: {missing}")


def _await_leaders(client: AdminClient, topics: Mapping[str, TopicMetadata]) -> None:
    """Return when each partition answers: the first question to a new one may still be refused,
    as the broker tells of its leader before that has taken the partition over."""
    deadline = time.monotonic() + TIMEOUT_S
    open_ = [TopicPartition(name, p) for name, topic in topics.items() for p in topic.partitions]
    while open_:
        asked = dict.fromkeys(open_, OffsetSpec.latest())
        answers = client.list_offsets(asked, request_timeout=TIMEOUT_S)
        open_ = [where for where, answer in answers.items() if answer.exception() is not None]
        if open_ and time.monotonic() > deadline:
            where = ", ".join(f"{one.topic} [{one.partition}]" for one in open_)
            raise AdminError(f"after {TIMEOUT_S} s the broker still does not serve: {where}")


def _check_partitions(contract: Contract, found: Mapping[str, int]) -> None:
    wrong = [
        f"- {name} has {found[name]}, the task says {contract.partitions_of(topic)}"
        for name, topic in contract.topics()
        if name in found and found[name] != contract.partitions_of(topic)
    ]
    if wrong:
        raise AdminError(
            f"topics of {contract.task} have another number of partitions than the task, and "
            "records of one request would not meet:\n" + "\n".join(wrong) + "\nSet the task's "
            "partitions to what the topics have, or give the task another name."
        )


def _differences(client: AdminClient, contract: Contract, there: list[str]) -> Iterator[Difference]:
    if not there:
        return
    wanted = {name: topic.config(contract.horizon_ms) for name, topic in contract.topics()}
    answers: dict[ConfigResource, Future[dict[str, Any]]] = client.describe_configs(
        [ConfigResource(ResourceType.TOPIC, name) for name in there]
    )
    for resource, answer in answers.items():
        found = answer.result(timeout=TIMEOUT_S)
        for setting, value in wanted[resource.name].items():
            if found[setting].value != value:
                yield Difference(resource.name, setting, value, found[setting].value)
