"""Decisions and the roles that follow as Avro records, and sums as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from streams.roles import BY_ROLLOUT, ModelRecord
from streams.rollout.rollouts import Decision, Move
from streams.rollout.sums import About, Sums


def packed(sums: Sums) -> str:
    """Sums as a record of the topic ``comparisons`` has them."""
    return json.dumps([[*about, values] for about, values in sums.items()], separators=(",", ":"))


def unpacked(text: str) -> dict[str, Sums]:
    """What `packed` gave, by experiment. ValueError or TypeError where it is not that."""
    found: dict[str, Sums] = {}
    for *about, values in json.loads(text):
        one = About(*about)
        found.setdefault(one.experiment, {})[one] = [float(value) for value in values]
    return found


def model(known: ModelRecord, move: Move, decision: Decision, now_ms: int) -> dict[str, Any]:
    """A version's record in its new role."""
    record = replace(
        known,
        role=move.role,
        changed_at=now_ms,
        reason=decision.reason,
        changed_by=BY_ROLLOUT,
        share=move.share,
        experiment=move.experiment,
        decision=decision.id,
    )
    if move.replaces is not None:
        record = replace(record, replaces=move.replaces)
    return record.record()


def decision(made: Decision, strategy: str, policy: Mapping[str, Any], now_ms: int) -> Any:
    """A decision's record. policy: the task's, as facts."""
    found = made.estimate
    own = next((move for move in made.moves if move.version == made.version), None)
    if own is None and made.moves:
        own = made.moves[0]
    figures: dict[str, Any] = {}
    if found is not None:
        low = found.low > found.limit
        figures = {
            "statistic": f"difference of the {found.words}",
            "value": found.value,
            "low": found.low,
            "high": found.high,
            "bound": found.limit,
            "alpha": found.low_alpha if low else found.high_alpha,
            "outcomes": found.n,
            "segment": found.segment,
        }
        if found.what == "latency":
            figures["statistic"] = found.words
    evidence = {**made.evidence, "policy": dict(policy)}
    return {
        "decision_id": made.id,
        "decided_at": now_ms,
        "event_time": made.at,
        "action": made.action,
        "version": made.version,
        "from_role": own.before if own else "",
        "to_role": own.role if own else "",
        "share": own.share if own else 0.0,
        "moves": {move.version: move.words() for move in made.moves},
        "reason": made.reason,
        "rule": made.rule,
        "experiment": made.experiment,
        "strategy": strategy,
        "champion": made.champion,
        "changed_by": made.changed_by,
        "evidence": json.dumps(evidence, default=str),
        **figures,
    }
