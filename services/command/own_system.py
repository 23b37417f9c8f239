"""A system of a command's own, in a folder of its own: for what is tried and measured."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.command.demo import await_champion
from services.command.output import CommandError, note
from services.command.starting import Started, log_to, start
from services.supervisor import Supervisor
from streams.observe import stop_on_signals
from streams.settings import Settings


@dataclass(frozen=True)
class Own:
    """The system, its champion in service. stop: set by SIGINT and SIGTERM."""

    started: Started
    stop: threading.Event


@contextlib.contextmanager
def own_system(home: Path, task: str, without: Collection[str] = ("console",)) -> Iterator[Own]:
    """Start everything in an empty folder, wait for the first champion, and stop it at the end.

    Raises CommandError where the environment names a running system, or where it was stopped.
    """
    for name in ("WEIR_BOOTSTRAP", "WEIR_CLICKHOUSE_HOST"):
        if name in os.environ:
            raise CommandError(f"{name} is set: this needs a system of its own", 2)
    os.environ["WEIR_HOME"] = str(home)  # before anything reads the settings
    nothing: dict[str, Any] = {}
    settings = Settings(**nothing).model_copy(update={"home": home, "task": task})
    log_to(home / "logs" / "supervisor.log")
    stop = threading.Event()
    stop_on_signals(stop)
    with Supervisor(home, stop) as supervisor:
        started = start(supervisor, settings, without=set(without), say=note)
        if started is None or not await_champion(started, stop):
            raise CommandError("stopped before the run began")
        yield Own(started, stop)
        note("stopping")
