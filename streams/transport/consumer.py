"""Faust's consumer over librdkafka, in record batches."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from itertools import count
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from faust.transport import consumer as base
from faust.types import TP, ConsumerMessage
from prometheus_client import Counter

from streams.transport.batch import RecordBatch, columns_of
from streams.transport.delivery import EXIT_CODE
from streams.transport.mailbox import Mailbox
from streams.transport.messages import BoundedConsumer as Client

log = logging.getLogger(__name__)

# Records and bytes between the broker and a commit, at most: enough that fetching, agents and
# commits all have work, few enough that memory is bounded.
MOST_RECORDS = 40_000
MOST_BYTES = 128 << 20
# How long to wait for offsets that an open transaction may still change: until the broker has ended
# it (`delivery.TRANSACTION_TIMEOUT_MS`, and it looks every 10 s by default).
OFFSETS_TIMEOUT_S = 60.0
PACE_S = 0.001
# A worker that has records and commits none for so long never will: its successor begins at what is
# committed. A commit that the broker does not answer ends the worker earlier.
GIVE_UP_S = 120.0
POLL_S = 0.2  # how long a poll may wait for a first record; stopping waits for it at most

CONSUMED = Counter("weir_consumed_records", "Records consumed", ["topic"])


class Consumer(base.Consumer):
    """One message for Faust is one batch of a topic; `value` is the `RecordBatch`.

    librdkafka is polled in a thread of its own, which hands batches to the event loop. Offsets
    are committed by `Delivery`, so topics are declared with ``acks=False`` and Faust's own
    bookkeeping of acknowledgements stays empty.
    """

    consumer_stopped_errors = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.client: Client | None = None
        self._mailbox = Mailbox(self.app.patience, self.app.batch_max, time.monotonic)
        self._arrived = asyncio.Event()
        self._count = count(1)
        self._records = self._bytes = 0  # fetched and not yet committed
        self._moved_at = time.monotonic()
        self._slot = threading.Condition()
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="weir-poll", daemon=True)
        self._assignment: set[TP] = set()
        self._begin: list[TopicPartition] = []  # where the present assignment begins
        self.joined = False
        self._event_loop: asyncio.AbstractEventLoop | None = None

    async def on_start(self) -> None:
        """Connect; the group is joined at `subscribe`."""
        self._event_loop = asyncio.get_running_loop()
        self.client = Client(self.app.client_config, logger=log)
        for delivery in self.app.deliveries:
            await delivery.start(self.client)

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group for these topics."""
        assert self.client is not None
        self.client.subscribe(
            sorted(topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )
        if not self._poller.is_alive():
            self._poller.start()

    async def stop_fetching(self) -> None:
        """Take no more records; those under way go on."""
        self._stopping.set()
        with self._slot:
            self._slot.notify_all()
        if self._poller.is_alive():
            await asyncio.to_thread(self._poller.join)

    async def on_stop(self) -> None:
        """Leave: a member with a name of its own keeps its partitions until it is back."""
        await self.stop_fetching()
        for delivery in self.app.deliveries:
            await delivery.stop()
        if self.client is not None:
            await asyncio.to_thread(self.client.close)

    @property
    def outstanding(self) -> int:
        """Records fetched and not yet committed."""
        return self._records

    @property
    def stuck_s(self) -> float:
        """Seconds for which there was work and nothing of it was committed."""
        with self._slot:
            return time.monotonic() - self._moved_at if self._records else 0.0

    def is_current(self, batch: RecordBatch) -> bool:
        """Whether a batch was fetched under the present assignment; another is redone by others."""
        return bool(batch.generation == self.app.consumer_generation_id)

    def worked_on(self, batch: RecordBatch) -> None:
        """Every agent has its result of a batch: the next of its partition may come."""
        self._mailbox.done(batch)
        self._arrived.set()

    def committed(self) -> None:
        """A commit is over: records that waited for its end may be worked on."""
        self._arrived.set()

    def release(self, batch: RecordBatch) -> None:
        """A batch is committed: there is room for others."""
        if not self.is_current(batch):
            return  # it was left out of the count when its assignment ended
        with self._slot:
            self._records = max(0, self._records - len(batch))
            self._bytes = max(0, self._bytes - batch.size)
            self._moved_at = time.monotonic()
            self._slot.notify_all()

    # The thread of librdkafka.

    def _poll(self) -> None:
        try:
            while not self._stopping.is_set():
                if self.stuck_s > GIVE_UP_S:
                    self._end()
                self._poll_once()
        except Exception:
            log.exception("the consumer failed; the worker ends and is to be restarted")
            self._call(self._give_up())

    def _end(self) -> None:
        log.error(
            "%d records are at hand and none was committed for %.0f s; the worker ends and is to be"
            " restarted",
            self._records,
            self.stuck_s,
        )
        logging.shutdown()
        os._exit(EXIT_CODE)  # nothing that would have to be waited for may keep it

    async def _give_up(self) -> None:
        await self.app.crash(RuntimeError("the consumer failed; see the log above"))

    def _poll_once(self) -> None:
        assert self.client is not None
        assert self._event_loop is not None
        with self._slot:
            if self._records >= MOST_RECORDS or self._bytes >= MOST_BYTES:
                self._slot.wait(POLL_S)
                return
        # One record as soon as there is one, then what librdkafka already holds: consume(n,
        # timeout) alone would wait for n.
        first = self.client.poll(POLL_S)
        if first is None:
            return
        generation = self.app.consumer_generation_id
        rest = self.client.consume(self.app.batch_max - 1, 0)
        if generation != self.app.consumer_generation_id:
            # The partitions went, or came anew, while some of these records were in hand already.
            # An assignment begins at what is committed: those that count are fetched again.
            if self._begin:
                self.client.assign(self._begin)
            return
        messages = [message for message in (first, *rest) if not _failed(message)]
        news = False
        for batch in columns_of(messages, generation):
            CONSUMED.labels(batch.topic).inc(len(batch))
            with self._slot:
                if not self._records:
                    self._moved_at = time.monotonic()
                self._records += len(batch)
                self._bytes += batch.size
            news |= self._mailbox.put(batch, lambda: self.app.answers.committing_since)
        if news:  # waking the event loop for nothing is what most of its time would go to
            self._event_loop.call_soon_threadsafe(self._arrived.set)
        if len(messages) < self.app.batch_max // 4:
            # Records that trickle in would be looked at one by one, and the interpreter is shared
            # with the agents: look a thousand times a second at most.
            self._stopping.wait(PACE_S)

    def _call(self, coroutine: Any) -> None:
        """Run a coroutine on the event loop and wait: librdkafka goes on when it is done."""
        assert self._event_loop is not None
        asyncio.run_coroutine_threadsafe(coroutine, self._event_loop).result()

    def _on_assign(self, client: Client, partitions: list[TopicPartition]) -> None:
        committed = client.committed(partitions, OFFSETS_TIMEOUT_S)
        for partition in committed:
            if partition.error is not None:
                raise KafkaException(partition.error)
        offsets = {TP(p.topic, p.partition): max(p.offset, -1) for p in committed}
        self._call(self._assigned(offsets))
        self._begin = committed
        client.assign(committed)

    def _on_revoke(self, client: Client, partitions: list[TopicPartition]) -> None:
        self._begin = []
        if not self._stopping.is_set():
            self._call(self._revoked({TP(p.topic, p.partition) for p in partitions}))

    # The event loop.

    async def _assigned(self, offsets: Mapping[TP, int]) -> None:
        if not self.app.rebalancing:
            self.app.on_rebalance_start()
        self._assignment = set(offsets)
        await self.app.restore(offsets)
        self.app.consumer_generation_id += 1
        await self.on_partitions_assigned(self._assignment, self.app.consumer_generation_id)
        self.joined = True

    async def _revoked(self, revoked: set[TP]) -> None:
        self.app.on_rebalance_start()
        # All partitions go at once (the assignor is eager), and with them all that is not
        # committed; a batch that an agent has in hand belongs to an old generation afterwards.
        self.app.consumer_generation_id += 1
        await self.on_partitions_revoked(revoked)
        for delivery in self.app.deliveries:
            delivery.drop()
        await self.app.quiet()
        await self.app.close_stores()
        self._mailbox.clear()
        with self._slot:
            self._records = self._bytes = 0
        self._assignment = set()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Batches as they come; ends after `timeout` seconds without one."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        delivery = self.app.answers
        batches = self._mailbox.take(delivery.committing_since)
        if not batches:
            wait_s = min(timeout, self._mailbox.wait_s(delivery.committing_since))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), wait_s)
            self._arrived.clear()
            batches = self._mailbox.take(delivery.committing_since)
        for batch in batches:
            if self.is_current(batch):
                yield TP(*batch.tp), self._to_message(TP(*batch.tp), batch)

    def _to_message(self, tp: TP, record: RecordBatch) -> ConsumerMessage:
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            # Faust drops what has an offset below the last of the same partition, and a batch of
            # many partitions has no offset of one: so messages are counted.
            offset=next(self._count),
            timestamp=float(record.timestamps[-1]) / 1000,
            timestamp_type=0,
            headers=[],
            key=None,
            value=record,
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=0,
            tp=tp,
            generation_id=record.generation,
        )

    # What Faust asks of a consumer besides. There are no tables to recover, so positions are
    # librdkafka's business alone.

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        raise NotImplementedError("getmany is overridden whole")

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        return False

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Nothing: `Delivery` commits."""
        return False

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Nothing: an assignment starts at the committed offsets already."""
        return {}

    async def _seek(self, partition: TP, offset: int) -> None:
        raise NotImplementedError("a batch consumer does not seek")

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Not supported: there are no tables to recover."""
        raise NotImplementedError("a batch consumer does not seek")

    async def position(self, tp: TP) -> int | None:
        """Not tracked."""
        return None

    def assignment(self) -> set[TP]:
        """The partitions that this worker has."""
        return self._assignment

    def highwater(self, tp: TP) -> int:
        """Not tracked."""
        return 0

    def topic_partitions(self, topic: str) -> int | None:
        """Not tracked."""
        return None

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Nothing: there are no tables to recover."""
        return {}

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Nothing: there are no tables to recover."""
        return {}

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> Any:
        """The partition that was asked for; librdkafka's partitioner decides otherwise."""
        return partition

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """Nothing: topics are created from the table before a worker starts."""


def _failed(message: Any) -> bool:
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    if error.fatal() or not error.retriable():
        raise KafkaException(error)
    log.warning("the broker answers with an error, which passes by itself: %s", error)
    return True
