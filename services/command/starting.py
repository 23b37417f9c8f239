"""Starts a whole system under a supervisor: what ``weir up`` and ``weir demo`` share."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from services.broker import BrokerError, find_java
from services.command.background import Background
from services.contract import Contract, ContractError, check, record, told_of_readers
from services.deployment import DeploymentError, remember
from services.keys import with_keys
from services.supervisor import ProcessSpec, StartError, Supervisor
from services.system import LEARNER, System, assemble
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
    later: Collection[str] = (),
    known_task: bool = False,
    say: Say = lambda _: None,
    on_ground: Callable[[], None] = lambda: None,
) -> Started | None:
    """Start everything, in the order in which it is needed; None where it was stopped meanwhile.

    The supervisor is entered: its lock keeps two starts apart. ``later`` names processes that are
    started last and not waited for. ``known_task``: the task comes with Weir, so its file is not
    what could be wrong; it is loaded while the broker starts. ``on_ground`` is called when the
    broker and ClickHouse are up, for work of the caller's beside the rest.

    Raises ConfigurationError before anything runs; StartError, AdminError where something does
    not come up.
    """
    # 1. Everything that can be wrong is told at once; so far nothing is recorded or started.
    loading = None if known_task else Background(lambda: _load(settings))
    system = _plan(loading, settings, explicit, without)
    # 2. The ground: broker and ClickHouse.
    for moved in _moved(settings, system.settings):
        say(moved)
    settings = system.settings
    loading = loading or Background(lambda: _load(settings, known=True))
    if not _up(supervisor, system.ground, say):
        return None
    # 3. What other commands and older records need is kept before anybody can use it.
    task, contract = loading.result()
    if task.continual is None:
        others = [spec for spec in system.others if spec.name != LEARNER]
        system = replace(system, others=others)
    on_ground()
    for conflict in told_of_readers(contract, settings.home):
        say(f"note: consumers that read by an older schema will not understand {conflict}")
    record(contract, settings.home)
    remember(settings, contract)
    # 4. Topics, before anybody subscribes: Faust consumes nothing from one that is missing.
    from services.admin import create_topics

    report = create_topics(contract, settings.librdkafka())
    if report.created:
        say(f"created {len(report.created)} topics")
    for difference in report.differences:
        say(f"note: {difference}; left as it is")
    # 5. Everybody else.
    if not _up(supervisor, [spec for spec in system.others if spec.name not in later], say):
        return None
    _start_later(supervisor, [spec for spec in system.others if spec.name in later], say)
    return Started(system, task, contract)


def _load(settings: Settings, known: bool = False) -> tuple[Task, Contract]:
    """The task and its contract. known: it comes with Weir, whose tests have seen to the models.

    Raises TaskError, or ConfigurationError with all that is wrong with it in this home.
    """
    task = load_task(settings.task)
    contract = Contract.of(task, settings.task)
    problems = []
    try:
        check(contract, settings.home)
    except ContractError as error:
        problems.append(str(error))
    if not known and (unsavable := unsavable_once(task, settings.home)):
        problems.append(str(TaskError(task.name, unsavable)))
    if problems:
        raise ConfigurationError("\n".join(problems))
    return task, contract


def unsavable_once(task: Task, home: Path) -> list[str]:
    """What of the task's models no bundle could hold; looked into once for each declaration."""
    from streams.declaration import declaration, library_versions, sha256_of

    models = [declaration(task), task.continual and task.continual.facts(), library_versions()]
    path = home / "schemas" / task.name / "savable.json"
    known = sha256_of(models)
    with contextlib.suppress(OSError, ValueError):
        if json.loads(path.read_text()) == {"models": known}:
            return []
    from streams.training.savable import unsavable  # fits each model on a few rows: a second

    problems = unsavable(task)
    if not problems:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"models": known}))
    return problems


def _plan(
    loading: Background | None,
    settings: Settings,
    explicit: Collection[str],
    without: Collection[str],
) -> System:
    problems: list[str] = []
    system: System | None = None
    if loading is not None:
        try:
            loading.result()
        except (TaskError, ConfigurationError) as error:
            problems.append(str(error))
    try:
        find_java()
        system = assemble(with_keys(settings), explicit, without)
    except (BrokerError, DeploymentError) as error:
        problems.append(str(error))
    if system is None or problems:
        raise ConfigurationError("\n".join(problems))
    return system


def _start_later(supervisor: Supervisor, specs: list[ProcessSpec], say: Say) -> None:
    """Start processes that nobody waits for; one that does not come up is told."""

    def run() -> None:
        try:
            supervisor.start(specs)
        except StartError as error:
            say(str(error))

    if specs:
        Background(run)


def _moved(before: Settings, after: Settings) -> list[str]:
    """Which ports are others than were wanted, in words."""
    pairs = (
        ("the broker", before.bootstrap, after.bootstrap),
        ("ClickHouse", before.clickhouse_port, after.clickhouse_port),
        ("the page", before.console_port, after.console_port),
    )
    return [f"{was} is taken: {what} uses {now}" for what, was, now in pairs if was != now]


def _up(supervisor: Supervisor, specs: list[ProcessSpec], say: Say) -> bool:
    if not specs:
        return True
    began = time.monotonic()
    names = ", ".join(spec.name for spec in specs)
    say(f"starting {names}")
    try:
        if not supervisor.start(specs):
            return False
    except StartError as error:
        raise StartError(f"{error}\n{advice(str(error))}") from error
    say(f"ready after {time.monotonic() - began:.1f} s: {names}")
    return True


def advice(failure: str) -> str:
    """What a person can do about a process that did not come up."""
    if re.search("address already in use|port not free", failure, re.IGNORECASE):
        return "Another program took the port in the meantime: start again, it will use the next."
    if re.search("memory|killed by SIGKILL", failure, re.IGNORECASE):
        return "The machine seems short of memory: free some, then start again."
    if "was not ready after" in failure:
        return "The machine may be too busy: start again, what was done is kept."
    return "When what the log says is put right, start again: nothing that was stored is lost."


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
