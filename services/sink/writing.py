"""Inserts into one table: each row once, however often an insert is tried."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

import stamina
import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from services.sink import metrics
from services.sink.ownership import TakenOver, comment, is_taken_over, settle
from services.sink.rows import Rows, stream, with_constant
from services.sink.tables import UNDECODABLE, quote

log = structlog.get_logger("sink")

# Longest pause between two tries, in seconds: how late the sink notices that the store is back,
# and that it is told to stop.
_WAIT_MAX_S = 2.0
# READONLY, too many queries, stopping, out of memory, disk full, wrong password: not for ever.
_AWAY = frozenset({164, 202, 236, 241, 243, 497, 516})
# A damaged part (checksums, no data, unknown codec, cut off): the store starts again without it.
_DAMAGED = frozenset({33, 40, 246, 271, 432})
_NO_TOPIC = "''"
_TOPIC_OF = {UNDECODABLE: "_topic"}
_GONE = {60: "UNKNOWN_TABLE", 81: "UNKNOWN_DATABASE", 16: "NO_SUCH_COLUMN_IN_TABLE"}


Positions = dict[str, dict[int, int]]
"""Highest offset by topic and partition; a topic's own table has one topic, named ''."""


class Stopped(Exception):
    """The sink was told to stop while the store did not take its rows."""


class TableGone(RuntimeError):
    """The table, or a column of it, is not there any more: start again to make it."""


def is_away(error: BaseException) -> bool:
    """Whether an error of ClickHouse says that it is not there, stops, or does not let us in:
    what may be over in a while."""
    code = getattr(error, "code", None)
    return code is None or code in _AWAY or code in _DAMAGED


class Health:
    """Since when the store has refused, for the health page."""

    def __init__(self) -> None:
        self.failing_since: float | None = None
        self.error = ""

    def failed(self, error: BaseException) -> None:
        """A try failed."""
        self.error = f"{type(error).__name__}: {error}"[:500]
        if self.failing_since is None:
            self.failing_since = time.monotonic()

    def worked(self) -> None:
        """A try worked."""
        self.failing_since = None


def highest(client: Client, database: str, tables: Sequence[str]) -> dict[str, Positions]:
    """What the tables hold: the highest offset of each partition, by table."""
    query = " UNION ALL ".join(
        f"SELECT '{table}' AS name, {_TOPIC_OF.get(table, _NO_TOPIC)} AS topic, "
        f"_partition, max(_offset) FROM {quote(database)}.{quote(table)} GROUP BY ALL"
        for table in tables
    )
    held: dict[str, Positions] = {table: {} for table in tables}
    for table, topic, partition, offset in client.query(query).result_rows:
        held[table].setdefault(topic, {})[partition] = offset
    return held


class TableWriter:
    """Writes into one table, and knows up to which offset it holds each partition."""

    def __init__(
        self,
        client: Client,
        database: str,
        table: str,
        sink: int,
        health: Health,
        stopping: Callable[[], bool],
        positions: Positions,
    ) -> None:
        self.table = table
        self._client = client
        self._database = database
        self._sink = sink
        self._health = health
        self._stopping = stopping
        self._positions = positions
        self._inserts = 0

    def positions(self, topic: str) -> dict[int, int]:
        """The highest offset that the table holds of each partition of ``topic``."""
        return self._positions.setdefault(topic if self.table == UNDECODABLE else "", {})

    def write(self, rows: Rows) -> int:
        """Insert what the table does not hold yet; returns how many rows that were.

        Waits and tries again for as long as the store is away or refuses. Raises TakenOver,
        TableGone, or Stopped (then it is not known whether the rows are there; the next start
        asks the table).
        """
        fresh = rows.after(self.positions(rows.topic))
        if not fresh:
            return 0
        self._inserts += 1
        written = 0
        for attempt in stamina.retry_context(
            on=self._worth_another_try,
            attempts=None,
            timeout=None,
            wait_initial=0.1,
            wait_max=_WAIT_MAX_S,
        ):
            with attempt, self._judged():
                if attempt.num > 1:
                    if self._stopping():
                        raise Stopped
                    # 1. Whatever became of the try before, it is over. 2. What it did is seen.
                    # 3. Only what is missing is sent again.
                    settle(self._client, self._database)
                    held = highest(self._client, self._database, [self.table])
                    self._positions = held[self.table]
                    fresh = rows.after(self.positions(rows.topic))
                if fresh:
                    self._insert(fresh, attempt.num)
                    written += len(fresh)
        self.positions(rows.topic).update(rows.last())
        self._health.worked()
        return written

    def _insert(self, rows: Rows, attempt: int) -> None:
        # The token is for what the HTTP client sends again by itself. A try of ours has asked the
        # table first: it must not be taken for one before it, whose rows a full disk has taken.
        token = f"{self._sink}-{self._inserts}-{attempt}"
        with metrics.SECONDS.labels(self.table).time():
            batch = with_constant(rows, "_sink", self._sink)
            self._client.raw_insert(
                f"{quote(self._database)}.{quote(self.table)}",
                batch.schema.names,
                stream(batch),
                settings={
                    "insert_deduplication_token": token,
                    "log_comment": comment(self._database, self._sink),
                    # No two rows of a batch have the same identity: nothing to merge in it.
                    "optimize_on_insert": "0",
                },
                fmt="ArrowStream",
            )
        metrics.ROWS.labels(self.table).inc(len(rows))

    @contextlib.contextmanager
    def _judged(self) -> Iterator[None]:
        try:
            yield
        except (ClickHouseError, OSError) as error:
            if is_taken_over(error):
                raise TakenOver(
                    f"another sink has taken over {self._database}.{self.table}: this one ends. "
                    "One sink a task; stop the other if it is not meant to be"
                ) from error
            if isinstance(error, DatabaseError) and error.code in _GONE:
                raise TableGone(f"{self._database}.{self.table}: {error}") from error
            self._health.failed(error)
            metrics.RETRIES.labels(self.table).inc()
            log.warning("insert failed", table=self.table, error=str(error)[:500])
            raise

    def _worth_another_try(self, error: Exception) -> bool:
        return isinstance(error, (ClickHouseError, OSError))
