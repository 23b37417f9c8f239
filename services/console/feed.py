"""Tells every open page of each second, once for all: server-sent events.

Events: `hello` (all that a page needs to begin), `tick` (each second: figures and the last
points), `versions`, `letters` and `alerts` (only when they changed). A page that is slow, or was
away, misses frames and not data: ticks overlap, and a reconnect begins with `hello`.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from services.console.figures import figures
from services.console.history import History
from services.console.live import KEPT_S, Live, points
from services.console.metrics import STREAMS
from services.console.tail import Letter, Tail
from services.contract import Contract
from services.demo import standing
from services.moves import earlier_champions
from services.supervisor import ProcessState, read_run_state
from services.supervisor.wording import trouble
from streams.alerts.told import Told
from streams.roles import Roles

log = structlog.get_logger("console.feed")

OVERLAP_S = 5
"""Points that each tick repeats, so that a page may miss ticks without a gap in its charts."""

FINDINGS_MAX = 50
"""Findings of an alert that the page gets; `weir alerts --json` has all."""
TEXT_MAX = 600
"""Characters of a dead letter's text that the page gets; `weir tail` shows all of it."""


@dataclass(frozen=True)
class Frame:
    """What all pages are told at one second; a part is encoded once, however many read it."""

    number: int
    tick: bytes
    versions: bytes
    letters: bytes
    alerts: bytes


class Feed:
    """Makes a frame each second; `history` knows of the time before the console ran."""

    def __init__(
        self,
        contract: Contract,
        home: Path,
        live: Live,
        tail: Tail,
        history: History,
    ) -> None:
        self._contract = contract
        self._home = home
        self._live = live
        self._tail = tail
        self._history = history
        self._changed = asyncio.Condition()
        self._closing = False
        self._frame = self._make(0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Make a frame each second for as long as the context lasts."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()

    async def _run(self) -> None:
        while True:
            # Just after the second has closed: all pages see the same one.
            await asyncio.sleep(1.02 - time.time() % 1)
            try:
                frame = await asyncio.to_thread(self._make, self._frame.number + 1)
            except Exception:
                log.exception("a frame was not made")
                continue
            async with self._changed:
                self._frame = frame
                self._changed.notify_all()

    async def close(self) -> None:
        """End every stream."""
        async with self._changed:
            self._closing = True
            self._changed.notify_all()

    async def events(self) -> AsyncIterator[bytes]:
        """One page's stream."""
        with STREAMS.track_inprogress():
            frame = self._frame
            yield b"retry: 2000\n\n" + _event("hello", await self._hello())
            yield frame.versions + frame.letters + frame.alerts + frame.tick
            while True:
                before = frame
                async with self._changed:
                    await self._changed.wait_for(
                        lambda known=before: self._closing or self._frame is not known  # type: ignore[misc]
                    )
                    frame = self._frame
                if self._closing:
                    return
                changed = b""
                if frame.versions != before.versions:
                    changed += frame.versions
                if frame.letters != before.letters:
                    changed += frame.letters
                if frame.alerts != before.alerts:
                    changed += frame.alerts
                yield changed + frame.tick

    async def _hello(self) -> dict[str, Any]:
        contract = self._contract
        now = time.time()
        lived = points(self._live.seconds(now))
        past = await self._history.past(self._live.began_s, KEPT_S)
        missed = [i for i, at in enumerate(past["t"]) if at > now - KEPT_S]
        return {
            "task": contract.task,
            "doc": contract.doc,
            "kind": contract.kind,
            "target": contract.target,
            "horizon_ms": contract.horizon_ms,
            "windows": contract.windows,
            "began": self._live.began_s,
            "points": {n: [past[n][i] for i in missed] + lived[n] for n in lived},
        }

    def _make(self, number: int) -> Frame:
        now = time.time()
        seconds = self._live.seconds(now)
        tail = self._tail
        tick = {
            "now": int(now * 1000),
            "kafka": asdict(tail.state),
            "history": self._history.state(),
            "figures": asdict(figures(self._live, seconds)),
            "totals": asdict(self._live.totals),
            "points": points(seconds[-OVERLAP_S:]),
            "processes": _processes(self._home, now),
            "replay": standing.read(self._home, now),
            "failed_training": failure.facts() if (failure := tail.failure) else None,
        }
        return Frame(
            number=number,
            tick=_event("tick", tick),
            versions=_event("versions", _versions(tail.roles)),
            letters=_event("letters", [_letter(letter) for letter in reversed(tail.letters)]),
            alerts=_event("alerts", _alerts(tail.alerts)),
        )


def _event(name: str, data: Any) -> bytes:
    text = json.dumps(_finite(data), separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode()


def _finite(data: Any) -> Any:
    """The same with null for numbers that JSON does not have: a page would not read the rest."""
    if isinstance(data, dict):
        return {name: _finite(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _versions(roles: Roles) -> list[dict[str, Any]]:
    """Every version with what it does now, the newest change first."""
    earlier = bool(earlier_champions(roles))
    return [
        {
            "version": record.version,
            "role": roles.role(record.version),
            "share": record.share,
            "changed_at": record.changed_at,
            "changed_by": record.changed_by,
            "reason": record.reason,
            "can_roll_back": earlier and roles.role(record.version) == "champion",
            "rows": record.rows,
            "data_from": record.data_from,
            "data_to": record.data_to,
            "metrics": dict(record.metrics),
        }
        for record in sorted(roles.records.values(), key=lambda r: -r.changed_at)
    ]


def _letter(letter: Letter) -> dict[str, Any]:
    shown = asdict(letter)
    for name in ("message", "origin", "request_id", "reason", "stage"):
        text = shown[name]
        if text and len(text) > TEXT_MAX:
            shown[name] = text[:TEXT_MAX] + "…"
    return shown


def _alerts(told: Told) -> dict[str, Any]:
    """The open episodes, the newest first, and the last of those that are over."""
    names = (
        *("alert_id", "episode", "raised_at", "opened_at", "change", "kind", "about", "severity"),
        *("title", "message", "evidence", "count", "command"),
    )
    of_finding = ("drift_id", "kind", "subject", "begins", "effect", "message", "degraded")

    def findings(record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Of an episode of drift, the most likely cause first."""
        try:
            listed = json.loads(record["findings"] or "[]")[:FINDINGS_MAX]
            return [{name: one[name] for name in of_finding} for one in listed]
        except (ValueError, TypeError, KeyError):  # of another Weir
            return []

    def shown(record: Mapping[str, Any]) -> dict[str, Any]:
        found = {name: record[name] for name in names}
        for name in ("title", "message", "about"):
            found[name] = found[name][:TEXT_MAX]
        link = f"#{record['link'].partition('#')[2]}"
        return found | {"link": link, "findings": findings(record)}

    return {
        "open": [shown(record) for record in reversed([*told.open.values()])],
        "over": [shown(record) for record in reversed(told.over)],
    }


def _processes(home: Path, now: float) -> list[dict[str, Any]]:
    """The processes of this home as their supervisor wrote them; empty where none keeps them."""
    try:
        state = read_run_state(home)
    except (OSError, ValueError, TypeError) as error:
        log.debug("run files not read", error=str(error))
        return []
    if not state.running:
        return []
    return [_process(process, now) for process in state.processes.values()]


def _process(process: ProcessState, now: float) -> dict[str, Any]:
    ended = trouble(process, now)
    here = process.state if process.alive or process.pid is None else "gone"
    return {
        "name": process.name,
        "state": "crash-loop" if ended and ended["crash_loop"] else here,
        "since": process.since,
        "restarts": process.restarts,
        "pid": process.pid,
        "trouble": ended,
    }
