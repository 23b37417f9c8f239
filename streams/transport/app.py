"""A Faust app whose agents get record batches and yield results."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import faust
from faust.serializers.schemas import Schema
from faust.types import TP
from prometheus_client import Histogram

from streams.transport.batch import RecordBatch, Result, all_of
from streams.transport.delivery import EXIT_CODE, Delivery, Mode
from streams.transport.driver import Transport
from streams.transport.mailbox import PATIENT, Patience

log = logging.getLogger(__name__)

STAGE_SECONDS = Histogram(
    "weir_stage_seconds",
    "Time of an agent's work on a batch",
    ["stage"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2),
)
DRAIN_S = 15.0  # how long a worker that is told to stop may finish what it has fetched

Stage = Callable[[RecordBatch], Result]
Restore = Callable[[Mapping[TP, int]], None]


def _by_partition(stage: Stage, batch: RecordBatch) -> Result:
    """What a stage makes of each partition of a batch, together."""
    results = [stage(part) for part in batch.parts()]
    if len(results) == 1:
        return results[0]
    writes = [result.after_commit for result in results if result.after_commit is not None]
    outputs = [output for result in results for output in result.outputs]
    return Result(batch, outputs, all_of(writes) if writes else None)


class BatchSchema(Schema):
    """The value is a `RecordBatch` already; the agent's stage decodes it."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> Any:
        """No key: a batch has many."""
        return None

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:
        """The batch as it is."""
        return message.value


class App(faust.App):
    """A worker: Faust's app over Weir's transport.

    client: librdkafka's connection settings. group: consumer group. worker: this worker's name,
    stable across restarts; its successor takes its partitions over at once and fences it.
    folder: where Faust may keep what it likes; it makes it even where it keeps nothing.
    prompt: topics of patient stages with a patience of their own, since what is made of them counts
    in what is served.
    restore: called with the committed offset (−1: none) of each partition that comes in, before
    its records are read. close: called when partitions go.
    """

    def __init__(
        self,
        *,
        group: str,
        worker: str,
        client: Mapping[str, Any],
        mode: Mode,
        batch_max: int,
        folder: Path,
        restore: Restore,
        close: Callable[[], None],
        prompt: Mapping[str, Patience] = MappingProxyType({}),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)  # Faust makes the last folder of the path alone
        super().__init__(
            group,
            broker=f"weir://{group}",
            store="memory://",
            datadir=str(folder),
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            worker_redirect_stdouts=False,
            stream_wait_empty=False,
            # A batch that an agent holds when its partitions go is dropped, not waited for.
            stream_recovery_delay=0.0,
        )
        self.batch_max = batch_max
        self.client_config = {
            **client,
            "group.id": group,
            # A restarted worker of the same name gets its partitions back without a rebalance.
            "group.instance.id": f"{group}-{worker}",
            "client.id": f"weir-{worker}",
            # Eager and by number: topics with as many partitions are assigned alike, so that a
            # request's prediction, truth and signals meet in one worker.
            "partition.assignment.strategy": "range",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 1_000,
            # A fetch waits for data at most this long; there is always a next one.
            "fetch.wait.max.ms": 100,
            # When the local queue is full the default is to look again after a second.
            "fetch.queue.backoff.ms": 5,
            "queued.max.messages.kbytes": 64 * 1024,
            "topic.metadata.refresh.interval.ms": 30_000,
        }
        self._agents_of: dict[str, int] = {}
        # Topics whose records may be gathered for a moment, and for how long.
        self.patience: dict[str, Patience] = {}
        self._prompt = prompt
        self._restore = restore
        self._close = close
        # Answers commit by themselves: a transaction takes longer the more partitions it touches,
        # and what the loop makes would be what the next answer waits for.
        self.deliveries = tuple(
            Delivery(
                client,
                mode,
                group,
                transactional_id,
                self._agents_of,
                self.patience,
                self._is_current,
                self._worked_on,
                self._release,
                self._committed,
            )
            for transactional_id in (f"{group}-{worker}", f"{group}-{worker}-loop")
        )
        self.answers, self.others = self.deliveries
        self._transport = Transport([], self)

    def stage(
        self,
        name: str,
        topics: Iterable[str],
        stage: Stage,
        *,
        patient: bool = False,
        by_partition: bool = True,
    ) -> None:
        """Declare an agent: every batch of these topics goes through `stage`.

        The agent only moves batches: what it yields goes to a `Delivery`, and it does not know
        how that keeps its promise.

        patient: nobody waits for what it makes of each record, so that its records are gathered for
        a moment (`mailbox.PATIENT`; the app's prompt topics say it themselves) and worked on in
        larger batches: a batch costs hundreds of microseconds however small it is, which the agents
        that somebody waits for can use. What patient stages make has transactions of its own. All
        stages of a topic are patient, or none.

        by_partition: `stage` is called for each partition of a batch, as one with state needs. A
        batch holds the records of all partitions at hand, so that what it costs on the way, and
        decoding it, is paid once.
        """
        names = list(topics)
        if patient:
            self.patience |= {name: self._prompt.get(name, PATIENT) for name in names}
        for topic in names:
            self._agents_of[topic] = self._agents_of.get(topic, 0) + 1
        channel = self.topic(*names, schema=BatchSchema(), acks=False)
        delivery = self.others if patient else self.answers
        run = partial(_by_partition, stage) if by_partition else stage

        async def agent(batches: Any) -> AsyncIterator[Result]:
            async for batch in batches:
                # A rebalance may have come between Faust's own check and here.
                if self.consumer.is_current(batch):
                    yield self._run_stage(name, run, batch)

        agent.__name__ = agent.__qualname__ = name
        self.agent(channel, name=name, sink=[delivery.deliver])(agent)

    @staticmethod
    def _run_stage(name: str, stage: Stage, batch: RecordBatch) -> Result:
        """A stage decides about every record, bad ones too; an exception is our own mistake.

        Going on would lose the batch or count it twice, so the worker ends.
        """
        try:
            with STAGE_SECONDS.labels(name).time():
                return stage(batch)
        except Exception:
            log.exception(
                "stage %s failed on %s, %d records before the offsets %s; the worker ends",
                name,
                batch.topic,
                len(batch),
                {partition: offset for (_, partition), offset in batch.next_offsets.items()},
            )
            logging.shutdown()
            os._exit(EXIT_CODE)

    @property
    def ready(self) -> bool:
        """Whether the worker is in the group and works on what it was given."""
        # Not `self.consumer`: that makes one where there is none, and the health page's thread may
        # be first to ask. Its tasks would then wait for an event loop that nobody runs.
        consumer = self._consumer
        if consumer is None:
            return False
        return bool(consumer.joined and consumer.flow_active and not self.rebalancing)

    @property
    def stuck_s(self) -> float:
        """Seconds for which records were at hand and none was committed; a commit takes
        milliseconds, so that many seconds mean that the broker or a stage does not answer."""
        return self._consumer.stuck_s if self._consumer is not None else 0.0

    def _is_current(self, batch: RecordBatch) -> bool:
        return bool(self.consumer.is_current(batch))

    def _worked_on(self, batch: RecordBatch) -> None:
        self.consumer.worked_on(batch)

    def _release(self, batch: RecordBatch) -> None:
        self.consumer.release(batch)

    def _committed(self) -> None:
        self.consumer.committed()

    async def restore(self, offsets: Mapping[TP, int]) -> None:
        """Bring the stores of the partitions that come in up to their offsets."""
        await asyncio.get_running_loop().run_in_executor(None, self._restore, offsets)

    async def close_stores(self) -> None:
        """Close the stores: their partitions go."""
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    async def quiet(self) -> None:
        """Wait until nothing waits for a commit and none is under way."""
        for delivery in self.deliveries:
            await delivery.quiet()

    async def drain(self) -> None:
        """Finish what is under way: take no more records, commit what the agents made."""
        await self.consumer.stop_fetching()
        deadline = self.loop.time() + DRAIN_S
        while self.consumer.outstanding and self.loop.time() < deadline:
            # Agents run between two looks; what they made commits meanwhile.
            await asyncio.sleep(0.01)
            await self.quiet()
