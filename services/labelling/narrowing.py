"""The cheaper form of an input's value, in SQL: what the database narrows the queue down by.

It is the value of `streams.labelling.value` without what versions disagree about, by which
`services.labelling.onlookers` narrows down.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.contract import Contract
from streams.labelling.policy import Labelling
from streams.labelling.value import OUTER, RARE

DRAW = (
    "bitShiftRight(reinterpretAsUInt64(substring("
    "SHA256(concat({seed:String}, ':', request_id)), 1, 8)), 11) / 9007199254740992."
)
"""As `streams.labelling.ranking.draws`."""


def narrowing(
    contract: Contract, policy: Labelling, profile: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """An expression over a row of the predictions, and its parameters."""
    strange, given = _novelty(contract, profile)
    doubt = _uncertainty(contract)
    weights = {"w_uncertainty": policy.uncertainty, "w_novelty": policy.novelty}
    expression = f"({{w_uncertainty:Float64}} * ({doubt}) + {{w_novelty:Float64}} * ({strange}))"
    return expression, {**given, **weights}


def _uncertainty(contract: Contract) -> str:
    if contract.kind == "binary":
        by_model, guessing = "least(probability, 1 - probability)", 0.5
    elif contract.kind == "multiclass":
        by_model, guessing = "1 - probability", 1 - 1 / max(len(contract.classes), 2)
    else:
        by_model, guessing = "CAST(NULL AS Nullable(Float64))", 1.0
    nothing = 0.0 if contract.kind == "regression" else 1.0
    wrong = f"coalesce({by_model}, gate_score)"
    # Asked first: least passes over NULL, and would make a number of it.
    return f"if(isNull({wrong}), {nothing!r}, least({wrong} / {guessing!r}, 1))"


def _novelty(contract: Contract, profile: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    seen = profile.get("features", {})
    parts: list[str] = []
    given: dict[str, Any] = {}
    for place, one in enumerate(contract.inputs):
        if one["name"] not in seen:
            continue
        known, column = seen[one["name"]], f"`features.{one['name']}`"
        if "quantiles" in known:
            strange, bounds = _numbers(place, column, known["quantiles"])
        else:
            bounds = {f"c{place}": [n for n, share in known["shares"].items() if share >= RARE]}
            strange = f"if(has({{c{place}:Array(String)}}, {column}), 0, 1)"
        missing = 1 if known["missing"] < RARE else 0
        parts.append(f"if(isNull({column}), {missing}, {strange})")
        given |= bounds
    if not parts:
        return "0", {}
    return f"({' + '.join(parts)}) / {len(parts)}", given


def _numbers(place: int, column: str, quantiles: list[float]) -> tuple[str, dict[str, Any]]:
    if not quantiles:
        return "1", {}
    bounds = {
        f"q{place}_0": quantiles[0],
        f"q{place}_1": quantiles[1],
        f"q{place}_2": quantiles[-2],
        f"q{place}_3": quantiles[-1],
    }
    low, inner, outer, high = (f"{{{name}:Float64}}" for name in bounds)
    return (
        f"multiIf({column} < {low} OR {column} > {high}, 1, "
        f"{column} < {inner} OR {column} > {outer}, {OUTER!r}, 0)",
        bounds,
    )
