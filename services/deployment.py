"""Which addresses a home uses: what the environment says, else what its last start recorded.

The embedded set-up takes the next free port where its usual one is busy; it records its choice,
so that a command in another terminal finds it without being told.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import IO, Any

import psutil

from services.contract import Contract, recorded, recorded_tasks
from services.ports import reserve
from streams.settings import Settings

RECORDED = (
    *("task", "bootstrap", "clickhouse_host", "clickhouse_port", "console_port"),
    "mlflow_uri",
)
"""Settings that a start records and later commands take over."""

PORTS_TRIED = 100


class DeploymentError(RuntimeError):
    """The settings do not fit together or a port is taken; the message says what to do."""


def current() -> Settings:
    """The settings of the deployment in WEIR_HOME; a WEIR_ variable wins over what is recorded.

    Raises pydantic's ValidationError, which lists all wrong values.
    """
    nothing: dict[str, Any] = {}
    settings = Settings(**nothing)
    known = _read(settings.home)
    explicit = settings.model_fields_set
    return Settings(**{n: known[n] for n in RECORDED if n in known and n not in explicit})


def remember(settings: Settings, contract: Contract) -> None:
    """Record the addresses and the task of a start in ``<home>/deployment.json``."""
    path = _path(settings.home)
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = settings.model_dump(mode="json", include=set(RECORDED))
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({**facts, "name": contract.task}, indent=2) + "\n", "utf-8")
    draft.replace(path)


def current_contract(settings: Settings, name: str | None = None) -> Contract | None:
    """The recorded contract of the task in use, or of another task of this home by its name."""
    if name is not None:
        return recorded(settings.home, name)
    known = _read(settings.home)
    if "name" in known and known["task"] == settings.task:
        return recorded(settings.home, known["name"])
    for task in recorded_tasks(settings.home):
        contract = recorded(settings.home, task)
        if contract and contract.reference == settings.task:
            return contract
    return None


class Ports:
    """Ports of 127.0.0.1 for one start, each held for as long as this object lives."""

    def __init__(self) -> None:
        self._held: dict[int, IO[bytes]] = {}

    def take(self, wanted: int, explicit: bool, what: str) -> int:
        """The wanted port, or the next free one where it is busy and nobody insisted on it.

        Raises DeploymentError, with the process that holds the port if it can be seen.
        """
        for port in range(wanted, min(wanted + PORTS_TRIED, 65536)):
            if self._lock(port):
                return port
            if explicit:
                raise DeploymentError(
                    f"{what}: port {port} of 127.0.0.1 is taken{_by_whom(port)}; end that process "
                    "or set another port"
                )
        raise DeploymentError(f"{what}: no free port from {wanted} to {wanted + PORTS_TRIED}")

    def _lock(self, port: int) -> bool:
        lock = None if port in self._held else reserve(port)
        if lock is not None:
            self._held[port] = lock
        return lock is not None


def answers(bootstrap: str, timeout_s: float = 0.5) -> bool:
    """Whether any of the brokers ``host:port,…`` takes a connection: known in no time if not."""
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout_s):
                return True
        except (OSError, ValueError):
            continue
    return False


def _by_whom(port: int) -> str:
    """``" by java (process 4711)"``, as far as this user may see it."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr:
                continue
            if connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return ""


def _path(home: Path) -> Path:
    return home / "deployment.json"


def _read(home: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(_path(home).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    return facts
