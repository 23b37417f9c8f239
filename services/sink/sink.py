"""The sink's loop: read, gather, decode; a thread inserts meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import structlog
from confluent_kafka import Message

from schemas.arrow_columns import ArrowReader
from services.sink import metrics
from services.sink.reading import Reader, records_of
from services.sink.rows import Records, Rows, decode, last
from services.sink.settings import SinkSettings
from services.sink.tables import Table
from services.sink.writing import Stopped, TableWriter

log = structlog.get_logger("sink")

# Longest wait for records, in seconds: how late an idle sink notices that it is told to stop.
_IDLE_S = 0.2
# Records a poll may return: so many are gathered before the clock is looked at again.
_POLL_MOST = 10_000
# Seconds between two looks at the lag; a trainer may wait for what they tell.
_PROGRESS_S = 0.5


@dataclass
class _Gathered:
    """A topic's messages that are not decoded yet, and since when the oldest waits."""

    messages: list[Message] = field(default_factory=list)
    bytes: int = 0
    since: float = 0.0


@dataclass(frozen=True)
class Stream:
    """One topic on its way into its table; ``topic`` is the full name."""

    topic: str
    table: Table
    reader: ArrowReader
    writer: TableWriter


class Sink:
    """Moves records until told to stop; everything it needs is ready when it is made.

    One insert is under way at a time, in a thread: while the store works on it, the next records
    are read and decoded.
    """

    def __init__(
        self,
        reader: Reader,
        streams: Mapping[str, Stream],
        undecodable: TableWriter,
        settings: SinkSettings,
        stopping: Callable[[], bool],
    ) -> None:
        self._reader = reader
        self._streams = streams
        self._undecodable = undecodable
        self._settings = settings
        self._stopping = stopping
        self._gathered = {topic: _Gathered() for topic in streams}
        # Up to which offset all that a partition had is in the tables, or will never be.
        self._passed = {topic: dict(places) for topic, places in reader.reached.items()}
        self._inserting: tuple[str, Future[None]] | None = None
        self._shown = 0.0
        self.lag: dict[str, int] = {}
        self.last_step = time.monotonic()

    def run(self) -> None:
        """Work until told to stop, then insert what is gathered. Raises TakenOver, TableGone,
        KafkaException."""
        try:
            while not self._stopping():
                self.step()
            self._insert(list(self._streams))
            self._finish_insert()
            self._show_progress(last=True)
        except Stopped:
            log.warning("stopped while the store did not take rows; they are read again at start")

    def step(self) -> None:
        """Read once, and insert what is due."""
        now = self.last_step = time.monotonic()
        for topic, messages in self._reader.poll(self._patience(now), _POLL_MOST).items():
            gathered = self._gathered[topic]
            if not gathered.messages:
                gathered.since = time.monotonic()
            gathered.messages += messages
            gathered.bytes += sum(map(len, messages))
        metrics.BUFFERED.set(sum(len(g.messages) for g in self._gathered.values()))
        self._insert(self._due(time.monotonic()))
        if self._inserting is not None and self._inserting[1].done():
            self._finish_insert()
        if now - self._shown > _PROGRESS_S:
            self._show_progress()

    def _patience(self, now: float) -> float:
        """How long to wait for more: no longer than until something is due."""
        oldest = min((g.since for g in self._gathered.values() if g.messages), default=None)
        if oldest is None:
            return _IDLE_S
        return min(_IDLE_S, max(0.0, oldest + self._settings.batch_s - now))

    def _due(self, now: float) -> list[str]:
        some = [topic for topic, gathered in self._gathered.items() if gathered.messages]
        if sum(self._gathered[topic].bytes for topic in some) >= self._settings.buffer_bytes:
            return some
        return [
            topic
            for topic in some
            if len(self._gathered[topic].messages) >= self._settings.batch_rows
            or now - self._gathered[topic].since >= self._settings.batch_s
        ]

    def _insert(self, topics: list[str]) -> None:
        for topic in topics:
            gathered, self._gathered[topic] = self._gathered[topic], _Gathered()
            most = self._settings.batch_rows
            for start in range(0, len(gathered.messages), most):
                records = records_of(gathered.messages[start : start + most])
                stream = self._streams[topic]
                rows, bad = decode(stream.table, stream.reader, records)
                self._finish_insert()
                work = partial(self._write, topic, records, rows, bad)
                self._inserting = topic, _in_thread(work)

    def _write(self, topic: str, records: Records, rows: Rows, bad: Rows) -> None:
        # The bad ones first: the good ones decide where the next start goes on.
        if bad:
            self._undecodable.write(bad)
            for reason in bad.columns["reason"].to_pylist():
                metrics.UNDECODABLE.labels(topic, reason).inc()
        self._streams[topic].writer.write(rows)
        self._passed[topic].update(
            (partition, offset + 1)
            for partition, offset in last(records.partitions, records.offsets).items()
        )

    def _finish_insert(self) -> None:
        """Wait for the insert that is under way, if one is; raises what it raised."""
        if self._inserting is not None:
            (_, future), self._inserting = self._inserting, None
            future.result()

    def _show_progress(self, last: bool = False) -> None:
        self._shown = time.monotonic()
        for topic, gathered in self._gathered.items():
            # With nothing of it on the way, all that was read of a topic is passed: also what is
            # no record, such as the mark of a transaction's end.
            if not gathered.messages and (self._inserting is None or self._inserting[0] != topic):
                self._passed[topic].update(self._reader.reached[topic])
        self.lag = self._reader.show_progress(self._passed, last)


def _in_thread(work: Callable[[], None]) -> Future[None]:
    """Run ``work`` in a thread that does not outlive the process."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # told where the future is asked
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, name="insert", daemon=True).start()
    return future
