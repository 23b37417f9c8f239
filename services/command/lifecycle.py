"""``weir up`` and ``weir down``: the whole system, started and stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.command.context import TaskOption
from services.command.output import CommandError, err, note
from services.deployment import current

if TYPE_CHECKING:
    from streams.settings import Settings

STOP_TIMEOUT_S = 120
"""Longest orderly stop: each of seven processes has 30 s at most, most of them at the same time."""

PageOption = Annotated[bool, typer.Option("--no-page", help="Do not start the web page.")]


def up(
    task: TaskOption = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay in this terminal; Ctrl-C stops everything.")
    ] = False,
    no_page: PageOption = False,
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="A process not to start (broker, store, worker, sink, trainer, learner, alerting, "
            "console), because it runs elsewhere; may be given more than once.",
            show_default=False,
        ),
    ] = None,
    report_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Start the system for a task, and return when all of it works."""
    absent = _absent(without or [], no_page)
    settings, explicit = with_task(task)
    refuse_if_running(settings.home)
    if foreground:
        _stay(settings, explicit, absent, report_fd)
    else:
        _detach(settings, absent)


def down() -> None:
    """Stop the system that runs in this home, in order. Nothing acknowledged is lost."""
    from services.supervisor import stop_home

    home = current().home
    with err.status("stopping") if err.is_terminal else _nothing():
        stopped = stop_home(home, STOP_TIMEOUT_S)
    note(f"the system in {home} is stopped" if stopped else f"nothing runs in {home}")


def with_task(task: str | None) -> tuple[Settings, set[str]]:
    """The settings for a start, and the names of those that the environment insists on."""
    from services.command.starting import absolute_task
    from services.contract import recorded
    from streams.settings import Settings

    nothing: dict[str, Any] = {}
    explicit = set(Settings(**nothing).model_fields_set)
    settings = current()
    reference = task or settings.task
    if ":" not in reference:
        contract = recorded(settings.home, reference)
        if contract is None:
            raise CommandError(
                f"no task called {reference} has run in {settings.home}; give its file, as in "
                f"--task path/to/{reference}.py:Name",
                code=2,
            )
        reference = contract.reference
    update = {"task": absolute_task(reference), "home": settings.home.resolve()}
    return settings.model_copy(update=update), explicit


def refuse_if_running(home: Path) -> None:
    """CommandError where a supervisor runs in this home already."""
    from services.supervisor import read_run_state

    if read_run_state(home).running:
        raise CommandError(
            f"a system runs in {home} already: `weir status` shows it, `weir down` stops it; "
            "another home is another system (WEIR_HOME)"
        )


def _absent(without: Sequence[str], no_page: bool) -> set[str]:
    from services.system import PROCESSES

    unknown = [name for name in without if name not in PROCESSES]
    if unknown:
        raise CommandError(
            f"--without {', '.join(unknown)}: the processes are {', '.join(PROCESSES)}", code=2
        )
    return {*without, *(["console"] if no_page else [])}


def _stay(settings: Settings, explicit: set[str], absent: set[str], fd: int | None) -> None:
    """Run the system in this process until a signal ends it."""
    from services.command.reports import Report
    from services.command.starting import log_to, start
    from services.supervisor import Supervisor
    from streams.observe import stop_on_signals

    report = Report(fd)
    stop = threading.Event()
    stop_on_signals(stop)
    log_to(settings.home / "logs" / "supervisor.log")
    try:
        with Supervisor(settings.home, stop) as supervisor:
            started = start(supervisor, settings, explicit=explicit, without=absent, say=report.say)
            if started is not None:
                report.ready(summary(started.settings, absent))
                stop.wait()
            report.say("stopping")
    except Exception as error:
        from services.command import explain

        if fd is not None and (said := explain(error)):
            report.failed(*said)
        raise
    report.say("stopped")


def _detach(settings: Settings, absent: set[str]) -> None:
    """Start a supervisor that outlives this command, and wait until it says that all works."""
    log = settings.home / "logs" / "supervisor.out"
    log.parent.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    arguments = ["up", "--foreground", "--task", settings.task, "--report-fd", str(writing)]
    arguments += [word for name in sorted(absent) for word in ("--without", name)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.command", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[writing],
            start_new_session=True,
        )
    os.close(writing)
    with os.fdopen(reading) as reports, err.status("starting") as status:
        try:
            for line in reports:
                report = json.loads(line)
                if report["kind"] == "say":
                    status.update(report["text"])
                    note(report["text"])
                elif report["kind"] == "ready":
                    err.print(report["text"], soft_wrap=True)
                    return
                else:
                    process.wait()
                    raise CommandError(report["text"], report["code"])
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise CommandError("stopped before it was up") from None
    code = process.wait()
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise CommandError(f"the supervisor ended with exit code {code}; the end of {log}:\n{tail}")


def summary(settings: Settings, absent: set[str]) -> str:
    """Where everything is, for a person."""
    lines = [f"Kafka      {settings.bootstrap}"]
    lines += [f"ClickHouse http://{settings.clickhouse_host}:{settings.clickhouse_port}"]
    if "console" not in absent:
        lines += [f"page       http://127.0.0.1:{settings.console_port}/"]
    return "\n".join([*lines, f"logs       {settings.home / 'logs'}"])


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()
