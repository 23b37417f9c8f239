"""Publishes the flights as their producers would have: in event time, faster than it was.

    replay = Replay(FlightDelay, timeline, settings.librdkafka(), speed=1.0)
    replay.run(for_s=60)

It goes on where the topics end (`services.demo.resume` says how it knows). As a process:
``python -m services.demo.replay --speed 1``.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from services.demo.flights import NEW_YORK
from services.demo.resume import MARK, Published, ReplayError, published
from services.demo.timeline import REQUEST, TOPICS, TRUTH, Records, Timeline
from streams.task import Task

DAY_MS = 86_400_000
TICK_S = 0.01
"""Longest wait between two looks at the clock: at a day a second, 14 minutes of event time."""

CHUNK = 4096
"""Events that are encoded at once, about 3 ms of work."""

STEP = 512
"""Most events that are sent between two looks at what else is to do."""

STALL_S = 1.0
"""What was missed by a longer stop (a worker or broker that was away) is not caught up at once."""

LOOK_S = 0.05
"""Shortest time between two looks at the worker's backlog."""

MAX_AHEAD = 5000
"""Records that the worker may be behind: two to five days of event time, so that truths that it
has not read yet are not past the label horizon (7 days) by the predictions that it has read.
Time runs 86,400 times faster here: an outage of 10 s would be one of 10 days."""

FLUSH_S = 5.0
"""Longest wait for the broker's acknowledgements at the end; the next run sees what is there."""

RATE_OVER_S = 5.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the replay is.

    event_time: of the last event published, None before the first. position, total: events of
    the timeline published, and all. requests, truths: published by this run. per_s: requests a
    second over the last few seconds.
    """

    event_time: datetime | None
    position: int
    total: int
    requests: int
    truths: int
    per_s: float

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
    ) -> None:
        """A replay that has not begun.

        speed: days of event time a second; ``math.inf`` publishes as fast as the worker follows.
        stop: ends `run` soon after it is set.
        backlog: how many records the worker is behind; with it the replay waits while they are
            more than ``max_ahead``, and so does event time.
        on_month: called with the moment when a month of event time begins in New York, every
            ``retrain_every`` months, after all events before it are acknowledged and before any
            later one is sent. After a stop it may be called again for the same month.
        on_requests: called with ids that are about to be published, and the time.
        """
        self._task, self._timeline, self._librdkafka = task, timeline, dict(librdkafka)
        self._speed = speed
        self._stop = stop or threading.Event()
        self._room = _Room(backlog, max_ahead)
        self._on_month, self._on_requests = on_month, on_requests
        self._months = deque(timeline.months(NEW_YORK, retrain_every) if on_month else [])
        self._topics = [f"{task.name}.{name}" for name in TOPICS]
        self._chunk: tuple[int, Records] = (0, Records([], [], []))
        self._failure: str | None = None
        self._position = 0
        self._sent = [0, 0]
        self._rates: deque[tuple[float, int]] = deque()

    def progress(self) -> Progress:
        """Where it is now; from any thread."""
        position = self._position
        last = self._timeline.times[position - 1] if position else None
        return Progress(
            None if last is None else datetime.fromtimestamp(float(last) / 1000, UTC),
            position,
            len(self._timeline),
            self._sent[REQUEST],
            self._sent[TRUTH],
            self._per_s(),
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
        clock = _Clock(self._event_ms(), self._speed)
        while not self._over() and time.monotonic() < until:
            sent = self._step(producer, done, clock.now_ms(self._event_ms()))
            self._check(producer)
            if not sent:
                self._stop.wait(TICK_S)
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
        self._rates.append((now, self._sent[REQUEST]))
        while now - self._rates[0][0] > RATE_OVER_S:
            self._rates.popleft()

    def _per_s(self) -> float:
        samples = list(self._rates)
        if len(samples) < 2:
            return 0.0
        (since, before), (now, after) = samples[0], samples[-1]
        return (after - before) / (now - since)

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


class _Clock:
    """Event time: runs ``speed`` days a second, and waits for events that could not be sent."""

    def __init__(self, start_ms: float, speed: float) -> None:
        self._now_ms, self._speed = start_ms, speed
        self._seen = time.monotonic()

    def now_ms(self, next_ms: float) -> float:
        """Event time now; ``next_ms`` is that of the first event that was not sent yet."""
        now = time.monotonic()
        passed, self._seen = now - self._seen, now
        if passed > 0:
            most_ms = next_ms + STALL_S * self._speed * DAY_MS
            self._now_ms = min(self._now_ms + passed * self._speed * DAY_MS, most_ms)
        return self._now_ms


class _Room:
    """How many events may be published before the worker has to catch up."""

    def __init__(self, backlog: Callable[[], int] | None, max_ahead: int) -> None:
        self._backlog, self._max_ahead = backlog, max_ahead
        self._free, self._looked = 0, -math.inf

    def free(self) -> int:
        if self._backlog is None:
            return STEP
        now = time.monotonic()
        if 2 * self._free < self._max_ahead and now - self._looked >= LOOK_S:
            try:
                self._free = self._max_ahead - self._backlog()
            except KafkaException:  # the broker is away
                self._free = 0
            self._looked = now
        return self._free

    def take(self, events: int) -> None:
        self._free -= events
