"""The sink's loop: read, gather, insert."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from schemas.codec import Codec
from services.sink import metrics
from services.sink.reading import Reader
from services.sink.rows import Record, decode
from services.sink.settings import SinkSettings
from services.sink.tables import Table
from services.sink.writing import Stopped, TableWriter

log = structlog.get_logger("sink")

# Longest wait for records, in seconds: how late an idle sink notices that it is told to stop.
_IDLE_S = 0.2
# Records a poll may return: so many are gathered before the clock is looked at again.
_POLL_MOST = 5_000
# Seconds between two looks at the lag.
_PROGRESS_S = 1.0


@dataclass
class _Gathered:
    """A topic's records that are not inserted yet, and since when the oldest waits."""

    records: list[Record] = field(default_factory=list)
    bytes: int = 0
    since: float = 0.0


@dataclass(frozen=True)
class Stream:
    """One topic on its way into its table; ``topic`` is the full name."""

    topic: str
    table: Table
    codec: Codec
    writer: TableWriter


class Sink:
    """Moves records until told to stop; everything it needs is ready when it is made."""

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
        self._shown = 0.0
        self.lag: dict[str, int] = {}
        self.last_step = time.monotonic()

    def run(self) -> None:
        """Work until told to stop, then insert what is gathered. Raises TakenOver, TableGone,
        kafka-python's errors."""
        try:
            while not self._stopping():
                self.step()
            self._insert(list(self._streams))
            self._show_progress(last=True)
        except Stopped:
            log.warning("stopped while the store did not take rows; they are read again at start")

    def step(self) -> None:
        """Read once, and insert what is due."""
        now = self.last_step = time.monotonic()
        for topic, records in self._reader.poll(self._patience(now), _POLL_MOST).items():
            gathered = self._gathered[topic]
            if not gathered.records:
                gathered.since = time.monotonic()
            gathered.records += records
            gathered.bytes += sum(len(record.value or b"") for record in records)
        metrics.BUFFERED.set(sum(len(g.records) for g in self._gathered.values()))
        self._insert(self._due(time.monotonic()))
        if now - self._shown > _PROGRESS_S:
            self._show_progress()

    def _patience(self, now: float) -> float:
        """How long to wait for more: no longer than until something is due."""
        oldest = min((g.since for g in self._gathered.values() if g.records), default=None)
        if oldest is None:
            return _IDLE_S
        return min(_IDLE_S, max(0.0, oldest + self._settings.batch_s - now))

    def _due(self, now: float) -> list[str]:
        some = [topic for topic, gathered in self._gathered.items() if gathered.records]
        if sum(self._gathered[topic].bytes for topic in some) >= self._settings.buffer_bytes:
            return some
        return [
            topic
            for topic in some
            if len(self._gathered[topic].records) >= self._settings.batch_rows
            or now - self._gathered[topic].since >= self._settings.batch_s
        ]

    def _insert(self, topics: list[str]) -> None:
        for topic in topics:
            gathered, self._gathered[topic] = self._gathered[topic], _Gathered()
            if not gathered.records:
                continue
            stream = self._streams[topic]
            most = self._settings.batch_rows
            for start in range(0, len(gathered.records), most):
                part = gathered.records[start : start + most]
                rows, bad = decode(stream.table, stream.codec, part)
                # The bad ones first: the good ones decide where the next start goes on.
                if bad:
                    self._undecodable.write(bad)
                    for reason in bad.columns[bad.names.index("reason")]:
                        metrics.UNDECODABLE.labels(topic, reason).inc()
                stream.writer.write(rows)

    def _show_progress(self, last: bool = False) -> None:
        self._shown = time.monotonic()
        positions = {
            topic: stream.writer.positions(stream.table.topic)
            for topic, stream in self._streams.items()
        }
        self.lag = self._reader.show_progress(positions, last)
