"""Carries out one fault on the running system, and waits until it is over."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from services.faults.plan import Fault, Kind
from services.faults.running import PATIENCE_S, WORKER, FaultError, Running, wait_for
from services.faults.visible import Visible
from services.registry import request_retrain
from streams.task import Task

SESSION_S = 10.0
"""The workers' session with the group: a frozen one is given up after it."""
IN_FLIGHT_S = 0.3
"""A frozen broker is killed after this: the worker polls several times meanwhile, so what it had
fetched is in a transaction that waits for the broker."""


@dataclass(frozen=True)
class Recovery:
    """How a fault went.

    seconds: from its begin (of what is switched on and off: from its end) until what it stops
    works again; see `Injector`. worst_s: the longest that a request published during it waited
    for its prediction. skipped: why it was not done.
    """

    fault: Fault
    seconds: float = 0.0
    worst_s: float = 0.0
    skipped: str = ""


class Injector:
    """Does faults to a system, one at a time.

    What is waited for, and timed: after a fault of the worker or broker, that every partition
    shows a prediction of a request published after it began; after one of the sink or store, that
    ClickHouse has more predictions than were visible when it began; of the trainer, that it is
    ready. Of a second worker the slower of its coming and its going counts. Before and after
    each, all processes are ready and the first worker has all partitions.
    """

    def __init__(
        self, running: Running, task: Task, visible: Visible, sent: Callable[[], int], disk: str
    ) -> None:
        """sent: requests published so far. disk: why the store's disk cannot be filled, or ''."""
        self._running, self._task, self._visible, self._sent = running, task, visible, sent
        self._no_disk = disk
        self.retrains: list[str] = []
        """Ids of the trainings that were asked for."""

    def inject(self, fault: Fault) -> Recovery:
        """Do it, and return when it is over. FaultError where it never is."""
        if fault.kind is Kind.DISK_FULL and self._no_disk:
            return Recovery(fault, skipped=self._no_disk)
        self._settle()
        start = self._sent()
        seconds = self._do(fault)
        self._settle()
        return Recovery(fault, seconds, self._visible.longest_wait_s(start, self._sent()))

    def _settle(self) -> None:
        self._running.wait_until_ready()
        wait_for(
            lambda: self._running.partitions_of_first() == self._running.partitions,
            "the first worker has all partitions",
        )

    def _do(self, fault: Fault) -> float:
        match fault.kind:
            case Kind.WORKER_KILL:
                return self._kill(WORKER, self._until_answers())
            case Kind.BROKER_KILL:
                return self._kill("broker", self._until_answers())
            case Kind.SINK_KILL:
                return self._kill("sink", self._until_rows())
            case Kind.STORE_KILL:
                return self._kill("store", self._until_rows())
            case Kind.TRAINER_KILL:
                return self._kill_training()
            case Kind.BROKER_IN_TRANSACTION:
                return self._kill_broker_in_transaction()
            case Kind.WORKER_FREEZE:
                return self._freeze_worker(fault)
            case Kind.WORKER_JOINS:
                return self._join(fault)
            case Kind.CLICKHOUSE_REFUSES:
                return self._for_a_while(fault, self._refusing())
            case Kind.DISK_FULL:
                return self._for_a_while(fault, full_disk(self._running.settings.home / "store"))
            case Kind.POISON:  # the load has it
                return _timed(self._until_answers())

    # What it is over by.

    def _until_answers(self) -> Callable[[], None]:
        begin = self._sent()

        def wait() -> None:
            # The load goes on meanwhile: each partition gets requests.
            if not self._visible.wait_for(begin, PATIENCE_S):
                raise FaultError(f"no predictions of requests after {begin} in every partition")

        return wait

    def _until_rows(self) -> Callable[[], None]:
        seen = self._visible.count

        def wait() -> None:
            wait_for(lambda: self._running.rows("predictions") > seen, "ClickHouse gets rows")

        return wait

    # The faults.

    def _kill(self, name: str, until: Callable[[], None]) -> float:
        began = time.monotonic()
        pid = self._running.signal(name, signal.SIGKILL)
        until()
        seconds = time.monotonic() - began
        self._running.wait_until_ready([name], other_than=pid)
        return seconds

    def _kill_training(self) -> float:
        event = request_retrain(
            self._running.settings, self._task, "a fault is to hit it", "weir faults"
        )
        self.retrains.append(event)
        wait_for(
            lambda: self._running.health("trainer").get("event_id") == event, "the trainer trains"
        )
        began = time.monotonic()
        pid = self._running.signal("trainer", signal.SIGKILL)
        self._running.wait_until_ready(["trainer"], other_than=pid)
        return time.monotonic() - began

    def _kill_broker_in_transaction(self) -> float:
        until, began = self._until_answers(), time.monotonic()
        pid = self._running.signal("broker", signal.SIGSTOP)
        time.sleep(IN_FLIGHT_S)
        os.kill(pid, signal.SIGKILL)
        until()
        seconds = time.monotonic() - began
        self._running.wait_until_ready(["broker"], other_than=pid)
        return seconds

    def _freeze_worker(self, fault: Fault) -> float:
        running, until = self._running, self._until_answers()
        began = time.monotonic()
        pid = running.signal(WORKER, signal.SIGSTOP)
        try:
            running.start_second()
            wait_for(
                lambda: running.partitions_of_second() == running.partitions,
                "the second worker has all partitions",
            )
            until()
            seconds = time.monotonic() - began
            time.sleep(max(0.0, SESSION_S + fault.seconds - seconds))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        # The zombie is refused, or finds out by itself, and is back as a second member.
        wait_for(running.partitions_of_first, "the frozen worker is back in the group")
        return max(seconds, self._leave(fault))

    def _join(self, fault: Fault) -> float:
        running = self._running
        running.start_second()
        wait_for(running.partitions_of_second, "the second worker has partitions")
        joined = _timed(self._until_answers())
        time.sleep(fault.seconds)
        return max(joined, self._leave(fault))

    def _leave(self, fault: Fault) -> float:
        until, began = self._until_answers(), time.monotonic()
        self._running.stop_second(fault.violent)
        self._settle()
        until()
        return time.monotonic() - began

    def _for_a_while(self, fault: Fault, state: contextlib.AbstractContextManager[None]) -> float:
        with state:
            time.sleep(fault.seconds)
        return _timed(self._until_rows())

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """ClickHouse's own refusal: a table with one part takes no more (TOO_MANY_PARTS)."""
        tables = [topic.table for _, topic in self._running.contract.topics()]
        try:
            for table in tables:
                self._alter(table, "MODIFY SETTING parts_to_throw_insert = 1")
            yield
        finally:
            for table in tables:
                self._alter(table, "RESET SETTING parts_to_throw_insert")

    def _alter(self, table: str, change: str) -> None:
        statement = f"ALTER TABLE `{self._running.contract.task}`.`{table}` {change}"
        wait_for(lambda: self._running.sql(statement, write=True) is not None, statement)


def _timed(wait: Callable[[], None]) -> float:
    began = time.monotonic()
    wait()
    return time.monotonic() - began


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Fill the file system that ``folder`` is on, to the last page, and make room again."""
    ballast = folder.parent / folder.name / ".ballast"
    page = bytes(1 << 16)
    try:
        with ballast.open("wb", buffering=0) as file:
            free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
            with contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, max(1, free - len(page)))
                file.seek(0, os.SEEK_END)
            with contextlib.suppress(OSError):
                while True:
                    if file.write(page) < len(page):
                        break
        yield
    finally:
        ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[str]:
    """A small file system of its own at ``folder``; gives '' or why there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    why = _mount(folder, megabytes)
    try:
        yield why
    finally:
        if not why:
            # Lazily: what still has a file open in it does not keep the home from being removed.
            subprocess.run(["umount", "--lazy", str(folder)], check=False)


def _mount(folder: Path, megabytes: int) -> str:
    if os.geteuid() != 0:
        return "a small disk of its own needs root"
    what = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(what, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no mount command"
    return "" if done.returncode == 0 else f"no tmpfs can be mounted: {done.stderr.strip()}"


def skipped_reasons(recoveries: list[Recovery]) -> dict[str, str]:
    """Why faults were not done, by kind."""
    return {str(r.fault.kind): r.skipped for r in recoveries if r.skipped}
