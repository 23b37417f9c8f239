"""Starts a whole system under a supervisor: what ``weir up`` and ``weir demo`` share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.broker import BrokerError, find_java
from services.contract import Contract, ContractError, check, record
from services.deployment import DeploymentError, remember
from services.keys import with_keys
from services.supervisor import Supervisor
from services.system import System, assemble
from streams.settings import Settings
from streams.task import Task, TaskError, load_task

Say = Callable[[str], None]


class ConfigurationError(RuntimeError):
    """Nothing was started; the message lists everything that is wrong."""


@dataclass(frozen=True)
class Started:
    """A system that runs."""

    system: System
    task: Task
    contract: Contract

    @property
    def settings(self) -> Settings:
        """With the addresses that are in use."""
        return self.system.settings

    def address(self, process: str, what: str) -> str | None:
        """An address of a process, such as the console's ``page``."""
        for spec in (*self.system.ground, *self.system.others):
            if spec.name == process:
                return spec.addresses.get(what)
        return None


def start(
    supervisor: Supervisor,
    settings: Settings,
    *,
    explicit: Collection[str] = (),
    without: Collection[str] = (),
    say: Say = lambda _: None,
) -> Started | None:
    """Start everything, in the order in which it is needed; None where it was stopped meanwhile.

    The supervisor is entered: its lock keeps two starts apart. Raises ConfigurationError before
    anything runs; StartError, AdminError where something does not come up.
    """
    # 1. Everything that can be wrong is told at once; so far nothing has been written or started.
    task, contract, system = _plan(settings, explicit, without)
    wanted, settings = settings, system.settings
    # 2. What other commands and older records need is kept before anybody can use it.
    record(contract, settings.home)
    remember(settings, contract)
    for moved in _moved(wanted, settings):
        say(moved)
    # 3. The ground: broker and ClickHouse.
    if not _up(supervisor, system.ground, say):
        return None
    # 4. Topics, before anybody subscribes: Faust consumes nothing from one that is missing.
    from services.admin import create_topics

    report = create_topics(contract, settings.librdkafka())
    if report.created:
        say(f"created {len(report.created)} topics")
    for difference in report.differences:
        say(f"note: {difference}; left as it is")
    # 5. Everybody else.
    if not _up(supervisor, system.others, say):
        return None
    return Started(system, task, contract)


def _plan(
    settings: Settings, explicit: Collection[str], without: Collection[str]
) -> tuple[Task, Contract, System]:
    problems: list[str] = []
    task: Task | None = None
    contract: Contract | None = None
    system: System | None = None
    try:
        task = load_task(settings.task)
        contract = Contract.of(task, settings.task)
        check(contract, settings.home)
    except (TaskError, ContractError) as error:
        problems.append(str(error))
    try:
        find_java()
        system = assemble(with_keys(settings), explicit, without)
    except (BrokerError, DeploymentError) as error:
        problems.append(str(error))
    if task is None or contract is None or system is None or problems:
        raise ConfigurationError("\n".join(problems))
    return task, contract, system


def _moved(before: Settings, after: Settings) -> list[str]:
    """Which ports are others than were wanted, in words."""
    pairs = (
        ("the broker", before.bootstrap, after.bootstrap),
        ("ClickHouse", before.clickhouse_port, after.clickhouse_port),
        ("the page", before.console_port, after.console_port),
    )
    return [f"{was} is taken: {what} uses {now}" for what, was, now in pairs if was != now]


def _up(supervisor: Supervisor, specs: list[Any], say: Say) -> bool:
    if not specs:
        return True
    began = time.monotonic()
    names = ", ".join(spec.name for spec in specs)
    say(f"starting {names}")
    if not supervisor.start(specs):
        return False
    say(f"ready after {time.monotonic() - began:.1f} s: {names}")
    return True


def absolute_task(reference: str) -> str:
    """A task's reference that means the same in every folder: a file's path is made absolute."""
    where, colon, name = reference.rpartition(":")
    return f"{Path(where).resolve()}{colon}{name}" if where.endswith(".py") else reference


def log_to(path: Path) -> None:
    """Send this process's log lines to a file: the terminal is for the person at it."""
    from streams.observe import configure_logging

    configure_logging("supervisor")
    path.parent.mkdir(parents=True, exist_ok=True)
    root = logging.getLogger()
    handler = logging.FileHandler(path)
    handler.setFormatter(root.handlers[0].formatter)
    root.handlers = [handler]
