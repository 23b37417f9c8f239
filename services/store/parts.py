"""The parts of the tables as they lie on the disk: which are damaged, and what a start does then.

A MergeTree table is a folder of parts. A part's name says which inserts its rows came in
(``all_17_85_7``: partition ``all``, blocks 17 to 85, merged 7 times over). A merged part covers the
parts that it was made of; they stay on the disk for a while (`KEEP_MERGED_S`). A non-replicated
table takes whatever parts it finds at its start, and of those the largest that are whole: so to
take a damaged part away, before the engine opens the folder, is to have its rows back from the
parts that it was made of.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from services.store.checksums import damage

KEEP_MERGED_S = 60
"""Seconds that parts stay on the disk after they were merged (chDB's own default is 0).

Damage is seen within a second or two, and the process has ended half a minute later at the latest.
The cost: the disk holds the rows of the last minute twice, and the engine knows as many parts more
as a minute has inserts."""

CONFIGURATION = f"<merge_tree><old_parts_lifetime>{KEEP_MERGED_S}</old_parts_lifetime></merge_tree>"
"""What the engine is told about that."""

_TICKS_NS = 100_000_000  # more than the 10 ms that a file system's clock may be coarse
_PART = re.compile(r"([^_]+)_(\d+)_(\d+)_(\d+)(?:_(\d+))?\Z")


@dataclass(frozen=True, order=True)
class Blocks:
    """The inserts whose rows a part holds: those with the numbers first to last."""

    partition: str
    first: int
    last: int
    level: int = 0

    @classmethod
    def of(cls, name: str) -> Blocks | None:
        """From a part's name; None where it is not one (being written, being removed, ...).

        >>> Blocks.of("all_17_85_7")
        Blocks(partition='all', first=17, last=85, level=7)
        """
        found = _PART.match(name)
        return found and cls(found[1], int(found[2]), int(found[3]), int(found[4]))


def uncovered(lost: Blocks, others: Iterable[Blocks]) -> list[tuple[int, int]]:
    """The block numbers of ``lost`` that no other part has, as ranges from and to.

    >>> uncovered(Blocks("all", 1, 9), [Blocks("all", 1, 4), Blocks("all", 6, 6)])
    [(5, 5), (7, 9)]
    """
    missing, next_ = [], lost.first
    for other in sorted(one for one in others if one.partition == lost.partition):
        if other.last < next_ or other.first > lost.last:
            continue
        if other.first > next_:
            missing.append((next_, other.first - 1))
        next_ = max(next_, other.last + 1)
    if next_ <= lost.last:
        missing.append((next_, lost.last))
    return missing


@dataclass(frozen=True)
class Damaged:
    """A part that is not as the engine meant it. missing: its blocks that no whole part has."""

    part: Path
    why: str
    missing: tuple[tuple[int, int], ...] = ()


def tables(store: Path) -> list[str]:
    """The folders of a store's MergeTree tables, as strings: this is done twice a second."""
    found = []
    for prefix in _names(f"{store}/store"):
        for uuid in _names(f"{store}/store/{prefix}"):
            folder = f"{store}/store/{prefix}/{uuid}"
            if os.path.exists(f"{folder}/format_version.txt"):  # noqa: PTH110 -- as above
                found.append(folder)
    return found


def _names(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208 -- half the time of Path.iterdir
    except (FileNotFoundError, NotADirectoryError):  # dropped meanwhile; not there yet
        return frozenset()


@dataclass(frozen=True)
class Listing:
    """What was in a table's folder at ``at_ns``; it had last changed at ``mtime_ns``."""

    names: frozenset[str] = frozenset()
    mtime_ns: int = 0
    at_ns: int = 0

    @classmethod
    def of(cls, folder: str, before: Listing) -> Listing:
        """What is in it now; ``before`` itself where nothing has changed since."""
        now_ns = time.time_ns()
        try:
            mtime_ns = os.stat(folder).st_mtime_ns  # noqa: PTH116 -- for every table, every write
        except FileNotFoundError:
            return cls()
        # A folder that has changed just before may change again within one tick of its clock.
        if mtime_ns == before.mtime_ns and before.at_ns - mtime_ns > _TICKS_NS:
            return before
        return cls(_names(folder), mtime_ns, now_ns)


def why_damaged(part: Path) -> str:
    """What is wrong with a part; empty where nothing is, or where it is not there any more."""
    try:
        why = damage(part)
        # One that the engine is just removing has lost files, too; a moment later it is gone.
        return why and damage(part)
    except FileNotFoundError:
        return ""


def heal(store: Path) -> list[Damaged]:
    """Take damaged parts out of their tables. Only while no engine has the folder open.

    One whose rows are in other parts is removed. One whose rows are nowhere else goes to the
    table's ``detached`` folder as ``broken_<name>``, and the table forgets which inserts it has
    seen, so that the same insert, sent again, is not taken for a repetition.
    """
    found = []
    for table in map(Path, tables(store)):
        names = _names(str(table))
        there = {name: blocks for name in names if (blocks := Blocks.of(name))}
        wrong = {name: why for name in there if (why := why_damaged(table / name))}
        whole = [blocks for name, blocks in there.items() if name not in wrong]
        for name, why in sorted(wrong.items()):
            missing = tuple(uncovered(there[name], whole))
            _take_out(table / name, keep=bool(missing))
            found.append(Damaged(table / name, why, missing))
    return found


def _take_out(part: Path, keep: bool) -> None:
    table = part.parent
    if keep:
        for log in table.glob("deduplication_logs/*.txt"):
            log.unlink()
    folder = table / "detached"
    folder.mkdir(exist_ok=True)
    aside = next(
        name
        for number in range(1 << 20)
        if not (name := folder / f"broken_{part.name}{f'_try{number}' if number else ''}").exists()
    )
    part.rename(aside)  # at once, whatever happens next
    if not keep:
        shutil.rmtree(aside)


def table_name(table: Path) -> str:
    """``database.table`` of a table's folder, for people; the folder's name if it is not found."""
    for statement in table.parent.parent.glob("*/*/*.sql"):
        text = statement.read_bytes()[:500].decode(errors="replace")
        if text.startswith("ATTACH") and table.name in text:
            database = _link_to(table.parent.parent.parent / "metadata", statement.parent)
            return f"{database}.{statement.stem}"
    return table.name


def _link_to(folder: Path, target: Path) -> str:
    for link in folder.glob("*"):
        if link.is_symlink() and link.resolve() == target.resolve():
            return link.name
    return "?"
