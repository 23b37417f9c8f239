"""Triggers' inputs and decisions as Avro records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemas.codec import Codec
from streams.event_time import latest
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


def metrics(
    keys: Sequence[bytes | None], values: Sequence[bytes | None], codec: Codec, policies: Policies
) -> Inputs:
    """Metric records that triggers look at; the others are known by their keys and not read."""
    found = []
    for key, value in zip(keys, values, strict=True):
        parts = (key or b"").decode(errors="replace").split("|", 5)
        if value is None or len(parts) < 6 or not policies.wants(parts[0], parts[4], parts[5]):
            continue
        found.append(measured((key or b"").decode(), codec.read(value)))
    return Inputs(metrics=found)


def measured(id_: str, record: Mapping[str, Any]) -> Measured:
    """A metric record as triggers see it; event time before there was a watermark is a bound."""
    end, complete = record["window_end"], record["complete"]
    watermark = record.get("watermark")
    if watermark is None:
        watermark = end if complete else record["window_start"]
    return Measured(
        id=id_,
        window=record["window"],
        start=record["window_start"],
        end=end,
        version=record["version"],
        role=record["role"],
        segment=record["segment"],
        value=record["value"],
        revision=record["revision"],
        complete=complete,
        watermark=watermark,
        predictions=record["predictions"],
        rejected=record["rejected"],
        outcomes=record["outcomes"],
        scored=record["scored"],
        classes=record.get("classes") or {},
        figures={name: record[name] for name in FIGURES if record.get(name) is not None},
        trusted=record.get("estimate_trusted") is not False,
    )


def drifts(values: Iterable[bytes | None], codec: Codec) -> Inputs:
    """Drift records."""
    return Inputs(drifts=[_drift(codec.read(value)) for value in values if value is not None])


def _drift(record: Mapping[str, Any]) -> Drift:
    return Drift(
        id=record["drift_id"],
        kind=record["kind"],
        subject=record["subject"] or record["feature"] or "",
        version=record["version"],
        at=record["window_to"],
        hurts=record["hurts"],
        words=(record["effect"] or record["message"])[:MOST_WORDS],
    )


def models(values: Iterable[bytes | None], codec: Codec) -> Inputs:
    """Records of versions and their roles; null: a version that an operator deleted."""
    names = ("event_id", "version", "role", "metrics")
    read = [codec.read(value) for value in values if value is not None]
    return Inputs(answers=[Answer(*(record[name] for name in names)) for record in read])


def retrain(values: Iterable[bytes | None], codec: Codec) -> Inputs:
    """Retrain events, of others and of triggers."""
    names = ("event_id", "policy", "status", "event_time")
    read = [codec.read(value) for value in values if value is not None]
    return Inputs(asked=[Asked(*(record[name] for name in names)) for record in read])


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
