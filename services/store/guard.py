"""Keeps a full disk from costing rows.

chDB 26.9 takes no notice of a write that fails: its ``WriteBufferFromFileDescriptor::nextImpl``
has the exception commented out and goes on. So on a full disk an insert is acknowledged, a merge
replaces good parts, and a statement leaves an empty file, all with success. What the engine does
not do is done here, in this order:

1. Nothing is begun that writes while less than `least_free` bytes are free, and merges are
   stopped: the caller gets NOT_ENOUGH_SPACE and tries again.
2. What was written is acknowledged only if no write of the engine has failed meanwhile (it counts
   them), and the parts that are new have all their bytes. (What a refused ALTER leaves on the disk
   is mended by the next start: `definitions`.)
3. Every part that appears, by an insert or a merge, is looked at within a second.
4. A damaged one ends the process in order. The next start takes it away before the engine opens
   the folder (`parts.heal`); the parts it was merged from are still there, so no row is lost. A
   start waits until there is room: opening the engine writes, too.

A look is a ``stat`` for each table's folder, and for each file of a new part.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

import structlog

from services.store import definitions, parts
from services.store.engine import Engine, Session
from services.store.errors import ABORTED, NOT_ENOUGH_SPACE, EngineError, Refused, StoreError
from services.store.parts import Blocks, Listing

log = structlog.get_logger("store")

LOOK_S = 0.5
"""Seconds between two looks: merges go on for so long, at most, after the disk is full."""


# The engine counts what it passes over.
_FAILED_WRITES = (
    "SELECT sum(value) FROM system.events WHERE event = 'WriteBufferFromFileDescriptorWriteFailed'"
)


class Act(StrEnum):
    """What a look leads to."""

    NONE = "none"
    STOP_MERGES = "stop merges"
    START_MERGES = "start merges"
    RESTART = "restart"


def decide(free: int, least_free: int, stopped: bool, damaged: bool) -> Act:
    """What to do, given the bytes that are free and may be at least, whether merges are stopped,
    and whether a damaged part was seen."""
    if damaged:
        return Act.RESTART
    if free < least_free:
        return Act.NONE if stopped else Act.STOP_MERGES
    return Act.START_MERGES if stopped else Act.NONE


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written to the file system of ``folder``."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


class Guard:
    """Watches one store. ``on_damage`` is called once, in a thread, when it has to start again."""

    def __init__(self, engine: Engine, least_free: int, on_damage: Callable[[], None]) -> None:
        self._engine = engine
        self._least_free = least_free
        self._on_damage = on_damage
        self._looking = threading.Lock()
        # What the engine has just opened was looked at before (`parts.heal`).
        self._seen = {f: Listing.of(f, Listing()) for f in parts.tables(engine.path)}
        self._stopped = False
        self._ending = threading.Event()
        self._lost_rows = False
        self._failed_writes = 0
        with engine.session() as session:
            self._count_failed_writes(session)
        self.damaged = False
        self._thread = threading.Thread(target=self._watch, name="guard", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._ending.set()

    def admit(self, size: int) -> None:
        """Let a statement of ``size`` bytes that writes begin. Errors: Refused."""
        if self.damaged:
            raise Refused(ABORTED, "the store starts again: a full disk has damaged a part of it")
        free = free_bytes(self._engine.path)
        if free < self._least_free + size:
            raise Refused(
                NOT_ENOUGH_SPACE,
                f"the store's disk has {free >> 20} MiB free, and nothing is written below "
                f"{(self._least_free + size) >> 20} MiB: make room on {self._engine.path}",
            )

    @contextlib.contextmanager
    def acknowledging(self, session: Session, defines: bool) -> Iterator[None]:
        """Around a statement that writes, in ``session``; ``defines``: that may change a table.

        Errors: Refused, if not all of it was written.
        """
        before = self._failed_writes
        yield
        self._look(tables_too=defines)
        if self._lost_rows or self._count_failed_writes(session) > before:
            raise Refused(
                NOT_ENOUGH_SPACE,
                f"the disk of {self._engine.path} was full meanwhile, and what was written is not "
                "all there; make room, look what is there, and do it again",
            )
        if defines:
            self._copy_definitions()

    def _copy_definitions(self) -> None:
        try:
            with self._looking:
                definitions.copy(self._engine.path)
        except OSError as error:
            log.warning("no copies of the tables' definitions", error=str(error))

    def _count_failed_writes(self, session: Session) -> int:
        self._failed_writes = int(session.run(_FAILED_WRITES).body)
        return self._failed_writes

    def _look(self, tables_too: bool) -> None:
        """Look at the parts that are new since the last look; ``tables_too``: also for tables."""
        with self._looking:
            first = not self.damaged
            if tables_too:
                folders = parts.tables(self._engine.path)
                self._seen = {folder: self._seen.get(folder, Listing()) for folder in folders}
            for folder, before in self._seen.items():
                now = Listing.of(folder, before)
                for name in now.names - before.names:
                    self._judge(Path(folder, name))
                self._seen[folder] = now
            first = first and self.damaged
        if first:
            self._on_damage()

    def _judge(self, part: Path) -> None:
        blocks = Blocks.of(part.name)
        why = parts.why_damaged(part) if blocks else ""
        if not blocks or not why:
            return
        log.error(
            "damaged part: the store starts again without it",
            table=parts.table_name(part.parent),
            part=part.name,
            why=why,
            free_bytes=free_bytes(self._engine.path),
        )
        self.damaged = True
        # The rows of one insert, which nobody else has; a merge's are in the parts before it.
        self._lost_rows = self._lost_rows or blocks.first == blocks.last

    def _watch(self) -> None:
        while not self._ending.wait(LOOK_S) and not self.damaged:
            free = free_bytes(self._engine.path)
            self._look(tables_too=True)
            act = decide(free, self._least_free, self._stopped, self.damaged)
            try:
                if act is Act.STOP_MERGES:
                    log.warning("disk nearly full: nothing is written or merged", free_bytes=free)
                    self._run("SYSTEM STOP MERGES")
                    self._stopped = True
                elif act is Act.START_MERGES:
                    self._run("SYSTEM START MERGES")
                    self._stopped = False
                    log.info("the disk has room again", free_bytes=free)
            except EngineError as error:  # tried again at the next look
                log.error("merges not switched", act=act, error=str(error)[:500])
            except StoreError:  # it is closing
                return

    def _run(self, statement: str) -> None:
        with self._engine.session() as session:
            session.run(statement)
