"""The demo's replay: run it, show it, and count what came of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clickhouse_connect import get_client
from rich.live import Live

from services.command.background import Background
from services.command.context import Context
from services.command.demo_view import Snapshot, line, panel, summary
from services.command.figures import Figures
from services.command.output import err, note
from services.command.starting import Started
from services.demo import standing
from services.demo.backlog import Backlog
from services.demo.ledger import Ledger
from services.demo.loop import Following
from services.demo.quality import quality
from services.demo.replay import Replay, scheduled_retrain
from services.demo.report import SinkRows, drain, report
from services.demo.timeline import Timeline
from services.demo.watch import Watch
from services.moves import Act, Asked, MoveError
from services.moving import Refused, act_once
from services.registry import RegistryError, now_ms

REDRAW_S = 0.25
LINE_EVERY_S = 5.0
KEEP_EVERY_S = 1.0
"""Between two looks at the roles, and between two lines of what the page is told."""
DRAIN_S = 120.0
"""Longest wait, after the replay, until everything that was published is answered and stored."""


@dataclass(frozen=True)
class Result:
    """The counted end of a replay; ``missing`` says what was not done in time, in words."""

    report: dict[str, Any]
    missing: list[str]


def run_replay(
    started: Started,
    timeline: Timeline,
    stop: threading.Event,
    for_s: float | None,
    speed: float,
    retrain_every: int,
) -> Result | None:
    """Replay and show it, then count; None where it was stopped before its end."""
    kafka = {**started.settings.librdkafka(), "log_level": 0}
    task, contract = started.task, started.contract
    page, home = started.address("console", "page"), started.settings.home
    with (
        Watch(task.name, task.partitions, kafka) as watch,
        Figures(Context(started.settings, contract)) as figures,
        Following(task, contract, kafka, home) as loop,
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
            loop=loop,
        )
        running = Background(lambda: replay.run(for_s))
        Background(lambda: _keep_first(started, loop, running.done))

        def snapshot() -> Snapshot:
            progress = replay.progress()
            standing.write(home, time.time(), progress.waits_for, progress.days_per_s)
            return Snapshot.of(progress, speed, watch, figures, page)

        _show(running, snapshot)
        running.result()
        if stop.is_set():
            return None
        result = _finish(started, watch, stop)
    return None if stop.is_set() and result.missing else result


def linger(started: Started, report: Mapping[str, Any], stop: threading.Event) -> None:
    """The year is over: what it led to can be looked at until Ctrl-C."""
    if not err.is_terminal:
        return
    page = started.address("console", "page")
    err.print(summary(report), soft_wrap=True)
    note(f"the year is over{f'; see {page}' if page else ''}. Ctrl-C ends the demo")
    stop.wait()


def _keep_first(started: Started, loop: Following, over: threading.Event) -> None:
    """Let the first version look on once another has followed it: the page shows both."""
    while not over.wait(KEEP_EVERY_S):
        champion = loop.roles.champion
        first = min(loop.roles.records.values(), key=lambda record: record.data_to, default=None)
        # By hand it may have been archived, or brought back: that stays as it is.
        if champion is None or first is None or first.role != "champion" or first is champion:
            continue
        act = Act(
            "demo", "looks on, so that the page shows what later versions are worth", now_ms()
        )
        try:
            act_once(started.settings, started.task, Asked("promote", first.version, "shadow"), act)
        except (MoveError, Refused, RegistryError) as error:
            note(f"the first version does not look on: {error}")
        return


def _show(running: Background, snapshot: Callable[[], Snapshot]) -> None:
    if not err.is_terminal:
        told = time.monotonic()
        while not running.done.wait(KEEP_EVERY_S):
            now = snapshot()
            if time.monotonic() - told >= LINE_EVERY_S:
                note(line(now))
                told = time.monotonic()
        return
    with Live(panel(snapshot()), console=err, auto_refresh=False) as live:
        while not running.done.wait(REDRAW_S):
            live.update(panel(snapshot()), refresh=True)
        live.update(panel(snapshot()), refresh=True)


def _finish(started: Started, watch: Watch, stop: threading.Event) -> Result:
    """Wait until all is answered and stored, then count everything back from the topics."""
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
        found = report(ledger, contract, watch.latency_ms(), sink_rows())
        if found["outcomes"] and not stop.is_set():
            note("scoring the same rows offline, by the same versions")
            client = get_client(**settings.clickhouse(), autogenerate_session_id=False)
            found["quality"] = quality(started.task, settings, client, ledger.roles.records)
        return Result(found, gaps)
