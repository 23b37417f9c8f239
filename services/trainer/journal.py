"""What a training did, step by step, and how long each took: a file an event.

    <home>/trainings/<event id>/journal.jsonl    a JSON line a step that has ended
    <home>/trainings/progress.json               what the trainer is doing now

Each line has ``step``, ``began_at`` (milliseconds since 1970 UTC), ``seconds`` and ``facts``. The
journal is what happened and how long it took; nothing of it goes into a bundle, since the same
inputs give the same bundle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

FOLDER, JOURNAL, PROGRESS = "trainings", "journal.jsonl", "progress.json"
MOST = 200
"""Trainings whose journals are kept: the newest."""


def folder_of(home: Path, event_id: str) -> Path:
    """Where the journal of an event's training is."""
    return home / FOLDER / quote(event_id, safe="").replace(".", "%2E")[:200]


def read_journal(home: Path, event_id: str) -> list[dict[str, Any]]:
    """The steps of an event's training that have ended, oldest first; none where none has begun.

    A line that a crash cut short is left out.
    """
    try:
        lines = (folder_of(home, event_id) / JOURNAL).read_text().split("\n")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines[:-1]]  # the last has no end


def write_progress(home: Path, event_id: str, step: str, done: float, at_ms: int) -> None:
    """Say how far the training in work is; whoever reads it sees it whole. Raises OSError."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    said = {"event_id": event_id, "step": step, "done": round(done, 3), "at": at_ms}
    partial = folder / f"{PROGRESS}.partial"
    partial.write_text(json.dumps(said))
    partial.rename(folder / PROGRESS)


def read_progress(home: Path) -> dict[str, Any] | None:
    """``event_id``, ``step``, ``done`` (0 to 1) and ``at`` (milliseconds since 1970 UTC) of what
    the trainer did last; ``step`` is ``idle`` between trainings. None where there was no trainer.
    """
    try:
        said: dict[str, Any] = json.loads((home / FOLDER / PROGRESS).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return said
