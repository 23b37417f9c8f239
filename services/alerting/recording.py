"""Writes alerts, and how far was read for them, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition

from schemas.codec import Codec
from services.alerting.metrics import RECORDED
from streams.alerts.book import Notice
from streams.alerts.wording import anchor, command
from streams.settings import Settings

STORE_TIMEOUT_S = 60.0


class Recorder:
    """The only writer of ``<task>.alerts``: a second one, or one that was left for dead and wakes
    up, is fenced by the transactional id, and its transaction fails."""

    def __init__(self, settings: Settings, topic: str, group: str, codec: Codec) -> None:
        self._topic, self._group, self._codec = topic, group, codec
        self._page = settings.page
        self._producer = KafkaProducer(
            **settings.kafka_python(), acks="all", linger_ms=0, transactional_id=group
        )
        self._producer.init_transactions()

    def record(self, notices: Sequence[Notice], offsets: Mapping[TopicPartition, int]) -> None:
        """Store the notices and the offsets that are read next, both or neither.

        Raises kafka-python's errors; the caller's state is then ahead of Kafka, and it must end.
        """
        # 1. After a crash before the commit nothing of this is seen, and it is decided again.
        self._producer.begin_transaction()
        sent = [
            self._producer.send(
                self._topic, self._codec.write(self._whole(notice)), key=notice.alert_id.encode()
            )
            for notice in notices
        ]
        for one in sent:
            one.get(timeout=STORE_TIMEOUT_S)
        self._producer.send_offsets_to_transaction(
            {place: OffsetAndMetadata(offset, "", -1) for place, offset in offsets.items()},
            self._group,
        )
        # 2. After a crash after it the book is restored from the topic, and nothing is read again.
        self._producer.commit_transaction()
        for notice in notices:
            RECORDED.labels(notice.kind, notice.severity, notice.change).inc()

    def close(self) -> None:
        """Let go of the connections."""
        self._producer.close(timeout=STORE_TIMEOUT_S)

    def _whole(self, notice: Notice) -> dict[str, object]:
        link = f"{self._page.rstrip('/')}/#{anchor(notice)}"
        return {**notice.record(), "link": link, "command": command(notice)}
