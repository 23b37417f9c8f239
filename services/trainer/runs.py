"""A training's run as the trainer sees it: told of, written down (`journal`), ended in order.

    <home>/trainings/<event id>/
        journal.jsonl       a JSON line a step that has ended
        kept/<hash>.skops   estimators that were fitted, under a hash of all that decides them
        kept/<hash>.json    losses of settings that were tried

What is kept lets a training that was killed go on where it was: an estimator that is read again
answers as the one that was fitted. When the event is answered it goes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import structlog
from prometheus_client import Histogram

from services.registry import now_ms
from services.trainer.journal import JOURNAL, MOST, folder_of
from services.trainer.snapshot import Stopped
from streams import skops_files
from streams.declaration import sha256_of
from streams.skops_files import UnsafeFile
from streams.training.run import Facts, Key, Run

log = structlog.get_logger("trainer")

STEP_SECONDS = Histogram(
    "weir_training_step_seconds",
    "How long the steps of trainings took",
    ["step"],
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000),
)
KEPT = "kept"


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
        self._kept = self._folder / KEPT
        self._progress, self._stop = progress, stop
        self._step, self._resumed = "", 0
        self._kept.mkdir(parents=True, exist_ok=True)
        self._forget_old()

    @contextmanager
    def step(self, name: str, done: float) -> Iterator[Facts]:
        """See `streams.training.run.Run`; a step that fails is written down with its error."""
        self._step, self._resumed = name, 0
        self.at(done)
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

    def at(self, done: float) -> None:
        """See `streams.training.run.Run`; raises Stopped where the process is to end."""
        if self._stop.is_set():
            raise Stopped
        self._progress(self._step, done)

    def fitted(self, key: Key, fit: Callable[[], Any]) -> Any:
        """See `streams.training.run.Run`. What skops cannot write is fitted again each time."""
        path = self._kept / f"{sha256_of(key)}.skops"
        with contextlib.suppress(FileNotFoundError, UnsafeFile):
            estimator = skops_files.load(path.read_bytes())
            self._resumed += 1
            return estimator
        estimator = fit()
        with contextlib.suppress(UnsafeFile):
            self._keep(path, skops_files.dump(estimator))
        return estimator

    def found(self, key: Key, work: Callable[[], Facts]) -> Facts:
        """See `streams.training.run.Run`."""
        path = self._kept / f"{sha256_of(key)}.json"
        with contextlib.suppress(FileNotFoundError, ValueError):
            facts: Facts = json.loads(path.read_text())
            self._resumed += 1
            return facts
        facts = work()
        self._keep(path, json.dumps(facts).encode())
        return facts

    def now(self) -> float:
        """See `streams.training.run.Run`."""
        return time.monotonic()

    def memory_mb(self) -> float:
        """See `streams.training.run.Run`."""
        return float(psutil.Process().memory_info().rss / 1e6)

    def answered(self) -> None:
        """The event has its answer: what was kept for another attempt goes."""
        shutil.rmtree(self._kept, ignore_errors=True)

    def _ended(self, name: str, began_at: int, began: float, facts: Facts) -> None:
        if self._resumed:
            facts = facts | {"kept_by_an_earlier_attempt": self._resumed}
        seconds = time.monotonic() - began
        STEP_SECONDS.labels(name).observe(seconds)
        line = {"step": name, "began_at": began_at, "seconds": round(seconds, 3), "facts": facts}
        self._append(line)

    def _append(self, line: dict[str, Any]) -> None:
        """A line, whole: what a crash cut short before it goes first."""
        data = json.dumps(line, ensure_ascii=False, default=str).encode() + b"\n"
        try:
            with (self._folder / JOURNAL).open("a+b") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        self._drop_torn_line()
                file.write(data)
        except OSError as error:  # a full disk: the version matters more than its journal
            log.warning("a step is not in the journal", step=line["step"], error=str(error))

    def _keep(self, path: Path, data: bytes) -> None:
        """A file, whole or not at all for whoever reads it after a kill."""
        partial = path.with_suffix(".partial")
        try:
            partial.write_bytes(data)
            partial.rename(path)
        except OSError as error:
            log.warning("nothing is kept for another attempt", error=str(error))
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def _drop_torn_line(self) -> None:
        path = self._folder / JOURNAL
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)

    def _forget_old(self) -> None:
        folders = [path for path in self._folder.parent.iterdir() if path.is_dir()]
        found = sorted(folders, key=lambda path: path.stat().st_mtime_ns)
        for path in found[:-MOST]:
            shutil.rmtree(path, ignore_errors=True)
