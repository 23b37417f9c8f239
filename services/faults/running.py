"""The running system, as the faults see it: processes, health pages, ClickHouse."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from services.contract import Contract
from services.ports import free_port
from services.supervisor import ProcessSpec, read_run_state
from services.supervisor.child import Child
from streams.reads import partitions_read
from streams.settings import Settings

LOOK_S = 0.05
PATIENCE_S = 300.0
"""A process, or a part of the work, that is not back within this time will not be."""
ASK_S = 2.0
SQL_S = 60.0
WORKER, SECOND = "worker", "1"


class FaultError(RuntimeError):
    """The system did not come back from a fault; the message says what was waited for."""


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Return what the condition gives, once it gives something true; FaultError names ``what``."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise FaultError(f"not within {timeout_s:g} s: {what}")
        time.sleep(LOOK_S)
    return found


@dataclass
class Running:
    """A system that a supervisor keeps, and a second worker beside it."""

    settings: Settings
    contract: Contract
    specs: Sequence[ProcessSpec]
    signalled: set[int] = field(default_factory=set, init=False)
    """Ids of the supervisor's processes that were sent a signal: their ends are ours."""
    _second: Child | None = field(default=None, init=False)
    _second_port: int = field(default=0, init=False)

    @property
    def partitions(self) -> int:
        """Partitions that one worker alone has."""
        return partitions_read(self.contract.partitions)

    @property
    def names(self) -> list[str]:
        """The processes that the supervisor keeps."""
        return [spec.name for spec in self.specs]

    def pid(self, name: str) -> int:
        """The process's id now. FaultError where it has none."""
        process = read_run_state(self.settings.home).processes.get(name)
        if process is None or process.pid is None:
            raise FaultError(f"{name} does not run")
        return process.pid

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal to a process of the supervisor; its id."""
        pid = self.pid(name)
        self.signalled.add(pid)
        os.kill(pid, number)
        return pid

    def wait_until_ready(self, names: Iterable[str] | None = None, other_than: int = 0) -> None:
        """Return when the supervisor finds these processes ready (None: all).

        other_than: the id of a process that was killed and counts as gone.
        """
        for name in self.names if names is None else names:
            wait_for(partial(self._is_ready, name, other_than), f"{name} is ready")

    def _is_ready(self, name: str, other_than: int) -> bool:
        process = read_run_state(self.settings.home).processes.get(name)
        return (
            process is not None
            and process.state == "ready"
            and process.alive
            and process.pid != other_than
        )

    def health(self, name: str) -> dict[str, Any]:
        """A process's health page; empty where it does not answer."""
        spec = next(spec for spec in self.specs if spec.name == name)
        return _ask(spec.addresses.get("health", ""))

    def partitions_of_first(self) -> int:
        """How many partitions the first worker has."""
        return int(self.health(WORKER).get("partitions") or 0)

    # The second worker.

    def start_second(self) -> None:
        """Start a second worker; it joins the group by itself."""
        spec = next(spec for spec in self.specs if spec.name == WORKER)
        self._second_port = free_port()
        env = {
            **spec.env,
            "WEIR_WORKER": SECOND,
            "WEIR_HEALTH_PORT": str(self._second_port),
        }
        log = self.settings.home / "logs" / "worker-second.log"
        self._second = Child(spec.argv, env, log)

    def partitions_of_second(self) -> int:
        """How many partitions the second worker has."""
        health = _ask(f"http://127.0.0.1:{self._second_port}/health")
        return int(health.get("partitions") or 0)

    def stop_second(self, violent: bool) -> None:
        """Stop the second worker, if there is one, and wait for its end."""
        if self._second is None:
            return
        (self._second.kill if violent else self._second.terminate)()
        wait_for(self._second.has_ended, "the second worker ends")
        self._second.wait()
        self._second = None

    # ClickHouse.

    def sql(self, statement: str, write: bool = False) -> str | None:
        """The answer of ClickHouse as text; None where it does not answer or refuses."""
        try:
            return self.read(statement, write).decode().strip()
        except FaultError:
            return None

    def read(self, statement: str, write: bool = False) -> bytes:
        """The answer of ClickHouse as it comes. FaultError where there is none, with its reason."""
        settings = self.settings
        url = f"http://{settings.clickhouse_host}:{settings.clickhouse_port}/"
        request = urllib.request.Request(
            url, statement.encode(), {"Content-Type": "text/plain; charset=UTF-8"}
        )
        if write:
            request.add_header("X-ClickHouse-User", settings.clickhouse_user)
            password = settings.clickhouse_password.get_secret_value()
            request.add_header("X-ClickHouse-Key", password)
        try:
            with _direct().open(request, timeout=SQL_S) as answer:
                raw: bytes = answer.read()
                return raw
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:1000]
            raise FaultError(f"ClickHouse refuses {statement[:200]}: {said}") from error
        except (OSError, http.client.HTTPException) as error:
            raise FaultError(f"ClickHouse does not answer: {error}") from error

    def rows(self, table: str) -> int:
        """Rows of a table; -1 where ClickHouse does not answer."""
        answer = self.sql(f"SELECT count() FROM `{self.contract.task}`.`{table}`")
        return -1 if not answer else int(answer)


def _direct() -> urllib.request.OpenerDirector:
    # No proxy: the environment may name one, and it cannot reach this machine's 127.0.0.1.
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _ask(url: str) -> dict[str, Any]:
    try:
        with _direct().open(url, timeout=ASK_S) as answer:
            said: dict[str, Any] = json.load(answer)
            return said
    except (OSError, ValueError, http.client.HTTPException):
        return {}
