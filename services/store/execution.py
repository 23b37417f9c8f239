"""One call, run on the engine: the order of its steps is the order in which they are safe."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from services.store.access import Limits, reader_settings, writer_settings
from services.store.calls import STREAMED, Call
from services.store.engine import Answer, Engine, Session
from services.store.errors import ACCESS_DENIED, EngineError, Refused
from services.store.guard import Guard
from services.store.judge import Judge
from services.store.rights import Role
from services.store.statements import (
    InsertWithData,
    has_result,
    insert_with_data,
    keyword,
    writes,
)

_FORMAT_CLAUSE = re.compile(rb"\bFORMAT\s+\w+\s*;?\s*\Z", re.IGNORECASE)
_SELECTS = frozenset({b"SELECT", b"WITH", b"FROM"})


@dataclass
class Running:
    """A call in its session: run it once, whole or as a stream, in whatever thread."""

    call: Call
    role: Role
    output: str
    has_result: bool
    streamed: bool
    run: Callable[[], Answer]
    stream: Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Executor:
    """The engine with its rules."""

    engine: Engine
    limits: Limits
    judge: Judge
    guard: Guard

    @classmethod
    def over(cls, engine: Engine, limits: Limits, guard: Guard) -> Executor:
        """Learns from the engine which functions there are."""
        with engine.session() as session:
            return cls(engine, limits, Judge(session), guard)

    @contextlib.contextmanager
    def prepare(self, call: Call, role: Role) -> Iterator[Running]:
        """A session ready to run ``call``, which ends with the context.

        Errors: Refused, EngineError.
        """
        if role is Role.READER and call.database.lower() == "system":
            raise Refused(ACCESS_DENIED, "write the database before the table: system.tables")
        if role is Role.WRITER and writes(call.statement):
            self.guard.admit(len(call.statement))
        with self.engine.session() as session:
            # 1. The database, before the session is read only (USE is no query).
            if call.database:
                session.use(call.database)
            # 2. A statement is judged before anything of the caller's is set: what a result may
            #    be must not change what the parser says of the statement.
            insert: InsertWithData | None = None
            if role is Role.READER:
                settings = reader_settings(call.settings, self.limits)
                session.set(self.limits.parsing())
                self.judge.reader(session, call.statement, call.params)
            else:
                insert = insert_with_data(call.statement)
                settings = writer_settings(call.settings)
                if insert is not None:  # rows behind FORMAT Values are data, no expressions
                    settings["input_format_values_interpret_expressions"] = "0"
                self.judge.writer(session, call.statement, insert)
            # 3. The role's rights, then the settings; a reader's last one is readonly: nothing
            #    after it changes any.
            session.take(role)
            session.set(settings)
            yield self._running(session, call, role, insert)

    def _running(
        self, session: Session, call: Call, role: Role, insert: InsertWithData | None
    ) -> Running:
        output = call.output()
        result = insert is None and has_result(call.statement)

        def run() -> Answer:
            if role is Role.WRITER and writes(call.statement):
                # chDB says "done" where the disk was full, too.
                with self.guard.acknowledging(session, defines=insert is None):
                    return write()
            return write()

        def write() -> Answer:
            if insert is not None:
                rows = call.statement[insert.data_at :]
                return session.insert(insert.table, insert.settings, insert.format, rows)
            answer = session.run(call.statement, output, call.params)
            if output == "Native" and result and not answer.body:
                return Answer(_no_rows(session, call), answer.read_rows, answer.read_bytes)
            return answer

        return Running(
            call=call,
            role=role,
            output=output,
            has_result=result,
            streamed=not call.wait_end
            and output in STREAMED
            and keyword(call.statement) in _SELECTS,
            run=run,
            stream=lambda: session.stream(call.statement, output, call.params),
        )


def _no_rows(session: Session, call: Call) -> bytes:
    """Names and types of a result without rows: a Native block of no rows.

    chDB sends nothing at all there, and a data frame without columns breaks what reads it.
    """
    if keyword(call.statement) not in _SELECTS:
        return b""
    inner = _FORMAT_CLAUSE.sub(b"", call.statement).decode()
    try:
        described = session.run(f"DESCRIBE TABLE (\n{inner}\n)", "JSONCompact", call.params)
    except EngineError:  # a clause that a subquery cannot have; then nothing, as chDB has it
        return b""
    columns = [(row[0], row[1]) for row in json.loads(described.body)["data"]]
    head = _varint(len(columns)) + _varint(0)
    return head + b"".join(_string(name) + _string(kind) for name, kind in columns)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _string(text: str) -> bytes:
    raw = text.encode()
    return _varint(len(raw)) + raw
