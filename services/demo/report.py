"""What the demo did, counted from the topics themselves, and the wait until all of it is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import clickhouse_connect
import numpy as np
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.moments import moment
from schemas.topics import BY_NAME, TOPICS
from services.contract import Contract
from services.demo.ledger import Ledger
from streams.settings import Settings

MOST_DEADLINES = 10
"""A slow machine that goes on is waited for, but not for ever."""
LOOK_S = 0.2
"""Time between two looks while the system finishes."""

SETTLE_S = 3.0
"""Nothing is added to any topic for this long when the system has finished: windows that change
are told of once a second."""

EXAMPLES = 3
"""Ids named where something is missing."""

MEASURES = (
    "predictions",
    "deferred",
    "rejected",
    "outcomes",
    "scored",
    "share_deferred",
    "share_labelled",
    "base_rate",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "roc_auc",
    "log_loss",
    "brier",
    "calibration_error",
    "mae",
    "rmse",
    "r2",
)

Latency = Mapping[str, float | None]
Rows = Mapping[str, int]


def drain(
    ledger: Ledger,
    contract: Contract,
    sink_rows: Callable[[], Rows],
    *,
    deadline_s: float = 60.0,
    stop: threading.Event | None = None,
    on_wait: Callable[[list[str]], None] = lambda missing: None,
) -> list[str]:
    """Wait until every request has its prediction, every joinable truth its outcome, and
    ClickHouse every record, and nothing is added any more.

    sink_rows: rows in ClickHouse by short topic name. stop: ends the wait. on_wait: told at each
    look what is missing still. Returns what is missing, in words, when nothing has changed for
    ``deadline_s``, and after `MOST_DEADLINES` times that; empty where all is done.
    """
    stop = stop or threading.Event()
    began = quiet_since = changed_at = time.monotonic()
    before: list[str] = []
    while True:
        if ledger.advance():
            quiet_since = changed_at = time.monotonic()
        gaps = missing(ledger, contract, sink_rows())
        now = time.monotonic()
        if gaps != before:
            before, changed_at = gaps, now
        if not gaps and now - quiet_since >= SETTLE_S:
            return []
        over = now - changed_at >= deadline_s or now - began >= MOST_DEADLINES * deadline_s
        if over or stop.wait(LOOK_S):
            return gaps or ["records are still being added to the topics"]
        on_wait(gaps)


def missing(ledger: Ledger, contract: Contract, sink_rows: Rows) -> list[str]:
    """What is not done yet, each in words."""
    found = []
    accounts = ledger.accounts
    lost, unjoined = accounts.lost(), accounts.unjoined(contract.horizon_ms)
    for rows, what in ((lost, "requests have no prediction"), (unjoined, "truths have no outcome")):
        if len(rows):
            examples = ", ".join(accounts.ids(rows[:EXAMPLES]))
            found.append(f"{len(rows)} {what}, such as {examples}")
    for name, records in ledger.records.items():
        kept = sink_rows.get(name, 0)
        compacted = BY_NAME[name].cleanup == "compact"  # the topic forgets, the table does not
        if kept < records or (kept > records and not compacted):
            found.append(f"the table {BY_NAME[name].table} has {kept} rows for {records} records")
    return found


def report(
    ledger: Ledger, contract: Contract, latency_ms: Latency, sink_rows: Rows
) -> dict[str, Any]:
    """The final JSON of ``weir demo --json``, of all that the topics hold.

    lost: requests without a prediction. duplicates: predictions beyond one a request.
    unjoined: truths in time for their prediction that have no outcome. latency_ms: as measured
    by `Watch`. windows: latest revision of each window over all traffic, by version and role.
    """
    accounts = ledger.accounts
    asked = accounts["asked_at"][accounts["requests"] > 0]
    return {
        "requests": ledger.records["requests"],
        "predictions": ledger.records["predictions"],
        "rejected": int(accounts["rejected"].sum()),
        "deferred": int(accounts["deferred"].sum()),
        "truths": ledger.records["truth"],
        "outcomes": ledger.records["outcomes"],
        "lost": len(accounts.lost()),
        "duplicates": accounts.duplicates(),
        "unjoined": len(accounts.unjoined(contract.horizon_ms)),
        "latency_ms": dict(latency_ms),
        "sink_rows": {name: sink_rows.get(name, 0) for name in ledger.records},
        "topic_records": dict(ledger.records),
        "windows": windows(ledger),
        "event_time": {
            "from": _iso(int(asked.min())) if len(asked) else None,
            "to": _iso(int(asked.max())) if len(asked) else None,
        },
        "versions": [{"id": id_, "role": ledger.roles.role(id_)} for id_ in ledger.roles.records],
    }


def windows(ledger: Ledger) -> list[dict[str, Any]]:
    """Metric windows over all traffic, in order of window, start and version."""
    return [
        {
            "window": record["window"],
            "from": _iso(record["window_start"]),
            "to": _iso(record["window_end"]),
            "version": record["version"],
            "role": record["role"],
            "revision": record["revision"],
            "complete": record["complete"],
            **{name: _short(record[name]) for name in MEASURES if record[name] is not None},
        }
        for key, record in sorted(ledger.metrics.items())
        if record["segment"] == ""
    ]


class SinkRows:
    """Counts the rows of a task's tables in ClickHouse: call it."""

    def __init__(self, settings: Settings, task: str) -> None:
        self._settings = settings
        tables = " UNION ALL ".join(
            f"SELECT '{topic.name}' AS topic, count() AS rows FROM `{task}`.`{topic.table}`"
            for topic in TOPICS
        )
        # What a schema could not read has a table of its own.
        rest = f"SELECT _topic AS topic, count() AS rows FROM `{task}`.undecodable GROUP BY _topic"
        self._query = f"SELECT topic, sum(rows) FROM ({tables} UNION ALL {rest}) GROUP BY topic"
        self._client: Any = None

    def __call__(self) -> Rows:
        """Rows by short topic name; empty while ClickHouse does not answer or has no tables."""
        try:
            if self._client is None:
                self._client = clickhouse_connect.get_client(
                    **self._settings.clickhouse(), autogenerate_session_id=False, query_retries=0
                )
            return {name: int(rows) for name, rows in self._client.query(self._query).result_rows}
        except (ClickHouseError, OSError):
            self._client = None
            return {}


def _iso(ms: int) -> str:
    return moment(ms).isoformat().replace("+00:00", "Z")


def _short(value: Any) -> Any:
    return round(value, 5) if isinstance(value, float | np.floating) else value
