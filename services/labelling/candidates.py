"""What waits for a label, from ClickHouse: the database narrows down, Python ranks.

Of a million waiting inputs the database finds the few thousand that can matter, by a cheaper form
of their value, and those that chance has drawn. Waiting is what was predicted within the label
horizon and has no truth yet.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from clickhouse_connect.driver.client import Client

from schemas.columns import Column, Columns
from schemas.topics import BY_NAME
from services.contract import LABELLER, Contract
from services.labelling.narrowing import DRAW, narrowing
from services.labelling.onlookers import LOOK, any_looks, disputed, looks
from streams.bundle_folder import bundle_folder
from streams.labelling.policy import Labelling
from streams.labelling.value import Floats, disagreement, novelty, spread, uncertainty, value

AT_LEAST = 2_000
"""Candidates that are ranked, or three for each place of the budget where that is more."""
FEATURE = "features."

_PREDICTIONS, _TRUTH, _MODELS = (BY_NAME[n].table for n in ("predictions", "truth", "models"))

_WAITING = f"""
    event_time >= fromUnixTimestamp64Milli({{from:Int64}}) AND status != 'rejected'
    AND request_id NOT IN (
        SELECT request_id FROM {_TRUTH}
        WHERE known_at >= fromUnixTimestamp64Milli({{truths_from:Int64}})
    )
"""


@dataclass(frozen=True)
class Facts:
    """The queue in numbers. Times are event times in milliseconds.

    newest: how far event time has come; None before the first prediction. waiting, deferred:
    inputs without a label, and those of them that the gate held back. inputs: that came in the
    last period. labelled: people's answers of the running period, with the probability of each.
    version: the champion. profile: of its training data, empty where its bundle is not here.
    """

    newest: int | None = None
    waiting: int = 0
    deferred: int = 0
    inputs: int = 0
    labelled: Mapping[str, float | None] = field(default_factory=dict)
    version: str = ""
    profile: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Inputs to rank: rows as ClickHouse gave them, by column."""

    contract: Contract
    rows: Mapping[str, Sequence[Any]]
    others: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ids(self) -> Sequence[str]:
        """Their request ids."""
        return self.rows["request_id"]

    @property
    def draws(self) -> Floats:
        """Their numbers in the draw, (n,)."""
        return numbers(self.rows["draw"])

    def without(self, ids: Collection[str]) -> Candidates:
        """All but some."""
        kept = [row for row, id_ in enumerate(self.ids) if id_ not in ids]
        rows = {name: [values[row] for row in kept] for name, values in self.rows.items()}
        return Candidates(self.contract, rows, self.others)

    @property
    def names(self) -> list[str]:
        """The features' names."""
        return [one["name"] for one in self.contract.inputs]

    @cached_property
    def columns(self) -> Columns:
        """The features, by name."""
        return {
            one["name"]: _column(one["type"], self.rows[FEATURE + one["name"]])
            for one in self.contract.inputs
        }

    def features(self, row: int) -> dict[str, Any]:
        """The features of one, as they were received."""
        return {name: self.rows[FEATURE + name][row] for name in self.names}

    def value(self, policy: Labelling, profile: Mapping[str, Any]) -> Floats:
        """What a label of each is worth, (n,)."""
        kind = self.contract.kind
        return value(
            policy,
            uncertainty(
                kind,
                len(self.contract.classes),
                numbers(self.rows["probability"]),
                numbers(self.rows["gate_score"]),
            ),
            self._disagreement(profile),
            novelty(self.columns, self.names, profile),
        )

    def _disagreement(self, profile: Mapping[str, Any]) -> Floats:
        """Between the version that answered and those that looked on."""
        n = len(self)
        looks = [
            [{name: self.rows[name][row] for name in LOOK}, *self.others.get(id_, ())]
            for row, id_ in enumerate(self.ids)
        ]
        most = max(map(len, looks), default=0)
        if most < 2:
            return np.zeros(n)
        if self.contract.kind == "regression":
            answers = np.full((n, most), np.nan)
            for row, given in enumerate(looks):
                # A deferred input was answered by the fallback, which is no version's belief.
                answers[row, : len(given)] = [
                    one["answer"] if one["status"] == "answered" else np.nan for one in given
                ]
            return spread(answers, profile.get("target", {}).get("std", 0.0))
        k = len(self.contract.classes) or 2
        beliefs = np.full((n, most, k), np.nan)
        for row, given in enumerate(looks):
            for place, one in enumerate(given):
                if one["probabilities"]:
                    beliefs[row, place] = one["probabilities"]
                elif one["probability"] is not None and k == 2:
                    beliefs[row, place] = 1 - one["probability"], one["probability"]
        return disagreement(beliefs)


def facts(client: Client, contract: Contract, policy: Labelling, artifacts: Path) -> Facts:
    """The queue in numbers, now. Raises the driver's errors."""
    row = client.query(
        f"SELECT toUnixTimestamp64Milli(max(event_time)), count() FROM {_PREDICTIONS} "
        "WHERE status != 'rejected'"
    ).result_rows[0]
    if row[1] == 0:
        return Facts()
    newest = int(row[0])
    begins = newest // policy.per_ms * policy.per_ms
    since = min(newest - contract.horizon_ms, newest - policy.per_ms)
    counts = client.query(
        f"""
        SELECT countIf({_WAITING}), countIf({_WAITING} AND status = 'deferred'),
               countIf(event_time > fromUnixTimestamp64Milli({{period:Int64}}))
        FROM {_PREDICTIONS}
        WHERE event_time >= fromUnixTimestamp64Milli({{since:Int64}}) AND status != 'rejected'
        """,
        parameters={
            **window(contract, newest),
            "since": since,
            "period": newest - policy.per_ms,
        },
    ).result_rows[0]
    labelled = client.query(
        f"""
        SELECT request_id, argMax(selection_probability, known_at) FROM {_TRUTH}
        WHERE source = {{source:String}}
          AND known_at >= fromUnixTimestamp64Milli({{begins:Int64}})
          AND known_at < fromUnixTimestamp64Milli({{ends:Int64}})
        GROUP BY request_id
        """,
        parameters={"source": LABELLER, "begins": begins, "ends": begins + policy.per_ms},
    ).result_rows
    version, profile = _champion(client, artifacts)
    waiting, deferred, inputs = map(int, counts)
    return Facts(newest, waiting, deferred, inputs, dict(labelled), version, profile)


def window(contract: Contract, newest: int) -> dict[str, int]:
    """Bounds of what waits: event times of inputs, and of truths that can be about them."""
    begins = newest - contract.horizon_ms
    return {"from": begins, "truths_from": begins - contract.horizon_ms}


def candidates(
    client: Client, contract: Contract, policy: Labelling, known: Facts, rate: float
) -> Candidates:
    """The most promising of those that wait, those that chance draws at this rate, and those that
    versions are furthest apart about."""
    if known.newest is None:
        return Candidates(contract, {name: [] for name in _names(contract)})
    most = max(AT_LEAST, 3 * policy.budget)
    promise, given = narrowing(contract, policy, known.profile)
    given |= window(contract, known.newest)
    given |= {"seed": str(contract.labelling.get("seed", 0)), "rate": rate, "most": most}
    parts = [
        f"FROM {_PREDICTIONS} WHERE {_WAITING} "
        f"ORDER BY {promise} DESC, {DRAW} LIMIT {{most:UInt32}}",
        f"FROM {_PREDICTIONS} WHERE {_WAITING} AND {DRAW} < {{rate:Float64}} "
        f"ORDER BY {DRAW} LIMIT {{most:UInt32}}",
    ]
    observed = any_looks(client, given["from"])
    if observed:
        apart = disputed(contract.kind, _PREDICTIONS, _WAITING)
        parts.append(f"FROM {_PREDICTIONS} WHERE {_WAITING} AND request_id IN ({apart})")
    names = _names(contract)
    found: dict[str, tuple[Any, ...]] = {}
    others: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        answer = client.query(f"SELECT {_select(contract)} {part}", parameters=given)
        ids = {row[0] for row in answer.result_rows} - found.keys()
        for row in answer.result_rows:
            found.setdefault(row[0], row)
        if observed:
            others |= looks(client, ids, given["from"], f"SELECT request_id {part}", given)
    rows = {name: [row[i] for row in found.values()] for i, name in enumerate(names)}
    return Candidates(contract, rows, others)


def by_id(client: Client, contract: Contract, ids: Sequence[str]) -> Candidates:
    """Inputs by their request ids, whatever is known of them; those that are not there are
    left out."""
    names = _names(contract)
    found: dict[str, tuple[Any, ...]] = {}
    for start in range(0, len(ids), _IDS_AT_ONCE):
        answer = client.query(
            f"SELECT {_select(contract)} FROM {_PREDICTIONS} "
            "WHERE request_id IN {ids:Array(String)} AND status != 'rejected' "
            "ORDER BY _partition, _offset",
            parameters={
                "ids": list(ids[start : start + _IDS_AT_ONCE]),
                "seed": str(contract.labelling.get("seed", 0)),
            },
        )
        for row in answer.result_rows:
            found.setdefault(row[0], row)
    return Candidates(
        contract, {name: [row[i] for row in found.values()] for i, name in enumerate(names)}
    )


def with_truth(client: Client, ids: Sequence[str]) -> set[str]:
    """Those of some request ids that have a truth."""
    found: set[str] = set()
    for start in range(0, len(ids), _IDS_AT_ONCE):
        answer = client.query(
            f"SELECT DISTINCT request_id FROM {_TRUTH} WHERE request_id IN {{ids:Array(String)}}",
            parameters={"ids": list(ids[start : start + _IDS_AT_ONCE])},
        )
        found |= {id_ for (id_,) in answer.result_rows}
    return found


_IDS_AT_ONCE = 200
"""Ids travel in the question's URL, which may have 64 kB: an id has up to 128 bytes."""

_OWN = ("request_id", "event_ms", "status", "version", "answer", "probability", "probabilities")
_OWN_LAST = ("gate_score", "draw")


def _names(contract: Contract) -> list[str]:
    features = [FEATURE + one["name"] for one in contract.inputs]
    return [*_OWN, *_OWN_LAST, *features]


def _select(contract: Contract) -> str:
    own = ["toUnixTimestamp64Milli(event_time) AS event_ms" if n == "event_ms" else n for n in _OWN]
    features = [f"`{FEATURE}{one['name']}`" for one in contract.inputs]
    return ", ".join([*own, "gate_score", f"{DRAW} AS draw", *features])


def _champion(client: Client, artifacts: Path) -> tuple[str, Mapping[str, Any]]:
    """The version that answers and the profile of its training data, where its bundle is here.

    The profile only orders a queue: it is read as it lies there, without the signature's check.
    """
    rows = client.query(
        f"SELECT version, bundle FROM {_MODELS} WHERE role = 'champion' "
        "ORDER BY _offset DESC LIMIT 1"
    ).result_rows
    if not rows:
        return "", {}
    version, bundle = rows[0]
    try:
        text = (bundle_folder(artifacts, str(bundle)) / "profile.json").read_text("utf-8")
        profile = json.loads(text)
    except (OSError, ValueError):
        return str(version), {}
    return str(version), profile if isinstance(profile, dict) else {}


def numbers(values: Sequence[Any]) -> Floats:
    """Numbers with NaN for null."""
    return np.array([np.nan if v is None else v for v in values], np.float64)


def _column(avro: Any, values: Sequence[Any]) -> Column:
    valid = np.array([value is not None for value in values], bool)
    kind = next(t for t in avro if t != "null") if isinstance(avro, list) else avro
    if kind == "string":
        filled = np.array(["" if value is None else value for value in values], object)
        return Column(filled, valid)
    return Column(numbers(values), valid)
