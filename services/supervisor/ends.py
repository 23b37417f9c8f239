"""Unplanned ends of processes: what is kept of them.

    run/ends.jsonl   a JSON line for each unplanned end in this home, oldest first

The file outlives the supervisor, so that a run can be judged when it is over. An end is unplanned
where nobody asked the supervisor for it: a crash, a kill from outside, an exit code 0 as well.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from services.supervisor.state import run_folder

ENDS = "ends.jsonl"
MOST_KEPT = 10_000
"""Lines that a new supervisor leaves in the file, about 4 MB."""


@dataclass(frozen=True)
class UnplannedEnd:
    """One process that ended and was not asked to.

    at: ISO 8601, UTC. how: ``exit code 1`` or ``killed by SIGKILL``. error: the last error in
    words that it logged in this life; empty where it logged none. log: the log's path.
    """

    name: str
    pid: int
    at: str
    how: str
    error: str
    log: str

    @property
    def text(self) -> str:
        """How it ended, and the error, in one line."""
        return f"{self.how}: {self.error}" if self.error else f"{self.how}, no error in its log"


def unplanned_ends(home: Path, since: datetime | None = None) -> list[UnplannedEnd]:
    """Return the unplanned ends of processes in a home, oldest first; since: leave out older ones.

    They are kept when the supervisor has ended. A line that a crash cut short is left out.
    """
    try:
        lines = (run_folder(home) / ENDS).read_text().split("\n")
    except FileNotFoundError:
        return []
    ends = [UnplannedEnd(**json.loads(line)) for line in lines[:-1] if line]
    return [end for end in ends if since is None or datetime.fromisoformat(end.at) >= since]


def restarts(ends: Iterable[UnplannedEnd]) -> dict[str, int]:
    """Return the number of unplanned ends by process; those without any are left out."""
    return dict(Counter(end.name for end in ends))


def record_end(home: Path, end: UnplannedEnd) -> None:
    """Add an unplanned end to the file of its home."""
    line = json.dumps(asdict(end)) + "\n"
    file = os.open(run_folder(home) / ENDS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())  # at once: other processes' keepers write here as well
    finally:
        os.close(file)


def trim_ends(home: Path) -> None:
    """Keep the newest ends, whole lines only; only while nobody else writes."""
    path = run_folder(home) / ENDS
    if path.exists():
        lines = path.read_text().split("\n")[:-1]
        partial = path.with_suffix(".partial")
        partial.write_text("".join(f"{line}\n" for line in lines[-MOST_KEPT:]))
        partial.replace(path)
