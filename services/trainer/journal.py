"""What a training did, step by step, and how long each took: a file an event.

    <home>/trainings/<event id>/journal.jsonl    a JSON line a step that has ended

Each line has ``step``, ``began_at`` (milliseconds since 1970 UTC), ``seconds`` and ``facts``. The
journal is what happened and how long it took; nothing of it goes into a bundle, since the same
inputs give the same bundle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

FOLDER, JOURNAL = "trainings", "journal.jsonl"
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
