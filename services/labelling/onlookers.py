"""What versions that only look on said of waiting inputs: the topic ``shadows``.

The table is made by the sink: until a sink of this version of Weir has started there is none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from clickhouse_connect.driver.client import Client

from schemas.topics import BY_NAME

LOOK = ("status", "answer", "probability", "probabilities")
"""What a version says of an input."""
TABLE = BY_NAME["shadows"].table
MOST = 50_000
"""Looks that are read at most: a few for each candidate."""


def looks(
    client: Client, ids: Collection[str], from_ms: int, chosen: str, given: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """What each version but the one that answered said, by request id.

    chosen: a query that gives the ids, with its parameters ``given``: they are too many to send.
    """
    if not ids or not client.query(f"EXISTS TABLE {TABLE}").result_rows[0][0]:
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
