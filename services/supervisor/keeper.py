"""Keeps one process running, in a thread of its own."""

from __future__ import annotations

import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import structlog

from services.logs import last_error
from services.supervisor.child import Child
from services.supervisor.crashes import CrashHistory
from services.supervisor.ends import UnplannedEnd, record_end
from services.supervisor.spec import ProcessSpec
from services.supervisor.state import ProcessState, forget_state, start_ticks, write_state

FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 30.0
STABLE_AFTER_S = 30.0
"""A process that was ready this long before it died starts again without a longer wait."""

PROBE_EVERY_S = 0.05
HEALTH_TIMEOUT_S = 2.0
LOG_TAIL_LINES = 15

log = structlog.get_logger(__name__)

Start = Literal["ready", "late", "ended", "stopped"]
"""How a start went: ready; not ready in time; ended before it was; given up since it is to stop."""


class Keeper:
    """Starts a process when those it waits for are ready, and starts it again when it dies.

    The thread that starts the child is the one that waits for its end, since the kernel kills a
    child whose starting thread has ended (see `Child`).
    """

    def __init__(
        self,
        spec: ProcessSpec,
        home: Path,
        prerequisites: Sequence[Keeper],
        on_end: Callable[[UnplannedEnd], None],
    ) -> None:
        self.spec = spec
        self.ready = threading.Event()
        self.failure: str | None = None
        """Why it did not come up, once it is known that it does not."""
        self._home = home
        self._on_end = on_end
        self._prerequisites = prerequisites
        self._log_path = home / "logs" / f"{spec.name}.log"
        self._stop = threading.Event()
        self._child: Child | None = None
        self._restarts = 0
        self._crashes = CrashHistory()
        self._last_end: UnplannedEnd | None = None
        self._probe_error: Exception | None = None
        self._stop_asked_at = 0.0
        self._thread = threading.Thread(target=self._keep, name=f"keeper-{spec.name}", daemon=True)
        self.status = self._new_status("waiting", None)

    def start(self) -> None:
        """Begin; `ready` is set, or `failure` says why not."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Ask the process to end (SIGTERM), and start it no more."""
        self._stop_asked_at = time.monotonic()
        self._stop.set()
        if self._child:
            self._child.terminate()

    def finish(self) -> None:
        """Return when the process has ended; kill it when its time to end in order is over."""
        left = self._stop_asked_at + self.spec.stop_timeout_s - time.monotonic()
        self._thread.join(max(left, 0))
        if self._thread.is_alive():
            log.warning(
                "process killed: it did not end in time",
                name=self.spec.name,
                stop_timeout_s=self.spec.stop_timeout_s,
            )
            if self._child:
                self._child.kill()
            self._thread.join()
        forget_state(self._home, self.spec.name)

    def _keep(self) -> None:
        if not self._await_prerequisites():
            return
        backoff_s = FIRST_BACKOFF_S
        while not self._stop.is_set():
            # 1. Start it.
            try:
                child = Child(self.spec.argv, self.spec.env, self._log_path)
            except OSError as error:
                self._fail(f"{self.spec.name} cannot be run: {error}")
                return
            self._child = child
            self._crashes = self._crashes.started(time.time())
            self._become("starting", child)
            if self._stop.is_set():  # it may have been asked before there was a child to ask
                child.terminate()

            # 2. Wait until it is ready, then for its end.
            start = self._await_ready(child)
            if start == "ready":
                self._become("ready", child)
                self.ready.set()
                log.info("process ready", name=self.spec.name, pid=child.pid)
            elif start == "late":
                child.kill()
            ready_at = time.monotonic()
            code = child.wait()

            # 3. Whatever nobody asked for is written down.
            if self._stop.is_set():
                return
            if self.spec.restart or code != 0:
                self._record_end(child, start, code)

            # 4. A first start that does not get there is a failure: its user has to be told.
            if not self.ready.is_set():
                self._fail(self._why_not_ready(start, code))
                return
            if not self.spec.restart:
                log.info("process ended", name=self.spec.name, how=_describe(code))
                self._become("ended", None)
                return

            # 5. Start it again, at once if it had run well, else later each time.
            if start == "ready" and time.monotonic() - ready_at > STABLE_AFTER_S:
                backoff_s = FIRST_BACKOFF_S
            log.warning(
                "process died: starting it again",
                name=self.spec.name,
                how=_describe(code),
                error=self._last_end.error if self._last_end else "",
                in_s=round(backoff_s, 1),
                log=str(self._log_path),
            )
            self._become("backing-off", None)
            self._stop.wait(backoff_s)
            backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)

    def _record_end(self, child: Child, start: Start, code: int) -> None:
        now = datetime.now(UTC)
        error = last_error(self._log_path, child.log_begin)
        late = f" by the supervisor: not ready after {self.spec.ready_timeout_s:g} s"
        self._last_end = UnplannedEnd(
            name=self.spec.name,
            pid=child.pid,
            at=now.isoformat(),
            how=_describe(code) + (late if start == "late" else ""),
            error=error.text if error else "",
            log=str(self._log_path),
        )
        self._restarts += 1
        was_looping = self._crashes.looping(now.timestamp())
        self._crashes = self._crashes.ended(now.timestamp())
        try:
            record_end(self._home, self._last_end)
        except OSError as failed:  # a full disk: the process is started again all the same
            log.warning("an unplanned end is not kept", name=self.spec.name, error=str(failed))
        if self._crashes.looping_since is not None and not was_looping:
            log.warning("crash loop", name=self.spec.name, end=self._last_end.text)
        self._on_end(self._last_end)

    def _await_prerequisites(self) -> bool:
        for other in self._prerequisites:
            while not other.ready.wait(PROBE_EVERY_S):
                if self._stop.is_set() or other.failure:
                    return False
        return True

    def _await_ready(self, child: Child) -> Start:
        if self.spec.ready is None:
            return "ready"
        deadline = time.monotonic() + self.spec.ready_timeout_s
        while not child.has_ended():
            if self._is_ready():
                return "ready"
            if self._stop.wait(PROBE_EVERY_S):
                return "stopped"
            if time.monotonic() > deadline:
                return "late"
        return "ended"

    def _is_ready(self) -> bool:
        ready = self.spec.ready
        try:
            if isinstance(ready, str):
                return _answers(ready)
            return ready is not None and ready()
        except Exception as error:  # a connection refused, most often: it is not ready yet
            self._probe_error = error
            return False

    def _why_not_ready(self, start: Start, code: int) -> str:
        what = f"was not ready after {self.spec.ready_timeout_s:g} s"
        if start == "late" and self._probe_error:
            what += f" (last: {self._probe_error})"
        elif start == "ended":
            what = f"ended at its first start ({_describe(code)})"
        return f"{self.spec.name} {what}; the end of {self._log_path}:\n{_tail(self._log_path)}"

    def _fail(self, why: str) -> None:
        log.error("process failed", name=self.spec.name, why=why)
        self._become("failed", None)
        self.failure = why

    def _become(self, state: str, child: Child | None) -> None:
        self.status = self._new_status(state, child)
        try:
            write_state(self._home, self.status)
        except OSError as error:  # a full disk: others see it later
            log.warning("the run file is not written", name=self.spec.name, error=str(error))

    def _new_status(self, state: str, child: Child | None) -> ProcessState:
        return ProcessState(
            name=self.spec.name,
            pid=child.pid if child else None,
            start_ticks=start_ticks(child.pid) if child else None,
            state=state,
            since=datetime.now(UTC).isoformat(timespec="milliseconds"),
            restarts=self._restarts,
            addresses=dict(self.spec.addresses),
            log=str(self._log_path),
            last_end=asdict(self._last_end) if self._last_end else None,
            started_at=self._crashes.started_at,
            looping_since=self._crashes.looping_since,
        )


def _answers(url: str) -> bool:
    # No proxy: the environment may name one, and it cannot reach this machine's 127.0.0.1.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=HEALTH_TIMEOUT_S) as answer:
        return bool(answer.status == 200)


def _tail(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return "\n".join(lines[-LOG_TAIL_LINES:])


def _describe(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
