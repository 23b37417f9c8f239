"""The engine's small files that a full disk may cut off: what tables are, and what they have seen.

A statement that changes a table writes its whole definition anew (``<table>.sql``), and moves it
into the old one's place. Cut off, it keeps the engine from starting at all. The statement was
refused then (`Guard.acknowledging`), so the definition before it is the one that holds: copies of
all are kept, and a start puts them in the place of what is cut off.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

_COPIES = "weir-definitions"
_SEEN = re.compile(rb"[12]\t[^\t\n]+\t[^\t\n]+\n")  # added or dropped, part, the insert's identity


def copy(store: Path) -> None:
    """Keep a copy of every definition that is new or has changed, and of no others.

    Errors: OSError, where the copy cannot be written.
    """
    there = set()
    for definition in _definitions(store):
        kept = _copy_of(store, definition)
        there.add(kept)
        try:
            text = definition.read_bytes()
        except FileNotFoundError:  # dropped meanwhile
            continue
        if _whole(text) and not (kept.exists() and kept.read_bytes() == text):
            kept.parent.mkdir(parents=True, exist_ok=True)
            written = kept.with_suffix(".new")
            written.write_bytes(text)
            written.replace(kept)
    for kept in (store / _COPIES).rglob("*.sql"):
        if kept not in there:
            kept.unlink()


def mend(store: Path) -> list[Path]:
    """Put copies in the place of what is cut off; what was mended. Only while no engine runs."""
    mended = []
    for definition in _definitions(store):
        kept = _copy_of(store, definition)
        if not _whole(definition.read_bytes()) and kept.exists():
            shutil.copyfile(kept, definition)
            mended.append(definition)
    for log in store.glob("store/*/*/deduplication_logs/*.txt"):
        lines = log.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if _SEEN.fullmatch(line)]
        if whole != lines:
            log.write_bytes(b"".join(whole))
            mended.append(log)
    return mended


def _definitions(store: Path) -> Iterator[Path]:
    yield from store.glob("metadata/*.sql")
    yield from store.glob("store/*/*/*.sql")


def _whole(text: bytes) -> bool:
    return text.startswith(b"ATTACH ") and text.endswith(b"\n")


def _copy_of(store: Path, definition: Path) -> Path:
    return store / _COPIES / definition.relative_to(store)
