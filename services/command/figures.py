"""What the demo's terminal shows beside the replay: metric windows and versions, as they come."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from schemas.topics import BY_NAME
from services.command.context import Context
from services.command.output import CommandError
from services.command.reading import ends, reader
from streams.roles import Roles
from streams.unreadable import Unreadable, place_of

BACK = 5000
"""Metric records before the end that are read at first: the last days' windows are among them."""

KEPT_MS = 30 * 86_400_000
"""Windows older than this before the newest are forgotten."""


@dataclass(frozen=True)
class Window:
    """The latest revision of a metric window over all traffic of one version."""

    name: str
    start: int
    end: int
    version: str
    revision: int
    figures: dict[str, Any]


class Figures:
    """Follows ``metrics`` and ``models`` while it is entered; its methods are thread-safe."""

    def __init__(self, context: Context) -> None:
        self._context = context
        task = context.contract.task
        self._metrics, self._models = (BY_NAME[name].topic(task) for name in ("metrics", "models"))
        self._codecs = {
            BY_NAME[name].topic(task): context.contract.codec(
                BY_NAME[name].record, context.settings.home
            )
            for name in ("metrics", "models")
        }
        self._windows: dict[tuple[str, int, str], Window] = {}
        self._roles = Roles()
        self._unreadable = Unreadable(lambda _: None)  # the worker tells: here it would tear a line
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="figures", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    @property
    def roles(self) -> Roles:
        """The versions and their roles."""
        return self._roles

    def last(self, window: str, count: int) -> list[Window]:
        """The newest windows of a name that have scored outcomes, newest first."""
        return sorted(self._scored(window), key=_by_time, reverse=True)[:count]

    def last_whole(self, window: str) -> Window | None:
        """Of sliding windows the newest that has ended; before one has, the one that began first.

        The newest of all has only just begun: it covers a day, not what its name says.
        """
        found = self._scored(window)
        whole = [w for w in found if w.figures["complete"]]
        if whole:
            return max(whole, key=_by_time)
        return min(found, key=_by_time) if found else None

    def _scored(self, window: str) -> list[Window]:
        return [w for w in list(self._windows.values()) if w.name == window and w.figures["scored"]]

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with reader(self._context.kafka) as consumer:
                    self._follow(consumer)
            except (CommandError, KafkaException):  # the broker is away: look again
                self._over.wait(0.5)

    def _follow(self, consumer: Consumer) -> None:
        found = ends(consumer, [self._metrics, self._models])
        low, high = found[self._metrics][0]
        consumer.assign(
            [
                TopicPartition(self._metrics, 0, max(low, high - BACK)),
                TopicPartition(self._models, 0, found[self._models][0][0]),
            ]
        )
        while not self._over.is_set():
            message = consumer.poll(0.2)
            if message is None or message.error() is not None:
                continue
            self._take(message)

    def _take(self, message: Message) -> None:
        topic, value = message.topic(), message.value()
        codec, place = self._codecs[topic], place_of(message)
        if topic == self._models:
            self._roles = self._unreadable.roles(self._roles, codec, message.key(), value, place)
        elif (record := self._unreadable.read(codec, value, place)) and record["segment"] == "":
            self._keep(record)

    def _keep(self, record: dict[str, Any]) -> None:
        key = (record["window"], record["window_start"], record["version"])
        held = self._windows.get(key)
        if held is not None and held.revision > record["revision"]:
            return
        self._windows[key] = Window(
            name=record["window"],
            start=record["window_start"],
            end=record["window_end"],
            version=record["version"],
            revision=record["revision"],
            figures=record,
        )
        for old in [k for k in self._windows if k[1] < record["window_start"] - KEPT_MS]:
            del self._windows[old]


def _by_time(window: Window) -> tuple[int, int]:
    return window.start, window.figures["scored"]
