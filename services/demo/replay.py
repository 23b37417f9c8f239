"""Publishes the flights as their producers would have: in event time, faster than it was.

    replay = Replay(FlightDelay, timeline, settings.librdkafka(), speed=1.0)
    replay.run(for_s=60)

It goes on where the topics end (`services.demo.resume` says how it knows). As a process:
``python -m services.demo.replay --speed 1``.
"""

from __future__ import annotations

import argparse
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from schemas.moments import moment
from services.contract import Contract
from services.demo.backlog import Backlog
from services.demo.flight_delay import FlightDelay
from services.demo.flights import NEW_YORK, flights_from_march
from services.demo.loop import Following, LoopError
from services.demo.pace import DAY_MS, MAX_AHEAD, STEP, TICK_S, Clock, Room
from services.demo.resume import MARK, Published, ReplayError, published
from services.demo.timeline import REQUEST, TOPICS, TRUTH, Records, Timeline
from services.deployment import current
from services.registry import request_retrain
from streams.observe import stop_on_signals
from streams.settings import Settings
from streams.task import Task

CHUNK = 4096
"""Events that are encoded at once, about 3 ms of work."""

FLUSH_S = 5.0
"""Longest wait for the broker's acknowledgements at the end; the next run sees what is there."""

RATE_OVER_S = 5.0

SHOWN_S = 1.0
"""A wait that is over is still told for so long: most last some milliseconds."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the replay is.

    event_time: of the last event published, None before the first. position, total: events of
    the timeline published, and all. requests, truths: published by this run. per_s: requests a
    second, days_per_s: days of event time a second, both over the last few seconds. waits_for:
    what event time waits for, or waited for within the last second, in words; empty if for nothing.
    """

    event_time: datetime | None
    position: int
    total: int
    requests: int
    truths: int
    per_s: float
    days_per_s: float = 0.0
    waits_for: str = ""

    @property
    def done(self) -> bool:
        """Whether the year is over."""
        return self.position == self.total


class Replay:
    """Publishes a timeline, once whatever happens; `run` may be called from any thread."""

    def __init__(
        self,
        task: Task,
        timeline: Timeline,
        librdkafka: Mapping[str, Any],
        *,
        speed: float = 1.0,
        stop: threading.Event | None = None,
        backlog: Callable[[], int] | None = None,
        max_ahead: int = MAX_AHEAD,
        on_month: Callable[[datetime], None] | None = None,
        retrain_every: int = 1,
        on_requests: Callable[[list[bytes], float], None] | None = None,
        loop: Following | None = None,
    ) -> None:
        """A replay that has not begun.

        speed: days of event time a second at most; ``math.inf`` publishes as fast as the loop
            follows.
        stop: ends `run` soon after it is set.
        backlog: how many records the worker is behind; with it the replay waits while they are
            more than ``max_ahead``, and so does event time.
        on_month: called with the moment when a month of event time begins in New York, every
            ``retrain_every`` months, after all events before it are acknowledged and before any
            later one is sent. After a stop it may be called again for the same month.
        on_requests: called with ids that are about to be published, and the time.
        loop: with it event time waits for the loop (`services.demo.frontier` says for what).
        """
        self._task, self._timeline, self._librdkafka = task, timeline, dict(librdkafka)
        self._speed = speed
        self._stop = stop or threading.Event()
        self._room = Room(backlog, max_ahead)
        self._loop = loop
        self._waited: tuple[float, str] = (-math.inf, "")
        self._on_month, self._on_requests = on_month, on_requests
        self._months = deque(timeline.months(NEW_YORK, retrain_every) if on_month else [])
        self._topics = [f"{task.name}.{name}" for name in TOPICS]
        self._chunk: tuple[int, Records] = (0, Records([], [], []))
        self._failure: str | None = None
        self._position = 0
        self._sent = [0, 0]
        self._rates: deque[tuple[float, int, float]] = deque()

    def progress(self) -> Progress:
        """Where it is now; from any thread."""
        position = self._position
        last = self._timeline.times[position - 1] if position else None
        per_s, days_per_s = self._speeds()
        waited_at, waited_for = self._waited
        return Progress(
            None if last is None else moment(float(last)),
            position,
            len(self._timeline),
            self._sent[REQUEST],
            self._sent[TRUTH],
            per_s,
            days_per_s,
            waited_for if time.monotonic() - waited_at < SHOWN_S else "",
        )

    def run(self, for_s: float | None = None) -> Progress:
        """Publish until the year is over, ``stop`` is set, or ``for_s`` seconds have passed.

        Returns when the broker has acknowledged all that was published. ReplayError where it
        refuses a record, or the topics do not say where to go on.
        """
        # 1. See what is there; nothing is published before this is known.
        done = published(self._timeline, self._task.name, self._task.partitions, self._librdkafka)
        self._position = done.start
        # 2. Months that began before are theirs who published what follows.
        while self._months and self._months[0][0] < done.start:
            self._months.popleft()
        # 3. Publish.
        producer = self._producer()
        until = math.inf if for_s is None else time.monotonic() + for_s
        clock = Clock(self._event_ms(), self._speed)
        while not self._over() and time.monotonic() < until:
            sent = self._step(producer, done, clock.now_ms(self._event_ms()))
            self._check(producer)
            if not sent:
                (self._loop or self._stop).wait(TICK_S)
        # 4. What the broker does not acknowledge now, the next run sees missing and sends.
        producer.flush(FLUSH_S)
        self._check(producer)
        return self.progress()

    def _over(self) -> bool:
        return self._stop.is_set() or self._position == len(self._timeline)

    def _event_ms(self) -> float:
        if self._position == len(self._timeline):
            return math.inf
        return float(self._timeline.times[self._position])

    def _step(self, producer: Producer, done: Published, now_ms: float) -> bool:
        """Publish what is due, a step at most; whether there was anything."""
        if self._months and self._months[0][0] == self._position:
            self._begin_month(producer)
        stop = min(self._position + STEP, self._due(now_ms))
        if self._months:
            stop = min(stop, self._months[0][0])
        stop = min(stop, self._within_limit(stop))
        stop = min(stop, self._position + self._room.free())
        if stop <= self._position:
            return False
        self._send(producer, done, stop)
        return True

    def _due(self, now_ms: float) -> int:
        """Position of the first event that is later than now."""
        if math.isinf(now_ms):
            return len(self._timeline)
        return int(np.searchsorted(self._timeline.times, now_ms, side="right"))

    def _within_limit(self, stop: int) -> int:
        """The position before which the loop lets event time run, at most ``stop``."""
        if self._loop is None:
            return stop
        limit = self._loop.limit(self._timeline.next_truth_ms(self._position))
        if limit.until_ms is None or stop <= self._position:
            allowed = stop
        else:
            allowed = int(np.searchsorted(self._timeline.times, limit.until_ms, side="right"))
        if allowed <= self._position < stop:
            self._waited = (time.monotonic(), limit.waits_for)
        return allowed

    def _begin_month(self, producer: Producer) -> None:
        _, begins = self._months[0]
        if producer.flush(FLUSH_S) == 0 and self._on_month is not None:
            self._on_month(begins)
            self._months.popleft()

    def _send(self, producer: Producer, done: Published, stop: int) -> None:
        at, chunk = self._chunk
        if not at <= self._position < at + len(chunk.keys):
            at = self._position
            self._chunk = at, chunk = at, self._timeline.encode(at, at + CHUNK)
        due = range(self._position - at, min(stop - at, len(chunk.keys)))
        new = [i for i in due if at + i >= done.stop or at + i not in done]
        if self._loop is not None:
            truths = [i for i in new if chunk.kinds[i] == TRUTH]
            times = self._timeline.times[[at + i for i in truths]].tolist() if truths else []
            self._loop.publishing([chunk.keys[i] for i in truths], times)
        if self._on_requests is not None:
            # Before they are sent, as an answer may come while the rest is on its way.
            self._on_requests(
                [chunk.keys[i] for i in new if chunk.kinds[i] == REQUEST], time.time()
            )
        for i in new:
            if not self._produce(producer, chunk.kinds[i], chunk.keys[i], chunk.values[i]):
                self._position = at + i
                return
        self._position = at + due.stop
        self._room.take(len(new))

    def _produce(self, producer: Producer, kind: int, key: bytes, value: bytes) -> bool:
        """Hand an event to the producer; False where there was no room for it until the stop."""
        while not self._stop.is_set():
            try:
                producer.produce(self._topics[kind], value, key, headers=MARK)
            except BufferError:  # the broker is slow or away
                producer.poll(TICK_S)
                self._check(producer)
            else:
                self._sent[kind] += 1
                return True
        return False

    def _check(self, producer: Producer) -> None:
        producer.poll(0)
        if self._failure:
            raise ReplayError(self._failure)
        now = time.monotonic()
        at = self._event_ms()
        self._rates.append((now, self._sent[REQUEST], at if math.isfinite(at) else self._last_ms()))
        while now - self._rates[0][0] > RATE_OVER_S:
            self._rates.popleft()

    def _last_ms(self) -> float:
        return float(self._timeline.times[-1]) if len(self._timeline) else 0.0

    def _speeds(self) -> tuple[float, float]:
        """Requests, and days of event time, a second over the last few seconds."""
        samples = list(self._rates)
        if len(samples) < 2:
            return 0.0, 0.0
        (since, before, was), (now, after, is_) = samples[0], samples[-1]
        return (after - before) / (now - since), (is_ - was) / DAY_MS / (now - since)

    def _producer(self) -> Producer:
        return Producer(
            {
                "log_level": 0,  # what matters is raised
                **self._librdkafka,
                "enable.idempotence": True,
                # No record is given up while others of its partition go on: see resume.py.
                "enable.gapless.guarantee": True,
                "message.timeout.ms": 0,
                "partitioner": "murmur2_random",
                "linger.ms": 2,  # a tick's events go together
                "delivery.report.only.error": True,
                "on_delivery": self._refused,
                "error_cb": self._error,
            }
        )

    def _refused(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and not self._failure:
            self._failure = f"the broker refused a record of {message.topic()}: {error.str()}"

    def _error(self, error: KafkaError) -> None:
        if error.fatal():
            self._failure = f"the producer cannot go on: {error.str()}; start the replay again"


def scheduled_retrain(task: Task, settings: Settings) -> Callable[[datetime], None]:
    """A schedule outside of Weir, for ``on_month``: train on all outcomes before the month."""

    def ask(begins: datetime) -> None:
        request_retrain(
            settings,
            task,
            reason=f"the monthly training of {begins:%B %Y}",
            requested_by="demo",
            trigger="schedule",
            data_to=int(begins.timestamp() * 1000),
            event_id=f"schedule-{begins:%Y-%m}",  # a stop at the boundary may ask once more
        )

    return ask


def parse_speed(text: str) -> float:
    """Days of event time a second; ``max`` or ``0`` is as fast as the worker follows."""
    speed = math.inf if text == "max" else float(text)
    if not speed >= 0:
        raise ValueError(f"speed {text}: days of event time a second, 0 or more, or max")
    return speed or math.inf


def main() -> int:
    """Replay in this process, against the deployment in WEIR_HOME, until Ctrl-C."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--speed", type=parse_speed, default=1.0, help="days a second, or max")
    options.add_argument("--for", dest="for_s", type=float, help="seconds; without it: the year")
    options.add_argument("--retrain-every", type=int, default=0, help="months; 0: the triggers do")
    given = options.parse_args()
    settings, stop = current(), threading.Event()
    stop_on_signals(stop)
    client = settings.librdkafka()
    contract = Contract.of(FlightDelay, settings.task)
    try:
        with Following(FlightDelay, contract, client, settings.home) as loop:
            done = Replay(
                FlightDelay,
                Timeline(FlightDelay, flights_from_march()),
                client,
                speed=given.speed,
                stop=stop,
                backlog=Backlog(FlightDelay, client),
                on_month=scheduled_retrain(FlightDelay, settings),
                retrain_every=given.retrain_every,
                loop=loop,
            ).run(given.for_s)
    except (ReplayError, LoopError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{done.requests} requests and {done.truths} truths, up to {done.event_time}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
