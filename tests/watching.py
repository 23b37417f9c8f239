"""No process ends and no error is logged without the test saying so.

Loaded as a plugin of pytest (tests/conftest.py), so no test can forget it. It registers every
process that a test or a fixture starts, the file that its output goes to, and every home that it is
given. After each test, once its fixtures are torn down, the test fails

- where a service ended that the test did not end by a signal, or a supervisor wrote down an
  unplanned end of one that it keeps (``watched.expect_end``),
- where a log, or output that the test captured, has got an error record: one of level error or
  above, or a traceback (``watched.expect_error``; what counts is in `services.logs`).

A service is what `services.supervisor.child.Child` starts, and each module of Weir that runs until
it is told to end. Any other process is a command: it ends by itself, and its exit code is for the
test to look at.

Tests of one module declare what belongs to all of them, or to a process that they share, by a
marker: ``pytestmark = pytest.mark.expect_error("regex", why="...")``, and ``expect_end`` likewise.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.logs import error_records
from services.supervisor import unplanned_ends
from services.supervisor.child import Child

BROKER_AWAY = (
    r"KafkaConnectionError|socket disconnected|ConnectionResetError: \[Errno 104\]"
    r"|^\S+: FAIL \[weir"
)
"""What clients log at level error while they look for a broker that a test took away."""

BUSY_MACHINE = r"controller event queue overloaded"
"""What a broker logs at level error where others keep the machine from it: no test's doing."""

ROOT = Path(__file__).parents[1]
SERVICE = re.compile(r"-m (streams\.app|services\.(?!command\b)\w+)\b")
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP)


@dataclass(frozen=True)
class Service:
    """A process that runs until a test ends it."""

    process: subprocess.Popen[Any]
    command: str

    def has_ended(self) -> bool:
        """Whether it has ended; it is not reaped by asking."""
        return self.process.returncode is not None or _has_ended(self.process.pid)


class Watch:
    """What the processes of this session did since the last look."""

    def __init__(self) -> None:
        self._services: dict[int, Service] = {}
        self._ended_by_test: set[int] = set()
        self._read: dict[Path, int] = {}
        """Logs, and how many bytes of each were looked at."""
        self._homes: set[Path] = set()
        self._ends_read: dict[Path, int] = {}
        self._captured: list[str] = []
        self._expected_errors: list[str] = []
        self._expected_ends: list[str] = []

    # What tests declare.

    def expect_error(self, pattern: str, why: str) -> None:
        """Let this test's processes log errors that match a regex. `why` is for the reader."""
        assert why
        self._expected_errors.append(pattern)

    def expect_end(self, process: Child | subprocess.Popen[Any] | str, why: str) -> None:
        """Let this process end by itself, or those whose ends in words match a regex.

        `why` is for the reader.
        """
        assert why
        if isinstance(process, str):
            self._expected_ends.append(process)
        else:
            self._ended_by_test.add(process.pid)

    # What processes do.

    def started(self, process: subprocess.Popen[Any], by: str, options: Mapping[str, Any]) -> None:
        """Register a process that has just been started."""
        argv = process.args
        words = [argv] if isinstance(argv, str | bytes | os.PathLike) else list(argv)
        command = " ".join(os.fsdecode(word) for word in words)
        if by == Child.__module__ or SERVICE.search(command):
            self._ended_by_test.discard(process.pid)  # it may be the id of one that is gone
            self._services[process.pid] = Service(process, command)
        for stream in (options.get("stdout"), options.get("stderr")):
            name = getattr(stream, "name", None)
            if isinstance(name, str | os.PathLike):
                path = Path(name).resolve()
                if path.is_file():
                    self._read.setdefault(path, 0)
        environment = options.get("env") or os.environ
        if home := environment.get("WEIR_HOME"):
            self._homes.add(Path(home))
        elif (folder := options.get("cwd")) and Path(folder).resolve() != ROOT:
            self._homes.add(Path(folder, ".weir"))
        if "--home" in words[:-1]:
            self._homes.add(Path(words[words.index("--home") + 1]))

    def captured(self, output: str | bytes | None) -> None:
        """Look at output that a test captured."""
        if output:
            self._captured += _errors("captured output", output)

    def signalled(self, pid: int, number: int) -> None:
        """Note that this process sends a signal: who has ended before it ended by itself."""
        service = self._services.get(pid)
        if number in ENDING and service is not None and not service.has_ended():
            self._ended_by_test.add(pid)

    # What a test has to answer for.

    def findings(self, item: pytest.Item) -> list[str]:
        """What happened since the last look and was not declared; each is given once."""
        ends = self._expected_ends + _declared(item, "expect_end")
        errors = [BUSY_MACHINE, *self._expected_errors, *_declared(item, "expect_error")]
        self._expected_ends, self._expected_errors = [], []
        own = [f"ended by itself: {service.command}" for service in self._pop_ended()]
        found = _without(ends, [*own, *self._ends_in_homes()])
        return found + _without(errors, [*self._pop_captured(), *self._new_in_logs()])

    def _pop_ended(self) -> Iterator[Service]:
        for pid, service in list(self._services.items()):
            if service.has_ended():
                del self._services[pid]
                if pid not in self._ended_by_test:
                    yield service

    def _ends_in_homes(self) -> Iterator[str]:
        """What supervisors of other processes wrote down."""
        for home in self._homes:
            ends = unplanned_ends(home)
            for end in ends[self._ends_read.get(home, 0) :]:
                yield f"{home.name}: {end.name} ended, {end.text}"
            self._ends_read[home] = len(ends)

    def _pop_captured(self) -> list[str]:
        found, self._captured = self._captured, []
        return found

    def _new_in_logs(self) -> Iterator[str]:
        for home in self._homes:
            for pattern in ("logs/*.log", "logs/*.out"):
                for log in home.resolve().glob(pattern):
                    self._read.setdefault(log, 0)
        for log, done in list(self._read.items()):
            try:
                size = log.stat().st_size
            except FileNotFoundError:
                del self._read[log]
                continue
            if size < done:  # a new file under the old name
                done = 0
            if size > done:
                with log.open("rb") as file:
                    file.seek(done)
                    new = file.read(size - done)
                new = new[: new.rfind(b"\n") + 1]  # the rest of a line comes later
                self._read[log] = done + len(new)
                yield from _errors(f"{log.parent.name}/{log.name}", new)


def _errors(log: str, output: str | bytes) -> list[str]:
    text = output if isinstance(output, str) else output.decode(errors="replace")
    return [f"{log}: {error.text}" for error in error_records(log, text.splitlines())]


def _has_ended(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
        return os.waitid(os.P_PID, pid, flags) is not None
    return True


def _without(patterns: list[str], lines: Iterable[str]) -> list[str]:
    return [line for line in lines if not any(re.search(pattern, line) for pattern in patterns)]


def _declared(item: pytest.Item, marker: str) -> list[str]:
    found = []
    for mark in item.iter_markers(marker):
        assert mark.kwargs.get("why"), f"say why: @pytest.mark.{marker}({mark.args}, why=...)"
        found += mark.args
    return found


_watch = Watch()


def _watch_popen() -> None:
    """Have every process that Python starts registered, and captured output looked at."""
    start, communicate = subprocess.Popen.__init__, subprocess.Popen.communicate

    def started(self: subprocess.Popen[Any], *args: Any, **options: Any) -> None:
        start(self, *args, **options)
        by = sys._getframe(1).f_globals.get("__name__", "")
        _watch.started(self, by, options)

    def communicated(self: subprocess.Popen[Any], *args: Any, **options: Any) -> Any:
        outputs = communicate(self, *args, **options)
        for output in outputs:
            _watch.captured(output)
        return outputs

    subprocess.Popen.__init__ = started  # type: ignore[method-assign]
    subprocess.Popen.communicate = communicated  # type: ignore[method-assign]


def _watch_kills() -> None:
    """Have every signal noted that this process sends, before it is sent."""
    for name in ("kill", "killpg"):
        send = getattr(os, name)

        def sent(pid: int, number: int, send: Callable[[int, int], None] = send) -> None:
            _watch.signalled(pid, number)
            send(pid, number)

        setattr(os, name, sent)


def pytest_configure() -> None:
    """Begin, before anything is started."""
    _watch_popen()
    _watch_kills()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Look when the fixtures are torn down: processes end there, and say their last words."""
    try:
        yield
    finally:
        found = _watch.findings(item)
    if found:
        pytest.fail("not declared by the test:\n" + "\n".join(found), pytrace=False)


@pytest.fixture
def watched() -> Watch:
    """Declare what this test's processes may log, and which may end by themselves."""
    return _watch
