"""Reads what a task finds out, decides what of it is an alert, and records that."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from schemas.topics import BY_NAME
from services.alerting.metrics import OPEN, UNREADABLE
from services.alerting.places import POLL_MS, consumer, read_between
from services.alerting.recording import Recorder
from services.contract import Contract
from services.supervisor.state import read_run_state
from services.supervisor.wording import trouble
from streams.alerts.book import Notice
from streams.alerts.crashes import Crashes
from streams.alerts.decide import Decider
from streams.alerts.policy import Alerts
from streams.roles import ModelRecord
from streams.settings import Settings
from streams.unreadable import Unreadable

log = structlog.get_logger("alerting")

READ = ("drifts", "metrics", "retrain", "models", "dead-letters")
"""Topics of one partition each, so what is decided of each follows from its order alone."""
FIRST_LOOK_BACK_MS = 3_600_000
"""Where it has never run: what is older than an hour is history, and no news."""
LOOK_MS = 10_000
"""Between two looks at the lag, the requests and the processes."""
MOST_FOUND = 5_000
"""Records of drift that are read again at a start: what was found and told to nobody yet."""
COMMIT_MS = 5_000
"""Between two commits where there is nothing to tell."""

Ask = Callable[[str], int | None]


def clock() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


@dataclass
class State:
    """For the health page."""

    polled_at: float = -math.inf
    open: int = 0
    told: dict[str, int] = field(default_factory=Counter)


class Watch:
    """The loop; `lag` gives a process's lag in records, by its name."""

    def __init__(
        self, settings: Settings, contract: Contract, lag: Ask, stop: threading.Event
    ) -> None:
        self._settings, self._contract, self._lag, self._stop = settings, contract, lag, stop
        self._policy = Alerts.of(contract.alerts)
        self._group = f"{contract.task}-alerting"
        self._names = {BY_NAME[name].topic(contract.task): name for name in READ}
        self._codecs = {
            name: contract.codec(BY_NAME[name].record, settings.home) for name in (*READ, "alerts")
        }
        self._alerts = BY_NAME["alerts"].topic(contract.task)
        self._unreadable = Unreadable(log.warning)
        self.state = State()

    def run(self) -> None:
        """Work until told to stop. Raises kafka-python's errors, ReadError: what is recorded goes
        on from there at the next start."""
        # 1. Whoever wrote before is fenced, and what it left open is over: the topic stands still.
        recorder = Recorder(self._settings, self._alerts, self._group, self._codecs["alerts"])
        reader = consumer(self._settings, self._group)
        try:
            # 2. Where to go on, and what was known there.
            positions = self._positions(reader)
            decider = self._restored(reader, positions)
            # 3. On.
            self._follow(reader, recorder, decider, positions)
        finally:
            reader.close(autocommit=False)
            recorder.close()

    def _positions(self, reader: KafkaConsumer) -> dict[TopicPartition, int]:
        places = [TopicPartition(topic, 0) for topic in self._names]
        positions = {place: reader.committed(place) for place in places}
        new = [place for place, offset in positions.items() if offset is None]
        ends = reader.end_offsets(new) if new else {}
        since = reader.offsets_for_times(dict.fromkeys(new, clock() - FIRST_LOOK_BACK_MS)) or {}
        for place in new:
            found = since.get(place)
            positions[place] = ends[place] if found is None else found.offset
        return {place: int(offset or 0) for place, offset in positions.items()}

    def _restored(self, reader: KafkaConsumer, positions: Mapping[TopicPartition, int]) -> Decider:
        contract, now = self._contract, clock()
        alerts = TopicPartition(self._alerts, 0)
        models = TopicPartition(BY_NAME["models"].topic(contract.task), 0)
        told = read_between(reader, alerts, 0, reader.end_offsets([alerts])[alerts])
        notices = [Notice.of(record) for each in told if (record := self._read("alerts", each))]
        decided = list(read_between(reader, models, 0, positions[models]))
        gone = {each.key: each.offset for each in decided if each.value is None}
        roles = [
            (ModelRecord.of(record), each.timestamp)
            for each in decided
            if each.offset > gone.get(each.key, -1) and (record := self._read("models", each))
        ]
        drifts = TopicPartition(BY_NAME["drifts"].topic(contract.task), 0)
        begin = max(0, positions[drifts] - MOST_FOUND)
        found = [
            (record, each.timestamp)
            for each in read_between(reader, drifts, begin, positions[drifts])
            if (record := self._read("drifts", each))
        ]
        requests = self._requests(reader)
        decider = Decider(contract.task, self._policy, contract.windows, now, requests)
        decider.restore(notices, roles, found, now)
        log.info("restored", open=len(decider.open), alerts=len(notices))
        return decider

    def _follow(
        self,
        reader: KafkaConsumer,
        recorder: Recorder,
        decider: Decider,
        positions: dict[TopicPartition, int],
    ) -> None:
        reader.assign(list(positions))
        for place, offset in positions.items():
            reader.seek(place, offset)
        looked_at, committed_at, committed = 0, clock(), dict(positions)
        while not self._stop.is_set():
            polled = reader.poll(timeout_ms=POLL_MS)
            self.state.polled_at = time.monotonic()
            notices = [
                n for place, records in polled.items() for n in self._see(decider, place, records)
            ]
            positions = {place: reader.position(place) for place in positions}
            now = clock()
            if now - looked_at >= LOOK_MS:
                looked_at = now
                notices += self._look(reader, decider, now)
                notices += decider.look_at_crashes(self._crashes(now), now)
            if not polled:
                # Of an episode that goes on in records not yet read nothing may be said.
                notices += decider.tick(now)
            due = now - committed_at >= COMMIT_MS and positions != committed
            if notices or due:
                recorder.record(notices, positions)
                committed_at, committed = now, dict(positions)
            for notice in notices:
                log.info("alert", **_facts(notice))
            self.state.open = len(decider.open)
            OPEN.set(self.state.open)

    def _look(self, reader: KafkaConsumer, decider: Decider, now: int) -> list[Notice]:
        """A look at the running system; none where the broker does not answer."""
        lags = {process: self._lag(process) for process in ("worker", "sink")}
        try:
            return decider.look(lags, self._requests(reader), now)
        except KafkaError as error:
            log.warning("no look at lag and requests this time", error=repr(error)[:300])
            return []

    def _crashes(self, now: int) -> dict[str, Crashes]:
        """The unplanned ends of this home's processes; none where no supervisor keeps any."""
        try:
            state = read_run_state(self._settings.home)
        except (OSError, ValueError, TypeError) as error:  # another version's files
            log.warning("no look at the processes this time", error=repr(error)[:300])
            return {}
        if not state.running:
            return {}
        found = {}
        for name, process in state.processes.items():
            ended = trouble(process, now / 1000)
            found[name] = (
                Crashes(ended["crash_loop"], ended["text"], ended["log"])
                if ended
                else Crashes(looping=False)
            )
        return found

    def _see(self, decider: Decider, place: TopicPartition, records: list[Any]) -> list[Notice]:
        name = self._names[place.topic]
        if name == "dead-letters":
            self._count(decider, records)
            return []
        if name == "metrics" and not self._policy.metrics:
            return []  # a hundred fields each, and nothing to compare them with
        notices = []
        for each in records:
            if name == "models" and each.value is None:
                version = (each.key or b"").decode(errors="replace")
                notices += decider.deleted(version, each.timestamp)
                continue
            record = self._read(name, each)
            if record is None:
                continue
            origin = f"{place.topic}/{place.partition}/{each.offset}"
            try:
                notices += decider.see(name, record, each.timestamp, origin)
            except (ValueError, KeyError, TypeError, ArithmeticError) as error:
                # It reads, and yet it is none of Weir's: it costs itself.
                UNREADABLE.labels(name).inc()
                log.warning("record not understood", origin=origin, error=repr(error)[:300])
        return notices

    def _count(self, decider: Decider, records: list[Any]) -> None:
        batch = self._codecs["dead-letters"].decode([record.value for record in records])
        by_second: dict[int, Counter[str]] = defaultdict(Counter)
        reasons = batch.columns["reason"].values
        for row, reason in zip(batch.index, reasons, strict=True):
            by_second[records[int(row)].timestamp // 1000][reason] += 1
        for second, counted in sorted(by_second.items()):
            decider.count_dead_letters(1000 * second, counted)

    def _read(self, name: str, each: Any) -> dict[str, Any] | None:
        place = each.topic, each.partition, each.offset
        record = self._unreadable.read(self._codecs[name], each.value, place)
        if record is None and each.value is not None:
            UNREADABLE.labels(name).inc()
        return record

    def _requests(self, reader: KafkaConsumer) -> int:
        """Records that the topic of requests has had, ever."""
        topic = BY_NAME["requests"].topic(self._contract.task)
        places = [TopicPartition(topic, number) for number in range(self._contract.partitions)]
        return sum(reader.end_offsets(places).values())


def _facts(notice: Notice) -> dict[str, Any]:
    names = ("alert_id", "change", "kind", "about", "severity", "evidence", "title")
    return {name: getattr(notice, name) for name in names}
