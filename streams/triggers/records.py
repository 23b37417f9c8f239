"""Triggers' inputs and decisions as Avro records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.codec import Codec
from streams.event_time import checked, latest
from streams.triggers.decided import Refusal, Retrain
from streams.triggers.declare import BOUNDED, ESTIMATED, UNBOUNDED
from streams.triggers.inputs import Answer, Asked, Drift, Inputs, Measured
from streams.triggers.policies import Decided, Policies

BY = "triggers"
"""Who asks, in the events of triggers."""
MOST_WORDS = 300
"""Characters of what a drift says that are kept in the state."""
_ENDS = ("", "_low", "_high")
FIGURES = (
    *(f"{name}{end}" for name in BOUNDED for end in _ENDS),
    *UNBOUNDED,
    *(f"estimated_{name}{end}" for name in ESTIMATED for end in _ENDS),
)


One = Measured | Drift | Answer | Asked


def read(
    topic: str, key: bytes | None, value: bytes | None, codec: Codec, policies: Policies
) -> One | None:
    """What a record of a topic tells triggers; None where it tells them nothing.

    topic: without the task's name. A null stands for a version that an operator deleted, or a
    window that compaction let go of. ValueError where the record is not Weir's.
    """
    if value is None:
        return None
    match topic:
        case "metrics":  # the others are known by their keys and not read
            id_ = (key or b"").decode(errors="replace")
            parts = id_.split("|", 5)
            if len(parts) < 6 or not policies.wants(parts[0], parts[4], parts[5]):
                return None
            return measured(id_, codec.read(value))
        case "drifts":
            return _drift(codec.read(value))
        case "models":
            return _answer(codec.read(value))
    return _asked(codec.read(value))


def inputs(found: Sequence[One]) -> Inputs:
    """What the records of a batch tell."""
    return Inputs(
        [one for one in found if isinstance(one, Measured)],
        [one for one in found if isinstance(one, Drift)],
        [one for one in found if isinstance(one, Answer)],
        [one for one in found if isinstance(one, Asked)],
    )


def measured(id_: str, record: Mapping[str, Any]) -> Measured:
    """A metric record as triggers see it; event time before there was a watermark is a bound."""
    start, end = checked(record["window_start"]), checked(record["window_end"])
    complete, watermark = record["complete"], record.get("watermark")
    if watermark is None:
        watermark = end if complete else start
    return Measured(
        id=id_,
        window=record["window"],
        start=start,
        end=end,
        version=record["version"],
        role=record["role"],
        segment=record["segment"],
        value=record["value"],
        revision=record["revision"],
        complete=complete,
        watermark=checked(watermark),
        predictions=record["predictions"],
        rejected=record["rejected"],
        outcomes=record["outcomes"],
        scored=record["scored"],
        classes=record.get("classes") or {},
        figures={name: record[name] for name in FIGURES if record.get(name) is not None},
        trusted=record.get("estimate_trusted") is not False,
    )


def _drift(record: Mapping[str, Any]) -> Drift | None:
    """None of one without an event time: triggers know no other."""
    if record["since"] is None and record["window_from"] == record["window_to"]:
        return None  # both are when it was stored
    return Drift(
        id=record["drift_id"],
        kind=record["kind"],
        subject=record["subject"] or record["feature"] or "",
        version=record["version"],
        at=checked(record["window_to"]),
        hurts=record["hurts"],
        words=(record["effect"] or record["message"])[:MOST_WORDS],
    )


def _answer(record: Mapping[str, Any]) -> Answer:
    return Answer(record["event_id"], record["version"], record["role"], record["metrics"])


def _asked(record: Mapping[str, Any]) -> Asked:
    at = record["event_time"]
    return Asked(
        record["event_id"],
        record["policy"],
        record["status"],
        None if at is None else checked(at),
    )


def time_of(inputs: Inputs) -> int | None:
    """How far event time has come, as inputs tell; None where they do not."""
    return latest(*(m.watermark for m in inputs.metrics), *(drift.at for drift in inputs.drifts))


def record(decided: Decided, now_ms: int, ends: Sequence[int]) -> dict[str, Any]:
    """What triggers decide, as a retrain record.

    now_ms: the worker's clock. ends: of an event, by partition of the outcomes the offset before
    which they are trained on.
    """
    said = {
        "event_id": decided.event_id,
        "requested_at": now_ms,
        "trigger": decided.trigger,
        "reason": decided.reason,
        "requested_by": BY,
        "evidence": decided.evidence,
        "policy": decided.policy,
        "episode": decided.episode,
        "champion": decided.champion,
        "event_time": decided.at,
        "evidence_ids": list(decided.ids),
    }
    match decided:
        case Refusal():
            return {**said, "status": "refused", "why": decided.why}
        case Retrain():
            return {
                **said,
                "data_from": decided.data_from,
                "data_to": decided.data_to,
                "outcomes_from": [0] * len(ends),
                "outcomes_to": list(ends),
            }
