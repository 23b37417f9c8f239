"""What versions that only look on said of waiting inputs: the topic ``shadows``.

The table is made by the sink: until a sink of this version of Weir has started there is none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from clickhouse_connect.driver.client import Client

from schemas.records import Kind
from schemas.topics import BY_NAME

LOOK = ("status", "answer", "probability", "probabilities")
"""What a version says of an input."""
TABLE = BY_NAME["shadows"].table
MOST = 50_000
"""Looks that are read at most: a few for each candidate."""


def any_looks(client: Client, from_ms: int) -> bool:
    """Whether a version has looked on since an event time."""
    if not client.query(f"EXISTS TABLE {TABLE}").result_rows[0][0]:
        return False
    query = (
        f"SELECT 1 FROM {TABLE} WHERE event_time >= fromUnixTimestamp64Milli({{from:Int64}}) "
        "LIMIT 1"
    )
    return bool(client.query(query, parameters={"from": from_ms}).result_rows)


def disputed(kind: Kind, predictions: str, waiting: str) -> str:
    """A query for the ids of the waiting inputs about which an onlooker is furthest from the
    version that answered; ``waiting``: the condition on a prediction that waits.

    Parameters: those of the condition, ``from``, ``most``.
    """
    return f"""
        SELECT request_id FROM (
            SELECT request_id, answer, probability, probabilities FROM {predictions}
            WHERE {waiting} AND status = 'answered'
        ) AS mine INNER JOIN (
            SELECT request_id, answer, probability, probabilities FROM {TABLE}
            WHERE event_time >= fromUnixTimestamp64Milli({{from:Int64}}) AND status = 'answered'
        ) AS theirs USING (request_id)
        ORDER BY {_APART[kind]} DESC, request_id LIMIT {{most:UInt32}}
    """


_APART: dict[Kind, str] = {
    "binary": "abs(mine.probability - theirs.probability)",
    "multiclass": (
        "arraySum(arrayMap((x, y) -> abs(x - y),"
        " arrayResize(mine.probabilities, length(theirs.probabilities)), theirs.probabilities))"
    ),
    "regression": "abs(mine.answer - theirs.answer)",
}


def looks(
    client: Client, ids: Collection[str], from_ms: int, chosen: str, given: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """What each version but the one that answered said, by request id.

    chosen: a query that gives the ids, with its parameters ``given``: they are too many to send.
    """
    if not ids:
        return {}
    rows = client.query(
        f"""
        SELECT request_id, {", ".join(LOOK)} FROM {TABLE}
        WHERE event_time >= fromUnixTimestamp64Milli({{from:Int64}}) AND request_id IN ({chosen})
        LIMIT {MOST}
        """,
        parameters={**given, "from": from_ms},
    ).result_rows
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for id_, *said in rows:
        if id_ in ids:
            found[id_].append(dict(zip(LOOK, said, strict=True)))
    return dict(found)
