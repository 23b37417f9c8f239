"""``weir demo``: the whole loop on a year of real flights."""

from __future__ import annotations

import math
import os
import re
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.command.output import CommandError, err, note, print_json

if TYPE_CHECKING:
    from services.command.starting import Started
    from services.demo.timeline import Timeline
    from services.supervisor import UnplannedEnd
    from streams.settings import Settings

TASK = "services.demo.flight_delay:FlightDelay"

REDRAW_S = 0.25
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
        int,
        typer.Option(
            min=0,
            help="Ask for a training every so many months of event time, beside the task's own "
            "triggers; 0: leave it to them.",
        ),
    ] = 0,
) -> None:
    """Run the whole loop on real flights. Ctrl-C stops it; started again, it goes on.

    Exits with 1 where something was not done in time, a process crashed, or an error was logged.
    """
    from services.command.background import Background
    from services.command.lifecycle import refuse_if_running, with_task
    from services.command.starting import log_to, start
    from services.incidents import incidents
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
    result, since = None, datetime.now(UTC)
    with Supervisor(settings.home, stop, on_end=_tell) as supervisor:
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
        if started is not None and await_champion(started, stop):
            from services.command.replaying import linger, run_replay

            note(f"running {time.monotonic() - began:.1f} s after the start")
            page = started.address("console", "page")
            if page and not err.is_terminal:  # there it is part of the live view
                note(f"the page: {page}")
            result = run_replay(
                started, timeline.result(), stop, for_s, days_a_second, retrain_every
            )
            if result is not None and for_s is None:
                linger(started, result.report, stop)
        note("stopping")
    found = incidents(settings.home, since)  # with what went wrong while it stopped
    if result is None:
        note("stopped; `weir demo` goes on from here")
    elif as_json:
        print_json({**result.report, **found.facts()})
    else:
        from services.command.demo_view import summary

        err.print(summary(result.report), soft_wrap=True)
    problems = []
    if result is not None and result.missing:
        problems += ["the system did not finish in time:", *result.missing]
    if found:
        problems += ["not all went well on the way:", *found.lines()]
    if problems:
        raise CommandError("\n".join(problems))


def _tell(end: UnplannedEnd) -> None:
    note(f"{end.name} ended unplanned and is started again; {end.text}; its log: {end.log}")


def not_needed_at_once(settings: Settings) -> set[str]:
    """Who may come up after the replay has begun.

    The sink goes on where its tables end; the trainer is waited for where there is no model yet.
    """
    later = {"alerting", "console", "sink"}
    return later | {"trainer"} if any(settings.artifacts.glob("*/manifest.json")) else later


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
