"""The embedded engine: chDB, opened once, with one session for each call.

chDB serves any number of connections at once in the process that owns the folder, each with its
own database and settings; a connection costs 0.2 ms. So a call gets a fresh one, and nothing
that one caller sets can reach another. The folder is held by a file lock that the system frees
with the process, however it dies: after kill -9 the next one opens it at once.

An insert returns after MergeTree has renamed the finished part to its name. That survives the
death of the process (the pages are the system's); a power loss within seconds may take it,
as with any ClickHouse that keeps ``fsync_after_insert = 0``.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.store.errors import EngineError, Refused, StoreError, StoreLocked
from services.store.rights import Role, users_xml

# What a name in a SET or a parameter may be; anything else is not put into SQL.
_NAME = re.compile(r"[A-Za-z_]\w*\Z")


@dataclass(frozen=True)
class Answer:
    """A finished statement: its bytes in the asked format, and what it cost."""

    body: bytes
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0


def quote(text: str) -> str:
    """A string literal of ClickHouse SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def escape(text: str) -> str:
    """A value in the TSV escaping that query parameters travel in."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


class Session:
    """One caller's connection; use it from one thread at a time."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def use(self, database: str) -> None:
        """Make ``database`` the default. Errors: EngineError (UNKNOWN_DATABASE)."""
        quoted = database.replace("\\", "\\\\").replace("`", "\\`")
        self.run(f"USE `{quoted}`")

    def set(self, settings: Mapping[str, str]) -> None:
        """Set settings for this session. Errors: EngineError (UNKNOWN_SETTING, READONLY, ...)."""
        wrong = [name for name in settings if not _NAME.match(name)]
        if wrong:
            raise Refused(115, f"{wrong[0]!r} is not the name of a setting")
        if settings:
            changes = ", ".join(f"{name} = {quote(value)}" for name, value in settings.items())
            self.run(f"SET {changes}")

    def take(self, role: Role) -> None:
        """Give up all rights of this session but those of ``role``."""
        self.run(f"SET ROLE {role}")

    def run(
        self,
        sql: str | bytes,
        output: str = "TabSeparated",
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """Run a statement to its end. ``params`` are in TSV escaping. Errors: EngineError."""
        try:
            result = self._connection.query(sql, output, params=dict(params or {}))
        except Exception as error:
            raise EngineError.of(error) from None
        return Answer(
            body=result.bytes() or b"",
            read_rows=result.storage_rows_read(),
            read_bytes=result.storage_bytes_read(),
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
        )

    def stream(
        self, sql: str | bytes, output: str, params: Mapping[str, str] | None = None
    ) -> Iterator[bytes]:
        """Run a query and yield its blocks as they come; closing the iterator cancels it.

        Only for formats whose blocks can be put one after the other (Native, RowBinary, CSV,
        TabSeparated, JSONEachRow). Errors: EngineError, at the first block or at a later one.
        """
        blocks = None
        try:
            blocks = self._connection.send_query(sql, output, params=dict(params or {}))
            for block in blocks:
                yield block.bytes()
        except GeneratorExit:
            raise
        except Exception as error:
            raise EngineError.of(error) from None
        finally:
            if blocks is not None:
                with contextlib.suppress(Exception):
                    blocks.close()

    def insert(self, table: str, settings: str, format_: str, rows: bytes) -> Answer:
        """``INSERT INTO t (a, b)`` and its rows in ``format_``. When it returns, they are there.

        The rows go in as a file in memory, by FROM INFILE. chDB's other two ways are not sound
        (26.9): a query with its data cuts binary data at a line break, and a streaming insert
        (``send_insert``) reports success where storing the rows failed.

        Errors: EngineError; then none of the rows are there if they were one block (a million
        rows), else whole blocks of them may be.
        """
        file = os.memfd_create("rows")
        try:
            with os.fdopen(file, "wb", closefd=False) as out:
                out.write(rows)
            path = quote(f"/proc/self/fd/{file}")
            return self.run(f"{table} FROM INFILE {path} {settings} FORMAT {format_}")
        finally:
            os.close(file)


def _load_chdb() -> Any:
    """chDB's ``connect``, with UTC as the engine's time zone.

    The engine takes its zone from the environment while its library is loaded, and never again:
    so this process is one in UTC from here on, and chDB is imported here and nowhere else.
    """
    os.environ["TZ"] = "UTC"
    time.tzset()
    return importlib.import_module("chdb").connect


class Engine:
    """The engine over one folder; the process's time zone becomes UTC with it.

    configuration: of the engine as a whole, elements of ClickHouse's XML.

    Errors: StoreLocked where another process has the folder open.
    """

    def __init__(self, path: Path, configuration: str = "") -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._open = 0
        self._changed = threading.Condition()
        self._closing = False
        try:
            self._connect = _load_chdb()
            file, users = path / "weir-engine.xml", path / "weir-users.xml"
            users.write_text(users_xml())
            file.write_text(
                f"<clickhouse><users_config>{users.resolve()}</users_config>{configuration}"
                "</clickhouse>\n"
            )
            self._root = self._connect(f"{path}?config-file={file}")
        except Exception as error:
            raise StoreLocked(
                76, f"cannot open the store's folder {path}: {error}. Is another store running?"
            ) from None

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """A session of its own for one call."""
        with self._changed:
            if self._closing:
                raise Refused(236, "the store is stopping; try again when it is back")
            self._open += 1
        try:
            connection = self._connect(str(self.path))
            try:
                yield Session(connection)
            finally:
                connection.close()
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def cancel_readers(self) -> None:
        """Cancel the queries of read-only sessions; their callers get QUERY_WAS_CANCELLED."""
        with contextlib.suppress(StoreError), self.session() as session:
            session.run("KILL QUERY WHERE Settings['readonly'] = '1' ASYNC")

    def close(self, wait_s: float) -> bool:
        """Take no more sessions, wait up to ``wait_s`` seconds for the open ones, and close.

        Returns False where some were still open: then the engine is left to the system, which
        loses nothing that was acknowledged.
        """
        with self._changed:
            self._closing = True
            ended = self._changed.wait_for(lambda: self._open == 0, timeout=wait_s)
        if ended:
            self._root.close()
        return ended
