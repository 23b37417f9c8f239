"""Publishes the traffic at a bounded rate, and stops where it is told to until told to go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import KafkaError, Message, Producer

from schemas.codec import Codec
from schemas.columns import Column, Columns, constant
from schemas.registry import header
from schemas.topics import BY_NAME
from services.faults.traffic import FLAVOURS, SITES, Block, Poison, Traffic, Truths
from streams.task import Task

STEP_S = 0.01
"""Time between two looks at what is due."""
CATCH_UP_S = 0.5
SLOW_S = 10.0
"""When slow, the first half of the way to the limit takes so long, two thirds twice as long, three
quarters three times: there is always something left for who waits for it."""
FLUSH_S = 180.0
"""Longest wait for the broker to acknowledge the last records."""


class LoadError(RuntimeError):
    """The load could not be published; the message says why."""


@dataclass(frozen=True)
class Item:
    """A record to publish; ``request``: its number, -1 for any other record."""

    topic: str
    key: bytes | None
    value: bytes | None
    request: int = -1


class Encoder:
    """Blocks of traffic as records for a task."""

    def __init__(self, task: Task) -> None:
        self._topic = {
            name: BY_NAME[name].topic(task.name) for name in ("requests", "truth", "signals")
        }
        schemas = task.schemas()
        self._request = Codec(schemas["request"])
        self._truth = Codec(schemas["truth"])
        self._signal = Codec(schemas["signal"])

    def items(self, block: Block) -> Iterator[Item]:
        """The block's records, in the order in which they are published."""
        yield from self._truths(block.early)
        n = len(block.event_time)
        if n:
            columns = self._columns(block)
            for i, value in enumerate(self._request.encode(columns, n)):
                number = block.first + i
                yield Item(self._topic["requests"], b"r%d" % number, value, number)
            for bad in block.poison:
                yield self._poisoned(bad, columns)
        yield from self._truths(block.truths)

    def _columns(self, block: Block) -> Columns:
        n, drawn = len(block.event_time), block.drawn
        ids = [f"r{number}" for number in range(block.first, block.first + n)]
        return {
            "request_id": Column(np.array(ids, object)),
            "event_time": Column(block.event_time),
            "entity": constant(None, n),
            "features.site": Column(np.array(SITES, object)[drawn.site]),
            "features.load": Column(drawn.load),
            "features.heat": Column(drawn.heat),
            "features.age": Column(drawn.age, drawn.age_known),
        }

    def _truths(self, truths: Truths) -> Iterator[Item]:
        if not len(truths):
            return
        ids = [f"r{n}" for n in truths.n.tolist()]
        columns = {
            "request_id": Column(np.array(ids, object)),
            "known_at": Column(truths.known_at),
            "truth": Column(truths.truth),
            "source": constant("system", len(truths)),
            "selection_probability": constant(None, len(truths)),
        }
        for id_, value in zip(ids, self._truth.encode(columns, len(truths)), strict=True):
            yield Item(self._topic["truth"], id_.encode(), value)

    def _poisoned(self, bad: Poison, columns: Columns) -> Item:
        """A malformed message, made of the first request of its block."""
        id_ = f"p{bad.number}"
        first = {path: column.take(slice(0, 1)) for path, column in columns.items()}
        first["request_id"] = Column(np.array([id_], object))
        if bad.flavour == "unknown-site":
            first["features.site"] = Column(np.array(["atlantis"], object))
        if bad.flavour == "out-of-range":
            first["features.heat"] = Column(np.array([1e6]))
        good = self._request.encode(first, 1)[0]
        known_at = -1 if bad.flavour == "impossible-truth" else 0
        truth = {"request_id": id_, "known_at": known_at, "truth": True, "source": "system"}
        values = {
            "garbage": b"\xff not a record",
            "empty": None,
            "unknown-schema": header(7) + good[5:],
            "cut-off": good[:-3],
            "garbage-truth": b"\xff not a truth",
            "impossible-truth": self._truth.write(truth),
            "unknown-signal": self._signal.write(
                {"request_id": id_, "event_time": 0, "kind": "undeclared", "value": None}
            ),
        }
        key = None if bad.flavour == "garbage" else id_.encode()
        topic = self._topic[FLAVOURS[bad.flavour][0]]
        return Item(topic, key, values.get(bad.flavour, good))


class Load:
    """A thread that publishes; use as a context manager.

    sent: requests handed to the producer. published_at: by request, ``time.time()`` when (0: not
    yet).
    """

    def __init__(
        self, traffic: Traffic, task: Task, librdkafka: Mapping[str, Any], rate: float
    ) -> None:
        """rate: requests a second, at most."""
        self.sent = 0
        self.published_at: npt.NDArray[np.float64] = np.zeros(traffic.requests)
        self._traffic, self._encoder, self._rate = traffic, Encoder(task), rate
        self._limit, self._span, self._slowly = 0, 1, False
        self._change = threading.Condition()
        self._stop = False
        self._failure: str | None = None
        self._done = threading.Event()
        self._producer = Producer(
            {
                "log_level": 0,  # what matters is raised
                **librdkafka,
                "enable.idempotence": True,
                "enable.gapless.guarantee": True,
                "message.timeout.ms": 0,  # a broker that is away comes back
                "partitioner": "murmur2_random",
                "linger.ms": 2,
                "queue.buffering.max.messages": 1_000_000,
                "delivery.report.only.error": True,
                "on_delivery": self._refused,
                "error_cb": self._error,
            }
        )
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._change:
            self._stop = True
            self._change.notify_all()
        self._thread.join()

    def allow(self, requests: int, slowly: bool) -> None:
        """Publish up to so many requests (all: the late truths after them too), then wait.

        slowly: ever more so as the limit comes near, and never reach it: while a fault is on,
        requests keep coming, and the next fault still finds its own request.
        """
        with self._change:
            self._limit, self._slowly = requests, slowly
            self._span = max(1, requests - self.sent)
            self._change.notify_all()

    def wait_until_sent(self, requests: int, timeout_s: float) -> None:
        """Return when so many requests are published. LoadError where it fails or is too late."""
        with self._change:
            there = self._change.wait_for(lambda: self.sent >= requests or self._failure, timeout_s)
        self.check()
        if not there:
            raise LoadError(f"{self.sent} of {requests} requests published after {timeout_s:g} s")

    def finish(self, timeout_s: float) -> None:
        """Return when everything is published and acknowledged."""
        self.allow(self._traffic.requests, slowly=False)
        if not self._done.wait(timeout_s):
            raise LoadError(f"the load was not acknowledged after {timeout_s:g} s")
        self.check()

    def check(self) -> None:
        """Raise LoadError where the broker refused a record."""
        if self._failure:
            raise LoadError(self._failure)

    def _run(self) -> None:
        try:
            self._publish()
            if self._producer.flush(FLUSH_S) and not self._stop:
                self._failure = f"the broker did not acknowledge the load in {FLUSH_S:g} s"
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"
        finally:
            self._done.set()
            with self._change:
                self._change.notify_all()

    def _publish(self) -> None:
        due = time.monotonic()
        for block in self._traffic.blocks():
            for item in self._encoder.items(block):
                if item.request >= 0:
                    due = self._await_turn(item.request, due)
                    self.published_at[item.request] = time.time()
                if self._stop or self._failure:
                    return
                self._produce(item)
                if item.request >= 0:
                    self.sent = item.request + 1
            self._producer.poll(0)

    def _await_turn(self, request: int, due: float) -> float:
        """Wait until ``request`` is to be published; when the one before it was due."""
        while not self._stop:
            left = self._limit - request - self._slowly
            if left > 0:
                pause = 1 / self._rate
                if self._slowly:
                    pause = max(pause, SLOW_S * self._span / left**2)
                ahead = due + pause - time.monotonic()
                if ahead <= STEP_S:
                    # What a busy machine held up is made up for, half a second of it at most.
                    return max(due + pause, time.monotonic() - CATCH_UP_S)
            else:
                ahead = STEP_S
                with self._change:
                    self._change.notify_all()
            self._producer.poll(min(ahead, STEP_S))
        return due

    def _produce(self, item: Item) -> None:
        while not self._stop:
            try:
                self._producer.produce(item.topic, item.value, item.key)
                return
            except BufferError:  # the broker is away
                self._producer.poll(STEP_S)

    def _refused(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and not self._failure:
            self._failure = f"the broker refused a record of {message.topic()}: {error.str()}"

    def _error(self, error: KafkaError) -> None:
        if error.fatal():
            self._failure = f"the load's producer cannot go on: {error.str()}"
