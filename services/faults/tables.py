"""What ClickHouse holds: which records, and the last word on every window."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from services.faults.running import Running
from services.verify.expectations import FIELDS
from services.verify.recount import COUNTS, KEY, QUALITY, Key, latest

Ints = npt.NDArray[np.int64]

_ROW = np.dtype([("partition", "<i4"), ("offset", "<i8")])
_TIMES = ("window_start", "window_end")
SINCE = "since"
"""A time that may be null."""
_WHOLE = (*_TIMES, "revision", *COUNTS)
_AS_IT_IS = ("complete", "share_deferred", "share_labelled", "classes", *QUALITY, *FIELDS)


def offsets(running: Running) -> dict[str, dict[int, Ints]]:
    """The origin of every row, by short topic name and partition; undecodable ones too."""
    task, found = running.contract.task, {}
    for _, topic in running.contract.topics():
        where = f"SELECT _partition, _offset FROM `{task}`.`{topic.table}`"
        bad = f"SELECT _partition, _offset FROM `{task}`.undecodable WHERE _topic = '{topic.name}'"
        raw = running.read(f"{where} UNION ALL {bad} FORMAT RowBinary")
        rows = np.frombuffer(raw, _ROW)
        found[topic.name] = {
            int(p): rows["offset"][rows["partition"] == p].astype(np.int64)
            for p in np.unique(rows["partition"])
        }
    return found


def metrics(running: Running) -> dict[Key, dict[str, Any]]:
    """The last revision of each metric record."""
    columns = [
        f"toUnixTimestamp64Milli(m.{name}) AS {name}" if name in (*_TIMES, SINCE) else name
        for name in dict.fromkeys((*KEY, *_WHOLE, SINCE, *_AS_IT_IS))
    ]
    query = (
        f"SELECT {', '.join(columns)} FROM `{running.contract.task}`.metrics AS m "
        "ORDER BY _offset FORMAT JSONEachRow"
    )
    raw = running.read(query)
    records: list[dict[str, Any]] = [json.loads(line) for line in raw.splitlines()]
    for record in records:
        # Whole numbers of 64 bits may come as text.
        record.update({name: int(record[name]) for name in _WHOLE})
        record["classes"] = {name: int(n) for name, n in record["classes"].items()}
        record[SINCE] = None if record[SINCE] is None else int(record[SINCE])
    return latest(iter(records))


def counts(running: Running) -> dict[str, int]:
    """Rows by short topic name; empty where ClickHouse does not answer."""
    task, parts = running.contract.task, []
    for _, topic in running.contract.topics():
        parts.append(f"SELECT '{topic.name}' AS t, count() AS n FROM `{task}`.`{topic.table}`")
    parts.append(f"SELECT _topic AS t, count() AS n FROM `{task}`.undecodable GROUP BY t")
    answer = running.sql(f"SELECT t, sum(n) FROM ({' UNION ALL '.join(parts)}) GROUP BY t")
    found: defaultdict[str, int] = defaultdict(int)
    for line in (answer or "").splitlines():
        name, n = line.split("\t")
        found[name] = int(n)
    return dict(found)
