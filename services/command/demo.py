"""``weir demo``: the whole loop on a year of real flights."""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.command.output import CommandError, err, note, print_json

if TYPE_CHECKING:
    from services.command.background import Background
    from services.command.starting import Started
    from services.demo.timeline import Timeline
    from streams.settings import Settings

TASK = "services.demo.flight_delay:FlightDelay"

REDRAW_S = 0.25
LINE_EVERY_S = 5.0
DRAIN_S = 120.0
"""Longest wait, after the replay, until everything that was published is answered and stored."""

UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}


def demo(
    for_: Annotated[
        str | None,
        typer.Option("--for", help="End after this long: 60s, 5min, 1h.", show_default=False),
    ] = None,
    speed: Annotated[
        str, typer.Option(help="Days of event time a second, or max: as fast as is answered.")
    ] = "1",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, as stdout's last line.")
    ] = False,
    no_page: Annotated[bool, typer.Option("--no-page", help="Do not start the web page.")] = False,
    home: Annotated[
        Path | None, typer.Option(help="Folder of all that it keeps.", show_default=False)
    ] = None,
    retrain_every: Annotated[
        int, typer.Option(min=0, help="Months of event time between two trainings; 0: never.")
    ] = 1,
) -> None:
    """Run the whole loop on real flights. Ctrl-C stops it; started again, it goes on."""
    from services.command.background import Background
    from services.command.lifecycle import refuse_if_running, with_task
    from services.command.starting import log_to, start
    from services.supervisor import Supervisor
    from streams.observe import stop_on_signals

    for_s, days_a_second = seconds(for_) if for_ else None, _speed(speed)
    if home is not None:
        os.environ["WEIR_HOME"] = str(home.resolve())  # before anything reads the settings
    settings, explicit = with_task(TASK)
    refuse_if_running(settings.home)
    log_to(settings.home / "logs" / "supervisor.log")
    stop = threading.Event()
    stop_on_signals(stop)
    timeline = Background(_timeline, at_once=False)
    with Supervisor(settings.home, stop) as supervisor:
        began = time.monotonic()
        started = start(
            supervisor,
            settings,
            explicit=explicit,
            without={"console"} if no_page else set(),
            later=not_needed_at_once(settings),
            known_task=True,
            say=note,
            on_ground=timeline.start,
        )
        result = None
        if started is not None and await_champion(started, stop):
            note(f"running {time.monotonic() - began:.1f} s after the start")
            result = _run(started, timeline.result(), stop, for_s, days_a_second, retrain_every)
        note("stopping")
    if result is None:
        note("stopped; `weir demo` goes on from here")
        return
    report, gaps = result
    if as_json:
        print_json(report)
    else:
        from services.command.demo_view import summary

        err.print(summary(report), soft_wrap=True)
    if gaps:
        raise CommandError("the system did not finish in time:\n" + "\n".join(gaps))


def not_needed_at_once(settings: Settings) -> set[str]:
    """Who may come up after the replay has begun: the trainer too, where a model is there."""
    return (
        {"console", "trainer"} if any(settings.artifacts.glob("*/manifest.json")) else {"console"}
    )


def await_champion(started: Started, stop: threading.Event) -> bool:
    """Wait until the worker serves a version; False where it was stopped meanwhile.

    CommandError with the end of the trainer's log where training failed.
    """
    from services.command.status import ask_health

    worker, trainer = (started.address(name, "health") for name in ("worker", "trainer"))
    told, began = "", time.monotonic()
    with err.status("waiting for the first model") as spinner:
        while not stop.wait(REDRAW_S):
            if (ask_health(worker) or {}).get("version"):
                return True
            training = ask_health(trainer) or {}
            if training.get("failed"):
                raise CommandError(
                    f"the first model could not be trained: {training['failed']}\n"
                    f"The trainer's log is {started.settings.home / 'logs' / 'trainer.log'}"
                )
            phase = str(training.get("phase") or "waiting")
            text = f"first model: {phase}, {training.get('done', 0):.0%}"
            spinner.update(text)
            if not err.is_terminal and phase != told:
                note(f"{text} ({time.monotonic() - began:.0f} s)")
                told = phase
    return False


def _run(
    started: Started,
    timeline: Timeline,
    stop: threading.Event,
    for_s: float | None,
    speed: float,
    retrain_every: int,
) -> tuple[dict[str, Any], list[str]] | None:
    """Replay and show it; the report, and what is missing, where it ended by itself."""
    from services.command.background import Background
    from services.command.context import Context
    from services.command.demo_view import Snapshot, summary
    from services.command.figures import Figures
    from services.demo.backlog import Backlog
    from services.demo.replay import Replay, scheduled_retrain
    from services.demo.watch import Watch

    kafka = {**started.settings.librdkafka(), "log_level": 0}
    task, contract = started.task, started.contract
    page = started.address("console", "page")
    with (
        Watch(task.name, task.partitions, kafka) as watch,
        Figures(Context(started.settings, contract)) as figures,
    ):
        replay = Replay(
            task,
            timeline,
            kafka,
            speed=speed,
            stop=stop,
            backlog=Backlog(task, kafka),
            on_month=scheduled_retrain(task, started.settings) if retrain_every else None,
            retrain_every=retrain_every,
            on_requests=watch.published,
        )
        running = Background(lambda: replay.run(for_s))

        def snapshot() -> Any:
            return Snapshot.of(replay.progress(), speed, watch, figures, page)

        _show(running, snapshot)
        running.result()
        if stop.is_set():
            return None
        result = _finish(started, watch, stop)
    if for_s is None and err.is_terminal:  # the year is over: what it led to can be looked at
        err.print(summary(result[0]), soft_wrap=True)
        note(f"the year is over{f'; see {page}' if page else ''}. Ctrl-C ends the demo")
        stop.wait()
    return result


def _show(running: Background, snapshot: Callable[[], Any]) -> None:
    from services.command.demo_view import line, panel

    if not err.is_terminal:
        while not running.done.wait(LINE_EVERY_S):
            note(line(snapshot()))
        return
    from rich.live import Live

    with Live(panel(snapshot()), console=err, auto_refresh=False) as live:
        while not running.done.wait(REDRAW_S):
            live.update(panel(snapshot()), refresh=True)
        live.update(panel(snapshot()), refresh=True)


def _finish(
    started: Started, watch: Any, stop: threading.Event
) -> tuple[dict[str, Any], list[str]]:
    """Wait until all is answered and stored, then count everything back from the topics."""
    from services.demo.ledger import Ledger
    from services.demo.report import SinkRows, drain, report

    contract, settings = started.contract, started.settings
    sink_rows = SinkRows(settings, contract.task)
    note("draining: every request answered, every truth joined, every record in ClickHouse")
    told = time.monotonic()

    def waiting(gaps: list[str]) -> None:
        nonlocal told
        if time.monotonic() - told > LINE_EVERY_S:
            note("; ".join(gaps) or "all is there; waiting whether more comes")
            told = time.monotonic()

    with Ledger(contract, settings.librdkafka(), settings.home) as ledger:
        gaps = drain(ledger, contract, sink_rows, deadline_s=DRAIN_S, stop=stop, on_wait=waiting)
        return report(ledger, contract, watch.latency_ms(), sink_rows()), gaps


def seconds(text: str) -> float:
    """``60s``, ``5min``, ``1h`` or a number of seconds. CommandError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    unit = found[2] or "s" if found else ""
    if found is None or unit not in UNITS or float(found[1]) <= 0:
        raise CommandError(f"--for {text}: say how long, as in 60s, 5min or 1h", code=2)
    return float(found[1]) * UNITS[unit]


def _speed(text: str) -> float:
    """Days a second; ``max`` is no limit. Read here: the replay's module imports scikit-learn."""
    try:
        speed = math.inf if text == "max" else float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise CommandError(f"--speed {text}: days a second, as in 0.5 or 10, or max", code=2)
    return speed


def _timeline() -> Timeline:
    from services.demo.flight_delay import FlightDelay
    from services.demo.flights import flights_from_march
    from services.demo.timeline import Timeline

    return Timeline(FlightDelay, flights_from_march())
