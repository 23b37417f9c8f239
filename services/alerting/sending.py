"""Sends what is recorded to one channel: at least once, and few enough messages for a person."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from schemas.codec import Codec
from services.alerting.channels import Channel
from services.alerting.metrics import MESSAGES, UNREADABLE, WAITING
from services.alerting.places import POLL_MS, consumer
from streams.alerts.book import Notice
from streams.alerts.budget import Budget
from streams.alerts.policy import Alerts
from streams.alerts.wording import message_of
from streams.settings import Settings
from streams.unreadable import Unreadable

log = structlog.get_logger("alerting")

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
"""Between two tries to reach a receiver that does not take messages."""
MOST_WAITING = 1_000
"""Notices that are kept in memory for one message; the others wait in the topic."""


class Sender:
    """One channel's thread. How far it has come is kept in Kafka, in a group of its own: a channel
    that is away holds no other back, and one that is new begins with what comes."""

    def __init__(
        self,
        channel: Channel,
        settings: Settings,
        task: str,
        topic: str,
        codec: Codec,
        policy: Alerts,
        stop: threading.Event,
        clock: Callable[[], int],
    ) -> None:
        self.channel = channel
        self._task, self._codec, self._stop, self._clock = task, codec, stop, clock
        self._page = settings.page
        self._place = TopicPartition(topic, 0)
        self._budget = Budget(policy, clock())
        self._unreadable = Unreadable(log.warning)
        self._waiting: list[tuple[int, dict[str, Any]]] = []
        self._failing_since = math.nan
        # Known before anything new is recorded, so that nothing falls between.
        self._reader = self._begin(settings)
        self._thread = threading.Thread(
            target=self._run, name=f"channel {channel.key}", daemon=True
        )

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has seen that it is to stop."""
        self._thread.join(timeout_s)

    def state(self) -> dict[str, Any]:
        """For the health page."""
        state: dict[str, Any] = {"waiting": len(self._waiting), "alive": self._thread.is_alive()}
        if not math.isnan(self._failing_since):
            state["failing_for_s"] = round(time.monotonic() - self._failing_since, 1)
        return state

    def _begin(self, settings: Settings) -> KafkaConsumer:
        reader = consumer(settings, f"{self._task}-alerts-{self.channel.key}")
        reader.assign([self._place])
        if reader.committed(self._place) is None:
            self._commit(reader, reader.end_offsets([self._place])[self._place])
        reader.seek(self._place, reader.committed(self._place))
        return reader

    def _run(self) -> None:
        pause = FIRST_PAUSE_S
        try:
            while not self._stop.is_set():
                self._read()
                some = self._budget.cut(self._waiting, self._clock())
                WAITING.labels(self.channel.name).set(len(self._waiting))
                if not some:
                    continue
                if self._send([record for _, record in some]):
                    pause = FIRST_PAUSE_S
                    self._keep(some[-1][0] + 1)
                    del self._waiting[: len(some)]
                else:
                    self._stop.wait(pause)
                    pause = min(2 * pause, LONGEST_PAUSE_S)
        finally:
            self._reader.close(autocommit=False)

    def _read(self) -> None:
        """Take up what has come; waits a moment where nothing has."""
        if len(self._waiting) >= MOST_WAITING:
            self._stop.wait(POLL_MS / 1000)
            return
        # What waits for the budget or the receiver is looked at again soon.
        for records in self._reader.poll(timeout_ms=POLL_MS, max_records=MOST_WAITING).values():
            for each in records:
                place = each.topic, each.partition, each.offset
                record = self._unreadable.read(self._codec, each.value, place)
                if record is None:
                    UNREADABLE.labels("alerts").inc(each.value is not None)
                elif record["notify"]:
                    self._waiting.append((each.offset, record))

    def _send(self, records: list[dict[str, Any]]) -> bool:
        notices = [Notice.of(record) for record in records]
        link = (
            records[0]["link"] if len(records) == 1 else f"{self._page.rstrip('/')}/#alerts-title"
        )
        message = message_of(self._task, notices, link, [record["command"] for record in records])
        done = self.channel.send(message)
        MESSAGES.labels(self.channel.name, "sent" if done else "failed").inc()
        facts = {"channel": self.channel.name, "alerts": len(notices)}
        if done:
            self._budget.sent()
            self._failing_since = math.nan
            log.info("message sent", **facts, first=notices[0].alert_id)
        elif math.isnan(self._failing_since):
            self._failing_since = time.monotonic()
            log.warning("message not taken; trying again until it is", **facts)
        return done

    def _keep(self, offset: int) -> None:
        """What was sent is not to be sent again. Where the broker does not take it, a later commit
        says so as well, and only a crash before that repeats messages."""
        try:
            self._commit(self._reader, offset)
        except KafkaError as error:
            log.warning("how far was sent is not committed yet", error=repr(error)[:300])

    def _commit(self, reader: KafkaConsumer, offset: int) -> None:
        reader.commit({self._place: OffsetAndMetadata(offset, "", -1)})
