"""A training's run as the trainer sees it: told of, written down, ended in order.

    <home>/trainings/<event id>/journal.jsonl    a JSON line a step that has ended

Each line has ``step``, ``began_at`` (milliseconds since 1970 UTC), ``seconds`` and ``facts``. The
journal is what happened and how long it took; nothing of it goes into a bundle, since the same
inputs give the same bundle.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from prometheus_client import Histogram

from services.registry import now_ms
from services.trainer.snapshot import Stopped
from streams.training.run import Facts, Run

STEP_SECONDS = Histogram(
    "weir_training_step_seconds",
    "How long the steps of trainings took",
    ["step"],
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000),
)
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


class Journalled(Run):
    """The run of one event's training.

    progress: is told each step's name and the share done before it. stop: set when the process
    ends; the run then raises Stopped where a step begins, and is repeated after the next start.
    """

    def __init__(
        self,
        home: Path,
        event_id: str,
        progress: Callable[[str, float], None],
        stop: threading.Event,
    ) -> None:
        self._folder = folder_of(home, event_id)
        self._progress, self._stop = progress, stop
        self._folder.mkdir(parents=True, exist_ok=True)
        self._forget_old()

    @contextmanager
    def step(self, name: str, done: float) -> Iterator[Facts]:
        """See `streams.training.run.Run`; a step that fails is written down with its error."""
        if self._stop.is_set():
            raise Stopped
        self._progress(name, done)
        began_at, began, facts = now_ms(), time.monotonic(), Facts()
        try:
            yield facts
        except Stopped:
            raise  # it has not ended: the next attempt does it again
        except Exception as error:
            self._ended(
                name, began_at, began, facts | {"error": f"{type(error).__name__}: {error}"}
            )
            raise
        self._ended(name, began_at, began, facts)

    def _ended(self, name: str, began_at: int, began: float, facts: Facts) -> None:
        seconds = time.monotonic() - began
        STEP_SECONDS.labels(name).observe(seconds)
        line = {"step": name, "began_at": began_at, "seconds": round(seconds, 3), "facts": facts}
        self._write(line)

    def _write(self, line: dict[str, Any]) -> None:
        """A line, whole: what a crash cut short before it is ended first."""
        with (self._folder / JOURNAL).open("a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    self._drop_torn_line()
            file.write(json.dumps(line, ensure_ascii=False, default=str).encode() + b"\n")

    def _drop_torn_line(self) -> None:
        path = self._folder / JOURNAL
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)

    def _forget_old(self) -> None:
        found = sorted(self._folder.parent.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        for path in found[:-MOST]:
            shutil.rmtree(path, ignore_errors=True)
