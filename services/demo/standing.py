"""What the replay waits for, for the page: a file in the home that the demo writes as it goes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

FRESH_S = 15.0
"""What is older was written by a demo that has ended: nothing waits any more."""


def write(home: Path, now_s: float, waits_for: str, days_per_s: float) -> None:
    """Replace the file. now_s: seconds since 1970. A disk that is full costs the page a line."""
    path = _path(home)
    partial = path.with_suffix(".partial")
    with contextlib.suppress(OSError):
        partial.write_text(
            json.dumps({"at": now_s, "waits_for": waits_for, "days_per_s": days_per_s})
        )
        partial.replace(path)


def read(home: Path, now_s: float) -> dict[str, str | float] | None:
    """Return ``waits_for`` and ``days_per_s``; None where no demo runs in this home."""
    try:
        found: dict[str, str | float] = json.loads(_path(home).read_text())
        return found if abs(now_s - float(found["at"])) < FRESH_S else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(home: Path) -> Path:
    return home / "replay.json"
