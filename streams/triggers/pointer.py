"""Which outcomes an event is about: where their partitions end now, for those who read committed.

What is before the last stable offset is decided: no transaction adds to it or takes from it, so
offsets name the same records whenever they are read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

log = logging.getLogger(__name__)

TIMEOUT_S = 20.0
"""Longest wait for the broker: longer than its restart (about 5 s)."""
ANSWER_S = 5.0
RETRY_S = 0.2


def ends(
    client: Mapping[str, Any],
    topic: str,
    partitions: int,
    committed: bool = True,
    spec: OffsetSpec | None = None,
) -> list[int]:
    """The offset at which each partition of a topic ends.

    committed: as those see it who read committed records alone. spec: another place than the
    latest offset. Raises KafkaException where the broker does not answer within `TIMEOUT_S`.
    """
    where = [TopicPartition(topic, number) for number in range(partitions)]
    level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    admin = AdminClient({"log_level": 0, **client})
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            asked = admin.list_offsets(
                dict.fromkeys(where, spec or OffsetSpec.latest()),
                isolation_level=level,
                request_timeout=ANSWER_S,
            )
            return [asked[place].result().offset for place in where]
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise
            log.warning("the broker does not say where %s ends; again: %s", topic, error)
            time.sleep(RETRY_S)
