"""The past from ClickHouse, as its read-only user, asked once for all browsers.

What nobody asks for is not queried. While ClickHouse is down the caller is told, and no more
than one question every few seconds finds out whether it is back.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import clickhouse_connect
import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from services.console import queries
from services.console.metrics import QUERIES, QUERY_SECONDS
from services.contract import Contract
from services.drifts import about, bars, verdict

log = structlog.get_logger("console.history")

FRESH_S = 1.0
"""Answers are given again for this long, whoever asks."""
FRESH_WHOLE_S = 10.0
"""Answers that take a look at a whole table, and seldom change, are kept for longer."""
FAILURE_S = 2.0
"""So are failures: a page that retries is no reason to knock at a closed door."""
TIMEOUT_S = 15
TEXT_MAX = 128
KEPT = 256
"""Different answers kept at most; each is a few kilobytes."""


class HistoryError(RuntimeError):
    """ClickHouse does not answer or refused; the message is for the page."""


class History:
    """Asks ClickHouse for one task's past; `clickhouse` is what get_client takes."""

    def __init__(self, clickhouse: Mapping[str, Any], contract: Contract) -> None:
        self._where = dict(clickhouse)
        self._contract = contract
        self._client: Client | None = None
        self._connecting = threading.Lock()
        self._answers: dict[tuple[str, ...], tuple[float, asyncio.Task[bytes]]] = {}
        self._failure = ""

    def state(self) -> dict[str, Any]:
        """Whether the last question was answered, for the page's head."""
        return {"ok": not self._failure, "message": self._failure}

    async def windows(self, window: str, segment: str, value: str) -> bytes:
        """JSON: the newest revision of every window of a kind, the newest windows first."""
        if window not in self._contract.windows:
            raise HistoryError(f"the task has no window {window!r}: {self._contract.windows}")
        if max(len(segment), len(value)) > TEXT_MAX:
            raise HistoryError(f"a segment's name has at most {TEXT_MAX} characters")

        def ask() -> Any:
            asked = {"window": window, "segment": segment, "value": value}
            return {**asked, "rows": self._rows("windows", queries.WINDOWS, asked)}

        return await self._cached(("windows", window, segment, value), FRESH_S, ask)

    async def beside(self, window: str) -> bytes:
        """JSON: shadow versions beside those that answered, on the same requests, by window.

        Empty where no version is a shadow, and for windows of the last N outcomes.
        """
        if window not in self._contract.windows:
            raise HistoryError(f"the task has no window {window!r}: {self._contract.windows}")
        spans = [_ms(span) for span in window.split("_")[1:]] if "last" not in window else []

        def ask() -> Any:
            rows = []
            if spans:
                asked = {"length": spans[0], "every": spans[-1]}
                rows = self._rows("beside", queries.beside(self._contract.kind), asked)
            return {"window": window, "rows": rows}

        return await self._cached(("beside", window), FRESH_WHOLE_S, ask)

    async def took_over(self) -> bytes:
        """JSON: the versions that have been champion, with the event time from which on."""
        return await self._cached(
            ("took_over",), FRESH_WHOLE_S, lambda: self._rows("took_over", queries.TOOK_OVER, {})
        )

    async def segments(self) -> bytes:
        """JSON: the segments that have metrics, as `{feature: [value, …]}`."""

        def ask() -> Any:
            rows = self._rows("segments", queries.SEGMENTS, {})
            return {row["segment"]: row["values"] for row in rows}

        return await self._cached(("segments",), FRESH_WHOLE_S, ask)

    async def system(self) -> bytes:
        """JSON: what each process did and cost in the last half hour."""
        return await self._cached(
            ("system",), FRESH_WHOLE_S, lambda: self._rows("system", queries.SYSTEM, {})
        )

    async def drifts(self) -> bytes:
        """JSON: the newest drifts, the newest first, each with what it is about in words."""

        def ask() -> Any:
            return [_told(row) for row in self._rows("drifts", queries.DRIFTS, {})]

        return await self._cached(("drifts",), FRESH_S, ask)

    async def drift(self, id_: str) -> bytes:
        """JSON: one drift with the bins of both distributions; null where there is none."""
        if len(id_) > TEXT_MAX:
            raise HistoryError(f"a drift's id has at most {TEXT_MAX} characters")

        def ask() -> Any:
            for row in self._rows("drift", queries.DRIFT, {"id": id_}):
                return _told(row) | {"bars": [asdict(bar) for bar in bars(row.pop("evidence"))]}
            return None

        return await self._cached(("drift", id_), FRESH_S, ask)

    async def decisions(self) -> bytes:
        """JSON: the newest decisions about roles, the newest first."""
        return await self._cached(
            ("decisions",), FRESH_S, lambda: self._rows("decisions", queries.DECISIONS, {})
        )

    async def past(self, before_s: int, seconds: int) -> dict[str, list[Any]]:
        """The live charts' columns for the time before the console ran; empty if not known."""

        def ask() -> Any:
            parameters = {"from": before_s - seconds, "to": before_s}
            rows = self._rows("past", queries.PAST, parameters)
            return {name: [row[name] for row in rows] for name in queries.PAST_COLUMNS}

        try:
            answer = await self._cached(("past", str(before_s)), 3600.0, ask)
        except HistoryError:
            return {name: [] for name in queries.PAST_COLUMNS}
        columns: dict[str, list[Any]] = json.loads(answer)
        return columns

    def close(self) -> None:
        """Let the connection go."""
        if self._client is not None:
            self._client.close()

    async def _cached(self, key: tuple[str, ...], fresh_s: float, ask: Callable[[], Any]) -> bytes:
        """The kept answer while it is fresh; else one question, whose answer all get."""
        now = time.monotonic()
        until, answer = self._answers.get(key, (0.0, None))
        if answer is None or (now >= until and answer.done()):
            for old in [k for k, (end, task) in self._answers.items() if now > end and task.done()]:
                del self._answers[old]
            if len(self._answers) >= KEPT:
                raise HistoryError("too many different questions at once; try again")
            answer = asyncio.create_task(self._ask(key, fresh_s, ask))
            self._answers[key] = (now + TIMEOUT_S, answer)
            # Nobody may be left to hear of a failure.
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Shielded: one page that goes away must not take the answer from the others.
        return await asyncio.shield(answer)

    async def _ask(self, key: tuple[str, ...], fresh_s: float, ask: Callable[[], Any]) -> bytes:
        kept_s = FAILURE_S
        try:
            answer = json.dumps(await asyncio.to_thread(ask), separators=(",", ":")).encode()
            kept_s = fresh_s
            return answer
        finally:
            _, task = self._answers[key]
            self._answers[key] = (time.monotonic() + kept_s, task)

    def _rows(self, view: str, statement: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        try:
            with QUERY_SECONDS.labels(view).time():
                answer = self._connected().query(statement, parameters=parameters)
        except (ClickHouseError, OSError) as error:
            QUERIES.labels(view, "failed").inc()
            self._fail(error)
            if _is_missing(error):
                return []
            raise HistoryError(self._failure) from error
        QUERIES.labels(view, "ok").inc()
        self._failure = ""
        return [
            {name: _jsonable(value) for name, value in row.items()}
            for row in answer.named_results()
        ]

    def _connected(self) -> Client:
        with self._connecting:
            if self._client is None:
                self._client = clickhouse_connect.get_client(
                    **self._where,
                    database=self._contract.task,
                    # Without sessions, several threads may ask at the same time.
                    autogenerate_session_id=False,
                    connect_timeout=3,
                    send_receive_timeout=TIMEOUT_S,
                    query_retries=0,
                )
            return self._client

    def _fail(self, error: Exception) -> None:
        text = str(error).strip().splitlines()
        if _is_missing(error):
            self._failure = ""
        else:
            where = f"{self._where.get('host')}:{self._where.get('port')}"
            self._failure = f"ClickHouse ({where}) does not answer: {text[0] if text else error!r}"
        log.info("ClickHouse did not answer", error=text[:1])


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name != "evidence"}
    return kept | {"about": about(row), "verdict": verdict(row)}


def _is_missing(error: Exception) -> bool:
    """Whether only the tables are not made yet: the sink makes them as it starts."""
    return any(code in str(error) for code in ("UNKNOWN_TABLE", "UNKNOWN_DATABASE"))


def _ms(span: str) -> int:
    """Milliseconds of a span in a window's name: ``7d``, ``12h``, ``5min``, ``30s``."""
    number, unit = re.fullmatch(r"(\d+)([a-z]+)", span).groups()  # type: ignore[union-attr]
    return int(number) * {"d": 86_400, "h": 3_600, "min": 60, "s": 1}[unit] * 1000


def _jsonable(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
