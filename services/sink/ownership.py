"""One sink at a time: the newest, and the tables themselves refuse the others.

A sink may be frozen for minutes between reading a table's offsets and inserting, while another
takes its place. Asking "am I still the one?" before each insert would leave the same gap, only
shorter. So the question is put where the insert is decided: in a constraint of the table.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import stamina
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from services.sink.tables import quote

VIOLATED_CONSTRAINT = 469


class TakenOver(RuntimeError):
    """Another sink of this task has started; this one must end."""


class _StillRunning(RuntimeError):
    """Inserts of before are not over."""


def new_sink_id() -> int:
    """A number that no other sink has: 63 bits at random."""
    return secrets.randbits(63) or 1


def take_over(client: Client, database: str, tables: Sequence[str], sink: int) -> None:
    """Make ``sink`` the only one whose rows the tables take.

    When it returns, the tables hold all that any earlier sink has written or ever will.
    """
    # 1. From here on a table refuses the rows of every other sink. A crash between two tables
    #    leaves the older sink refused by some: it ends, and the next start takes all over.
    for table in tables:
        client.command(
            f"ALTER TABLE {quote(database)}.{quote(table)} DROP CONSTRAINT IF EXISTS sink, "
            f"ADD CONSTRAINT sink CHECK _sink = {sink}"
        )
    # 2. An insert that began before may still be on its way, past the check: let it end.
    settle(client, database)


def settle(client: Client, database: str) -> None:
    """Wait until no insert of any sink of this task is running.

    A statement is in ClickHouse's list of processes from before it looks at the table until its
    rows are there for all. Waits for as long as it takes: the store ends an insert or dies.
    """
    for attempt in stamina.retry_context(
        on=_StillRunning, attempts=None, timeout=None, wait_initial=0.02, wait_max=1.0
    ):
        with attempt:
            running = client.command(
                "SELECT count() FROM system.processes "
                "WHERE startsWith(Settings['log_comment'], {m:String})",
                parameters={"m": comment(database)},
            )
            if running:
                raise _StillRunning(f"{running} inserts into {database}")


def comment(database: str, sink: int | str = "") -> str:
    """The mark of a sink's inserts in ClickHouse's list of processes (``log_comment``)."""
    return f"weir-sink/{database}/{sink}"


def is_taken_over(error: BaseException) -> bool:
    """Whether a table refused rows because another sink owns it."""
    return isinstance(error, DatabaseError) and error.code == VIOLATED_CONSTRAINT
