"""The store's folder before the engine opens it: ours alone, with room on its disk, and whole."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path

import structlog

from services.store import definitions
from services.store.errors import StoreLocked
from services.store.guard import free_bytes
from services.store.parts import heal, table_name

log = structlog.get_logger("store")

_LOCK = "weir.lock"
_LOOK_S = 0.2  # between two looks for room
_TELL_S = 30.0  # between two lines about it


class Folder:
    """A store's folder, locked for as long as this object is there; the system frees the lock of a
    process however it dies. (The engine's own lock comes too late: by then it has opened all.)

    Errors: StoreLocked where another process has it.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = (path / _LOCK).open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreLocked(
                76,
                f"cannot open the store's folder {path}: another process has it. Is another "
                "store running?",
            ) from None

    def make_ready(self, least_free: int) -> None:
        """Wait until ``least_free`` bytes are free, then mend what a full disk has damaged."""
        self._await_room(least_free)
        for file in definitions.mend(self.path):
            log.warning("cut off by a full disk: mended", file=str(file))
        for one in heal(self.path):
            table = table_name(one.part.parent)
            if not one.missing:
                log.warning(
                    "damaged part removed: its rows are in the parts it was merged from",
                    table=table,
                    part=one.part.name,
                    why=one.why,
                )
                continue
            log.error(
                "damaged part set aside, and its inserts are in no other part: if they were "
                "acknowledged, their rows are lost here, and may still be in Kafka",
                table=table,
                part=one.part.name,
                why=one.why,
                inserts=[list(blocks) for blocks in one.missing],
                aside=str(one.part.parent / "detached"),
            )

    def _await_room(self, least_free: int) -> None:
        told = -_TELL_S
        while (free := free_bytes(self.path)) < least_free:
            if time.monotonic() - told >= _TELL_S:
                told = time.monotonic()
                log.warning(
                    "not opened: the disk is nearly full; waiting for room",
                    path=str(self.path),
                    free_bytes=free,
                    least_free_bytes=least_free,
                )
            time.sleep(_LOOK_S)
