"""What went wrong in a home during a run, though the run went on: crashes and logged errors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from services.logs import LogError, compact, errors_in
from services.supervisor.ends import UnplannedEnd, restarts, unplanned_ends

MOST_LINES = 10


@dataclass(frozen=True)
class Incidents:
    """Unplanned ends of processes, and error records of their logs, both in order of time."""

    home: Path
    ends: Sequence[UnplannedEnd]
    errors: Sequence[LogError]

    def __bool__(self) -> bool:
        return bool(self.ends or self.errors)

    def facts(self) -> dict[str, Any]:
        """As JSON data: ``restarts`` by process, ``errors`` by log and event; empty without any."""
        return {"restarts": restarts(self.ends), "errors": compact(self.errors)}

    def lines(self) -> list[str]:
        """In words, a line a process and a line an event; of many the first."""
        found = [
            f"{name} ended unplanned {'once' if n == 1 else f'{n} times'}, last with {last.text}"
            for name, n in restarts(self.ends).items()
            for last in [next(end for end in reversed(self.ends) if end.name == name)]
        ]
        for one in compact(self.errors):
            text = LogError(one["log"], one["event"], one["detail"]).text
            often = f" ({one['count']} times)" if one["count"] > 1 else ""
            found.append(f"error in {self.home / 'logs' / one['log']}: {text}{often}")
        if len(found) > MOST_LINES:
            found = [*found[:MOST_LINES], f"and {len(found) - MOST_LINES} more; see the logs"]
        return found


def incidents(home: Path, since: datetime, caused: Collection[int] = ()) -> Incidents:
    """Return the incidents in a home since a time.

    caused: ids of processes whose end was brought about on purpose; those are left out.
    """
    ends = [end for end in unplanned_ends(home, since) if end.pid not in caused]
    return Incidents(home, ends, errors_in(home, since))
