"""How far each consumer group of a task is behind its topics."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    ConsumerGroupState,
    IsolationLevel,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from services.command.output import CommandError
from services.command.reading import read_from, reader
from services.deployment import answers
from services.groups import GroupOffsets, Place, places_of

TIMEOUT_S = 30
OPEN_S = 1.0
"""A transaction that is open for so long holds those up who read committed records."""
MOST_READ = 200
"""Longest gap, in offsets of a partition, that is read to see how many records are in it.

What a group that keeps up leaves behind is a few markers of transactions; a longer gap is mostly
records, and to read it would cost what the group itself has yet to do."""


@dataclass(frozen=True)
class Group:
    """A consumer group: what it has committed, by topic and partition, and how many are in it."""

    members: int
    committed: dict[Place, int]


def lags(kafka: Mapping[str, Any], task: str) -> dict[str, dict[str, Any]]:
    """By group: ``members`` now, and ``lag`` by short topic name (records not yet committed).

    ``at_most``: topics whose lag is a bound. Between the committed offset and the topic's end lie
    the markers of transactions as well; where the gap is short it is read and the records in it
    are counted, where it is long its length is told. Groups are those whose name begins with the
    task's. CommandError where no broker answers.
    """
    if not answers(kafka["bootstrap.servers"]):
        raise CommandError(f"no Kafka broker answers on {kafka['bootstrap.servers']}")
    client = AdminClient(dict(kafka))
    try:
        listed = client.list_consumer_groups(request_timeout=TIMEOUT_S).result().valid
        names = sorted(g.group_id for g in listed if g.group_id.startswith(f"{task}-"))
        places = places_of(client, task, TIMEOUT_S)
        groups = {name: _group(client, kafka, name, places) for name in names}
        ends = _ends(client, {place for group in groups.values() for place in group.committed})
    except KafkaException as error:
        raise CommandError(f"the broker does not tell: {error.args[0].str()}") from error
    starts = _short_gaps(groups, ends)
    offsets = _offsets(kafka, starts, ends) if starts else {}
    return {name: _lag(group, task, ends, offsets) for name, group in groups.items()}


def waiting(kafka: Mapping[str, Any], task: str) -> list[dict[str, Any]]:
    """Partitions whose committed records end at a transaction that stays open for a second.

    ``topic``, ``partition``, ``offset`` of its first record, and ``held``: how many offsets lie
    behind that, which nobody who reads committed records is given. CommandError as `lags`.
    """
    client = AdminClient(dict(kafka))
    try:
        places = set(places_of(client, task, TIMEOUT_S))
        stable = _ends(client, places)
        open_ = {
            place for place, end in _ends(client, places, False).items() if end > stable[place]
        }
        if open_:
            time.sleep(OPEN_S)  # Weir's own take milliseconds
        later, ends = _ends(client, open_), _ends(client, open_, committed=False)
    except KafkaException as error:
        raise CommandError(f"the broker does not tell: {error.args[0].str()}") from error
    return [
        {
            "topic": place[0],
            "partition": place[1],
            "offset": later[place],
            "held": ends[place] - later[place],
        }
        for place in sorted(open_)
        if later[place] == stable[place]
    ]


def _group(
    client: AdminClient, kafka: Mapping[str, Any], group: str, places: Sequence[Place]
) -> Group:
    described = client.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group].result()
    offsets = GroupOffsets(kafka, group)
    try:
        committed = offsets.committed(places, TIMEOUT_S)
    finally:
        offsets.close()
    members = 0 if described.state == ConsumerGroupState.EMPTY else len(described.members)
    return Group(members, committed)


def _ends(client: AdminClient, places: set[Place], committed: bool = True) -> dict[Place, int]:
    if not places:
        return {}
    level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    ends = client.list_offsets(
        {TopicPartition(*place): OffsetSpec.latest() for place in places},
        isolation_level=level,
        request_timeout=TIMEOUT_S,
    )
    return {(where.topic, where.partition): end.result().offset for where, end in ends.items()}


def _short_gaps(groups: Mapping[str, Group], ends: Mapping[Place, int]) -> dict[Place, int]:
    """Where to begin to read, for each partition of which some group is a little behind."""
    starts: dict[Place, int] = {}
    for group in groups.values():
        for place, done in group.committed.items():
            if 0 < ends[place] - done <= MOST_READ:
                starts[place] = min(done, starts.get(place, done))
    return starts


def _offsets(
    kafka: Mapping[str, Any], starts: Mapping[Place, int], ends: Mapping[Place, int]
) -> dict[Place, list[int]]:
    """Offsets of the committed records from each start to its partition's end."""
    found: dict[Place, list[int]] = {place: [] for place in starts}
    with reader(kafka) as consumer:
        for stored in read_from(consumer, starts, ends):
            found[stored.topic, stored.partition].append(stored.offset)
    return found


def _lag(
    group: Group, task: str, ends: Mapping[Place, int], offsets: Mapping[Place, list[int]]
) -> dict[str, Any]:
    lag: dict[str, int] = {}
    at_most: set[str] = set()
    for place, done in group.committed.items():
        short = place[0].removeprefix(f"{task}.")
        gap = max(0, ends[place] - done)
        if 0 < gap <= MOST_READ:
            gap = sum(done <= offset < ends[place] for offset in offsets[place])
        elif gap:
            at_most.add(short)
        lag[short] = lag.get(short, 0) + gap
    return {
        "members": group.members,
        "lag": dict(sorted(lag.items())),
        "at_most": sorted(at_most),
    }
