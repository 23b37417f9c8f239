"""One child process: its session, its log file, its end."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

LARGEST_LOG = 16 * 1024 * 1024
"""Bytes; a longer log is set aside as `<name>.log.1` when its process starts."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Child:
    """A running child process.

    It leads a session of its own, so that a Ctrl-C in the terminal reaches the supervisor only, and
    the kernel kills it when the thread that started it ends: no child outlives its supervisor, not
    even one that was killed. That thread must therefore live as long as the child should.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str | None], log: Path) -> None:
        """Start `argv`, `env` added to our environment (None: taken out of it).

        Raises OSError when it cannot be run.
        """
        self._reaping = threading.Lock()
        with open_log(log) as output:
            self.log_begin = output.tell()
            """Where in the log file what this process writes begins, in bytes."""
            # So that of whatever it writes, tracebacks as well, it is known when (`services.logs`).
            with contextlib.suppress(OSError):  # a full disk must not keep it from starting
                os.write(output.fileno(), _start_line(log))
            self._process = subprocess.Popen(
                list(argv),
                env={n: v for n, v in {**os.environ, **env}.items() if v is not None},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its session."""
        return self._process.pid

    def has_ended(self) -> bool:
        """Whether it has ended; it is not reaped by asking."""
        return self._process.returncode is not None or _peek(self.pid, os.WNOHANG)

    def wait(self) -> int:
        """Wait for its end; the exit code, or minus the signal that ended it.

        Whatever it left running in its session is killed. Only one thread may wait; any may signal.
        """
        if self._process.returncode is None:
            _peek(self.pid, 0)
        # Until it is reaped its id cannot be another process's: signals sent so far hit nobody
        # else, and none is sent after.
        with self._reaping:
            self._kill_session()
            return self._process.wait()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        with self._reaping:
            if self._process.returncode is None:  # Popen's own terminate would reap
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and all that it started in its session (SIGKILL)."""
        with self._reaping:
            self._kill_session()

    def _kill_session(self) -> None:
        if self._process.returncode is None:
            # An error says that nobody but the dead is left in it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)


def die_with_parent() -> Callable[[], None]:
    """A `preexec_fn` that has the kernel kill the child when the thread that forked it ends."""
    parent = os.getpid()

    def in_the_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return in_the_child


def open_log(path: Path) -> BinaryIO:
    """Open a log file for appending; one that grew past `LARGEST_LOG` is set aside first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LARGEST_LOG:
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab")


def _start_line(log: Path) -> bytes:
    now = datetime.now(UTC).isoformat()
    line = {"event": "process starts", "level": "info", "timestamp": now, "process": log.stem}
    return f"{json.dumps(line)}\n".encode()


def _peek(pid: int, flags: int) -> bool:
    """Whether the child `pid` has ended; it stays to be reaped. Without WNOHANG, wait for it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | flags) is not None
