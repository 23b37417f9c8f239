"""The one table of topics: what each carries, how long, and how it is partitioned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

# The largest batch of records that producers may send, as the broker counts it (Kafka's usual
# limit). What Weir makes of such a record holds it whole, and its key, headers and reason besides:
# a limit four times as large leaves none of it without a place.
INPUT_MAX_BYTES = 1 << 20
OUTPUT_MAX_BYTES = 4 << 20

REROUTED = "weir-rerouted"
"""Header of a truth that Weir sent to its request's partition: the partition that it came from."""


@dataclass(frozen=True)
class Topic:
    """One kind of topic; a task has one of each, named ``<task>.<name>``.

    ``partitioned``: as many partitions as the task says (keyed by request id, so that topics
    about requests are co-partitioned), otherwise one. ``retention_ms``: None keeps for ever;
    ``"horizon"`` keeps twice the task's label horizon and a day at least, since joins restore
    their state from it. ``max_message_bytes``: the largest batch of records that it takes.
    ``compact_after_ms``: how long each record of a compacted topic is there to be read.
    ``segment_bytes``: how much of it is never compacted: the newest segment; 0: as the broker has
    it.
    """

    name: str
    record: str
    key: str
    partitioned: bool
    retention_ms: int | Literal["horizon"] | None
    cleanup: Literal["delete", "compact"]
    doc: str
    max_message_bytes: int = OUTPUT_MAX_BYTES
    compact_after_ms: int = 0
    segment_bytes: int = 0

    def topic(self, task: str) -> str:
        """The topic's name in Kafka."""
        return f"{task}.{self.name}"

    @property
    def table(self) -> str:
        """The name of its table in ClickHouse (in the task's database)."""
        return self.name.replace("-", "_")

    def config(self, horizon_ms: int) -> dict[str, str]:
        """Kafka's topic settings, for a task whose labels may come ``horizon_ms`` late."""
        config = {
            "cleanup.policy": self.cleanup,
            "message.timestamp.type": "CreateTime",
            "max.message.bytes": str(self.max_message_bytes),
        }
        if self.cleanup == "delete":
            kept = self.retention_ms
            if kept == "horizon":
                kept = max(2 * horizon_ms, DAY_MS)
            config["retention.ms"] = str(-1 if kept is None else kept)
        if self.compact_after_ms:
            config["min.compaction.lag.ms"] = str(self.compact_after_ms)
        if self.segment_bytes:
            config["segment.bytes"] = str(self.segment_bytes)
        return config


_WEEK = 7 * DAY_MS
_YEAR = 365 * DAY_MS

TOPICS: tuple[Topic, ...] = (
    Topic(
        "requests",
        "request",
        "request id",
        True,
        _WEEK,
        "delete",
        "inputs that ask for a prediction",
        INPUT_MAX_BYTES,
    ),
    Topic(
        "predictions", "prediction", "request id", True, "horizon", "delete", "one answer a request"
    ),
    Topic(
        "signals",
        "signal",
        "request id",
        True,
        "horizon",
        "delete",
        "implicit feedback of users",
        INPUT_MAX_BYTES,
    ),
    Topic(
        "truth",
        "truth",
        "request id",
        True,
        "horizon",
        "delete",
        "what really happened",
        INPUT_MAX_BYTES,
    ),
    Topic(
        "deferred",
        "deferred",
        "request id",
        True,
        "horizon",
        "delete",
        "inputs held back, for labellers",
    ),
    Topic(
        "shadows",
        "prediction",
        "request id",
        True,
        "horizon",
        "delete",
        "what versions in the role shadow would have answered",
    ),
    Topic(
        "outcomes",
        "outcome",
        "request id",
        True,
        "horizon",
        "delete",
        "predictions joined with truth",
    ),
    # The sums of the metrics are restored from it: for as long as a late truth may change a window.
    Topic(
        "tallies",
        "tally",
        "pane",
        False,
        5 * _WEEK,
        "delete",
        "internal: partial sums of the metrics",
    ),
    # Read once; where a worker's disk is lost, what drift is judged by begins anew with these.
    Topic(
        "profiles",
        "profile",
        "version",
        False,
        2 * DAY_MS,
        "delete",
        "internal: what each batch adds to the counts that drift is found in",
    ),
    Topic(
        "metrics", "metric", "window, version, segment", False, _YEAR, "delete", "metrics by window"
    ),
    # A source publishes each of its sums again before the key of the record that held it comes
    # again, so that compaction leaves all sums (`streams.windowed.ring`). One that follows sees
    # every record, as long as it is not an hour behind.
    Topic(
        "features",
        "feature_update",
        "definition, source, slot",
        False,
        None,
        "compact",
        "sums that windowed features are looked up in",
        compact_after_ms=HOUR_MS,
    ),
    Topic(
        "drifts",
        "drift",
        "version, subject",
        False,
        _YEAR,
        "delete",
        "statements that something changed",
    ),
    # Read once; where a worker's disk is lost, what is usual of each client is learned anew.
    Topic(
        "usage",
        "usage",
        "partition",
        False,
        2 * DAY_MS,
        "delete",
        "internal: requests by client and short time",
    ),
    Topic(
        "throttles",
        "throttle",
        "client",
        False,
        None,
        "compact",
        "clients whose requests are not answered as usual",
    ),
    Topic("retrain", "retrain", "event id", False, _YEAR, "delete", "requests to train"),
    # The last record is the state. Small segments, so that the others leave.
    Topic(
        "triggers",
        "trigger",
        "partition",
        False,
        None,
        "compact",
        "internal: the triggers' state",
        segment_bytes=16 << 20,
    ),
    Topic("models", "model", "version", False, None, "compact", "model versions and their roles"),
    # Read once; what is compared begins anew with an experiment.
    Topic(
        "comparisons",
        "comparison",
        "partition",
        False,
        2 * DAY_MS,
        "delete",
        "internal: what each batch adds to the sums by which versions are compared",
    ),
    # The last record is the state. Small segments, so that the others leave.
    Topic(
        "rollouts",
        "rollout",
        "partition",
        False,
        None,
        "compact",
        "internal: the rollout's state",
        segment_bytes=16 << 20,
    ),
    Topic(
        "decisions",
        "decision",
        "decision id",
        False,
        _YEAR,
        "delete",
        "why versions changed their roles",
    ),
    Topic(
        "alerts", "alert", "alert id", False, _YEAR, "delete", "things that a person should look at"
    ),
    Topic(
        "dead-letters",
        "dead_letter",
        "origin",
        False,
        _YEAR,
        "delete",
        "records set aside, with the reason",
    ),
)

BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
