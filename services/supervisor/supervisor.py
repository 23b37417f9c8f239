"""Keeps the processes of one home running, and stops them in order."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import structlog

from services.supervisor.ends import UnplannedEnd, trim_ends
from services.supervisor.keeper import Keeper
from services.supervisor.spec import ProcessSpec, problems_of
from services.supervisor.state import (
    SUPERVISOR,
    ProcessState,
    SupervisorError,
    end_process,
    forget_state,
    lock_home,
    read_run_state,
    start_ticks,
    write_state,
)

SETTLE_EVERY_S = 0.02
LEFTOVER_TIMEOUT_S = 10.0

log = structlog.get_logger(__name__)


class StartError(SupervisorError):
    """A process did not come up; the message has the end of its log."""


class Supervisor:
    """Starts processes in the order they need, restarts them when they die, stops them in reverse.

    One for each home at a time. `stop` is the event that ends it, set by a signal for example:

        stop = threading.Event()
        stop_on_signals(stop)
        with Supervisor(home, stop) as supervisor:
            supervisor.run(specs)

    Entering takes the home's lock (HomeBusyError when another holds it); leaving stops everything.
    on_end: called with each unplanned end, in a thread of the supervisor's.
    """

    def __init__(
        self,
        home: Path,
        stop: threading.Event | None = None,
        on_end: Callable[[UnplannedEnd], None] = lambda _: None,
    ) -> None:
        self.home = home.resolve()
        self._on_end = on_end
        self._stop = stop or threading.Event()
        self._keepers: dict[str, Keeper] = {}
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        self._lock = lock_home(self.home)
        self._end_leftovers()
        trim_ends(self.home)
        (self.home / "logs").mkdir(exist_ok=True)
        write_state(
            self.home,
            ProcessState(
                name=SUPERVISOR,
                pid=os.getpid(),
                start_ticks=start_ticks(os.getpid()),
                state="ready",
                since=datetime.now(UTC).isoformat(timespec="milliseconds"),
            ),
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        forget_state(self.home, SUPERVISOR)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def run(self, specs: Sequence[ProcessSpec]) -> None:
        """Start everything and keep it running until the stop event is set."""
        if self.start(specs):
            self._stop.wait()

    def start(self, specs: Sequence[ProcessSpec]) -> bool:
        """Start `specs`, those that do not wait for each other at the same time; wait for all.

        May be called again for more of them, which may come `after` earlier ones. True when all
        are ready, False when the stop event was set before they were. Raises ValueError with all
        that is wrong with `specs`, and StartError when a process ends, or is too late, before it
        was ready for the first time; what has been started keeps running until `stop`.
        """
        if self._lock is None:
            raise SupervisorError("use the supervisor in a `with` statement: it takes a lock")
        if problems := problems_of(specs, self._keepers):
            raise ValueError("the processes cannot be started:\n" + "\n".join(problems))
        new = self._add(specs)
        for keeper in new:
            keeper.start()
        while not all(keeper.ready.is_set() for keeper in new):
            if failures := [keeper.failure for keeper in new if keeper.failure]:
                raise StartError("\n".join(failures))
            if self._stop.wait(SETTLE_EVERY_S):
                return False
        return True

    def stop(self) -> None:
        """Stop everything: each process after those that need it, the others at the same time."""
        while self._keepers:
            needed = {name for keeper in self._keepers.values() for name in keeper.spec.after}
            wave = [keeper for name, keeper in self._keepers.items() if name not in needed]
            for keeper in wave:
                keeper.ask_to_stop()
            for keeper in wave:
                keeper.finish()
                del self._keepers[keeper.spec.name]
                log.info("process stopped", name=keeper.spec.name)

    def status(self) -> list[ProcessState]:
        """How each process is, in the order in which they were declared."""
        return [keeper.status for keeper in self._keepers.values()]

    def _add(self, specs: Iterable[ProcessSpec]) -> list[Keeper]:
        new: list[Keeper] = []
        waiting = list(specs)
        while waiting:  # a keeper is made after those it waits for; there are no cycles
            spec = next(s for s in waiting if all(name in self._keepers for name in s.after))
            waiting.remove(spec)
            prerequisites = [self._keepers[name] for name in spec.after]
            keeper = Keeper(spec, self.home, prerequisites, self._on_end)
            self._keepers[spec.name] = keeper
            new.append(keeper)
        return new

    def _end_leftovers(self) -> None:
        """After a supervisor that was killed, and its children with it: see that they are gone."""
        for process in read_run_state(self.home).processes.values():
            if process.pid is not None and process.alive:
                log.warning(
                    "ending a process of an earlier run", name=process.name, pid=process.pid
                )
                if not end_process(process.pid, signal.SIGKILL, LEFTOVER_TIMEOUT_S):
                    raise SupervisorError(
                        f"{process.name} (pid {process.pid}) of an earlier run does not end"
                    )
            forget_state(self.home, process.name)
