"""What runs in a home, as other commands see it: the files in `<home>/run`.

    run/supervisor.lock   held (flock) by the one supervisor of this home
    run/supervisor.json   the supervisor
    run/<name>.json       one file for each process it keeps
    run/ends.jsonl        the unplanned ends of processes (`services.supervisor.ends`)

Each file is replaced as a whole, so a reader never sees half of one. A process is known by its id
and the time it started, since the kernel gives an id to another process in the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from services.supervisor.crashes import CrashHistory

SUPERVISOR = "supervisor"


class SupervisorError(RuntimeError):
    """Processes cannot be started, kept or stopped as asked; the message says why."""


class HomeBusyError(SupervisorError):
    """Another supervisor runs in this home."""


@dataclass(frozen=True)
class ProcessState:
    """One process, as last written by its supervisor.

    `start_ticks` is the kernel's own start time of the process, in clock ticks since boot. `state`
    is one of waiting, starting, ready, backing-off, ended, failed; `since` is when it came to be so
    (ISO 8601, UTC). `restarts` counts its unplanned ends under this supervisor, `last_end` is the
    newest of them (`UnplannedEnd`). `started_at` and `looping_since` are those of `CrashHistory`.
    """

    name: str
    pid: int | None
    start_ticks: int | None
    state: str
    since: str
    restarts: int = 0
    addresses: Mapping[str, str] = field(default_factory=dict)
    log: str | None = None
    last_end: Mapping[str, str | int] | None = None
    started_at: float | None = None
    looping_since: float | None = None

    def looping(self, now: float) -> bool:
        """Whether it is in a crash loop; now: seconds since 1970."""
        started_at = self.started_at if self.alive else None
        return CrashHistory((), self.looping_since, started_at).looping(now)

    @property
    def alive(self) -> bool:
        """Whether this very process runs now."""
        return self.pid is not None and start_ticks(self.pid) == self.start_ticks


@dataclass(frozen=True)
class RunState:
    """What runs in a home; `supervisor` is None where none ran or the last one ended in order."""

    supervisor: ProcessState | None
    processes: Mapping[str, ProcessState]

    @property
    def running(self) -> bool:
        """Whether a supervisor runs now."""
        return self.supervisor is not None and self.supervisor.alive


def read_run_state(home: Path) -> RunState:
    """What the files of `home` say; ask each process's `alive` whether it is still true."""
    states = {}
    for path in sorted(run_folder(home).glob("*.json")):
        with contextlib.suppress(FileNotFoundError):  # its process ended since the listing
            states[path.stem] = ProcessState(**json.loads(path.read_text()))
    return RunState(supervisor=states.pop(SUPERVISOR, None), processes=states)


def stop_home(home: Path, timeout_s: float = 60) -> bool:
    """Ask the supervisor of `home` to stop everything, and wait until it has ended.

    False when none runs. Raises SupervisorError when it still runs after `timeout_s`.
    """
    supervisor = read_run_state(home).supervisor
    if supervisor is None or supervisor.pid is None or not supervisor.alive:
        return False
    if not end_process(supervisor.pid, signal.SIGTERM, timeout_s):
        raise SupervisorError(
            f"the supervisor of {home} (pid {supervisor.pid}) still runs {timeout_s:g} s after it"
            f" was asked to stop; `kill -9 {supervisor.pid}` ends it and all it keeps, and no"
            " acknowledged record is lost by that"
        )
    return True


def end_process(pid: int, how: signal.Signals, timeout_s: float) -> bool:
    """Signal a process, child or not, and wait for its end; False if it runs on."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, how)
        ended, _, _ = select.select([handle], [], [], timeout_s)
        return bool(ended)
    finally:
        os.close(handle)


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when none runs by that id."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command's name in brackets, which may hold anything.
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(rest[18])


def write_state(home: Path, state: ProcessState) -> None:
    """Replace the run file of one process."""
    path = run_folder(home) / f"{state.name}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(state), indent=1))
    partial.replace(path)


def forget_state(home: Path, name: str) -> None:
    """Remove the run file of a process that has ended in order."""
    (run_folder(home) / f"{name}.json").unlink(missing_ok=True)


def lock_home(home: Path) -> IO[str]:
    """Take the lock of a home; it is held until the file is closed or its process ends.

    Raises HomeBusyError, which names the other supervisor.
    """
    path = run_folder(home) / "supervisor.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        pid = lock.read().strip() or "unknown"
        lock.close()
        raise HomeBusyError(
            f"another supervisor (pid {pid}) runs in {home}: use what it started, or stop it first"
            " with `weir down`"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def run_folder(home: Path) -> Path:
    """Where the run files of a home are."""
    return home / "run"
