"""Delivery: results become visible together with the offsets they came from, or not at all."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from prometheus_client import Counter, Histogram

from streams.transport.batch import TP, Output, RecordBatch, Result
from streams.transport.mailbox import PATIENT, Patience

log = logging.getLogger(__name__)

Mode = Literal["exactly_once", "at_least_once"]

# Records that one transaction takes at most: a backlog then commits a few times a second, and
# a consumer that reads committed records never waits long for a transaction's end.
MOST_RECORDS_PER_COMMIT = 20_000
# Results of patient topics wait for others before they commit. So many may wait: few of the
# consumer's places.
MOST_WAITING = 8
# A commit that the broker does not answer within this time ends the worker: its successor
# starts at the committed offsets. Longer than a broker's restart (about 5 s).
COMMIT_TIMEOUT_S = 60.0
# The broker ends a transaction that is open for longer, such as that of a worker that froze in the
# middle of one. Whoever has its partitions now cannot know their offsets before. A transaction
# takes milliseconds; this leaves room for a broker's restart.
TRANSACTION_TIMEOUT_MS = 15_000
EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h

COMMITS = Counter("weir_commits", "Commits of results and offsets")
COMMIT_SECONDS = Histogram(
    "weir_commit_seconds",
    "Time of one commit",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 60),
)
STEP_SECONDS = Histogram(
    "weir_commit_step_seconds",
    "Time of a step of an exactly-once commit",
    ["step"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 60),
)
PUBLISHED = Counter("weir_published_records", "Records published", ["topic"])


class Delivery:
    """Takes agents' results and commits them, in order for each partition.

    ``exactly_once``: the outputs of all results at hand and the offsets of their batches commit
    in one Kafka transaction. A worker that lost its partitions (a zombie) is refused by the
    group's generation; one with the same name that still runs is refused by the transactional
    id's epoch. ``at_least_once``: outputs are written first, offsets afterwards.

    Micro-batches adapt by themselves: while one commit is under way results gather, and the
    next commit takes them all. Under no load a commit takes one batch.

    agents_of: how many agents read each topic; a batch is done when each has its result.
    patience: topics whose results wait for others, and for how long, before they cause a commit.
    is_current: whether a batch is of the present assignment. The result of another may arrive when
    its partitions are gone; whoever has them now redoes it.
    worked_on: told of every batch of which all agents have a result.
    release: told of every batch that is committed, so that the consumer fetches more.
    committed: told of every commit's end.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        mode: Mode,
        group: str,
        transactional_id: str,
        agents_of: Mapping[str, int],
        patience: Mapping[str, Patience],
        is_current: Callable[[RecordBatch], bool],
        worked_on: Callable[[RecordBatch], None],
        release: Callable[[RecordBatch], None],
        committed: Callable[[], None],
    ) -> None:
        self.mode = mode
        self._config, self._group = config, group
        self._agents_of = agents_of
        self._patience = patience
        self._is_current = is_current
        self._worked_on = worked_on
        self._release = release
        self._committed = committed
        # When the commit that is under way began, by the monotonic clock; None without one.
        self.committing_since: float | None = None
        settings = {
            **config,
            # Java's default partitioner, so that a key's records meet in one partition
            # whatever language wrote them.
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": 1,
            # Right after a commit the coordinator answers CONCURRENT_TRANSACTIONS for a moment;
            # the default back-off of 100 ms would be the latency.
            "retry.backoff.ms": 2,
            "message.max.bytes": 8 * 1024 * 1024,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 512 * 1024,
        }
        if mode == "exactly_once":
            settings["transactional.id"] = transactional_id
            settings["transaction.timeout.ms"] = TRANSACTION_TIMEOUT_MS
        self._producer = Producer(settings)
        self._thread = ThreadPoolExecutor(1, "weir-commit")
        self._partial: dict[int, list[Result]] = {}
        self._ready: deque[list[Result]] = deque()
        self._due_at = float("inf")  # when what is ready must be committed, in the loop's time
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._consumer: Consumer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, consumer: Consumer) -> None:
        """Fence an earlier worker of the same name and begin to commit."""
        self._consumer = consumer
        if self.mode == "exactly_once":
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._begin)
        self._task = asyncio.create_task(self._run())

    def _begin(self) -> None:
        """End what a predecessor of this name left open, also where the broker forgot that it did.

        A broker (4.2.1) that is killed and restarted may write the marker that aborts a transaction
        before its group coordinator has read that transaction's offsets: for the coordinator they
        stay pending, and whoever asks for the group's offsets waits for ever. The next marker of
        the same producer that concerns the group clears them, so one is written: offsets
        that nobody is to see, in a transaction that is aborted.
        """
        self._producer.init_transactions(COMMIT_TIMEOUT_S)
        # Of the group, and of none of its members: neither fenced nor in need of a generation.
        anybody = Consumer({**self._config, "group.id": self._group})
        try:
            self._producer.begin_transaction()
            self._producer.send_offsets_to_transaction(
                [TopicPartition(min(self._agents_of), 0, 0)],
                anybody.consumer_group_metadata(),
                COMMIT_TIMEOUT_S,
            )
        except KafkaException as error:
            # Whether the offsets are taken does not matter: the marker is written all the same.
            log.warning("the group did not take offsets that are aborted anyway: %s", error)
        finally:
            anybody.close()
        self._producer.abort_transaction(COMMIT_TIMEOUT_S)

    def deliver(self, result: Result) -> None:
        """Take a result; the sink of every agent. It is committed when its batch is done."""
        batch = result.batch
        if batch is None:
            done = [result]
        elif not self._is_current(batch):
            return
        else:
            done = self._partial.setdefault(batch.number, [])
            done.append(result)
            if len(done) < self._agents_of[batch.topic]:
                return
            del self._partial[batch.number]
            self._worked_on(batch)
        self._ready.append(done)
        self._idle.clear()
        # What a timer makes is a figure that nobody waits for.
        patience = PATIENT if batch is None else self._patience.get(batch.topic)
        self._commit_within(0.0 if patience is None else patience.linger_s)

    def _commit_within(self, seconds: float) -> None:
        """Have what is ready committed by then at the latest."""
        loop = asyncio.get_running_loop()
        due_at = loop.time() + seconds
        if due_at < self._due_at:
            self._due_at = due_at
            if seconds:
                loop.call_later(seconds, self._arrived.set)
        if self._is_due():
            self._arrived.set()

    def _is_due(self) -> bool:
        """Whether what is ready should be committed now."""
        if len(self._ready) >= MOST_WAITING:
            return True
        # A timer may fire early by the clock's resolution.
        return bool(self._ready) and asyncio.get_running_loop().time() + 0.001 >= self._due_at

    def drop(self) -> None:
        """Forget all that is not committed: their partitions are lost, others will redo it."""
        self._partial.clear()
        self._ready.clear()
        self._due_at = float("inf")
        self._arrived.set()

    async def quiet(self) -> None:
        """Wait until the commit under way is over and nothing waits for one."""
        await self._idle.wait()

    async def stop(self) -> None:
        """End after the commit under way; what is not committed is left to the next worker."""
        self.drop()
        if self._task is not None:
            await self.quiet()
            self._task.cancel()
        self._thread.shutdown(wait=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._is_due():
                taken = self._take()
                self.committing_since = time.monotonic()
                try:
                    await loop.run_in_executor(self._thread, self._commit, taken)
                except Exception:
                    # Crash-only: a transaction whose fate is unknown, a fenced producer or a
                    # broken disk end the process, and its successor starts from what is
                    # committed. Nothing that is half done can be seen.
                    log.exception("a commit failed; the worker ends and is to be restarted")
                    logging.shutdown()
                    os._exit(EXIT_CODE)
                # A batch that several agents read has a result of each.
                for batch in {r.batch.number: r.batch for r in taken if r.batch}.values():
                    self._release(batch)
                self.committing_since = None
                self._committed()
            if not self._ready:
                self._idle.set()

    def _take(self) -> list[Result]:
        taken: list[Result] = []
        records = 0
        while self._ready and records < MOST_RECORDS_PER_COMMIT:
            results = self._ready.popleft()
            taken += results
            records += sum(len(output.values) for result in results for output in result.outputs)
        if not self._ready:
            self._due_at = float("inf")
        return taken

    def _commit(self, results: Sequence[Result]) -> None:
        """Commit results in an order in which a crash between any two steps is safe.

        1. Begin a transaction. A crash here leaves nothing.
        2. Add the offsets to the transaction. A crash leaves them unseen: the next
           ``init_transactions`` of this worker's name aborts them. They come first since the broker
           may still be busy with the end of the last transaction; whoever asks then is told to ask
           again, and librdkafka does so at once for offsets, but after 20 ms for partitions.
        3. Produce the outputs. A crash leaves them invisible to those who read committed records.
        4. Commit. A crash during it is decided by the broker: both or neither.
        5. Write the state. A crash before it leaves a state that is behind the offsets; the
           worker that gets the partition replays the inputs between the two.
        """
        started = time.perf_counter()
        outputs = [output for result in results for output in result.outputs if output.values]
        offsets: dict[TP, int] = {}
        for result in results:
            if result.batch is not None:
                offsets |= result.batch.next_offsets
        partitions = [TopicPartition(t, p, offset) for (t, p), offset in offsets.items()]
        assert self._consumer is not None
        if self.mode == "exactly_once":
            self._producer.begin_transaction()
            if partitions:
                with STEP_SECONDS.labels("offsets").time():
                    self._producer.send_offsets_to_transaction(
                        partitions, self._consumer.consumer_group_metadata(), COMMIT_TIMEOUT_S
                    )
            with STEP_SECONDS.labels("produce").time():
                self._produce(outputs)
            with STEP_SECONDS.labels("commit").time():
                _until_decided(self._producer.commit_transaction)
        else:
            self._produce(outputs)
            if self._producer.flush(COMMIT_TIMEOUT_S):
                raise TimeoutError(f"the broker did not take the outputs in {COMMIT_TIMEOUT_S} s")
            if partitions:
                self._consumer.commit(offsets=partitions, asynchronous=False)
        for result in results:
            if result.after_commit is not None:
                result.after_commit()
        COMMITS.inc()
        COMMIT_SECONDS.observe(time.perf_counter() - started)

    def _produce(self, outputs: Sequence[Output]) -> None:
        by_topic: dict[str, int] = defaultdict(int)
        for output in outputs:
            by_topic[output.topic] += len(output.values)
            if output.headers:
                self._produce_with_headers(output)
            else:
                self._produce_batch(output)
        for topic, n in by_topic.items():
            PUBLISHED.labels(topic).inc(n)

    def _produce_batch(self, output: Output) -> None:
        where = {} if output.partition is None else {"partition": output.partition}
        messages = [
            {"key": key, "value": value}
            for key, value in zip(output.keys, output.values, strict=True)
        ]
        while messages:
            queued = self._producer.produce_batch(output.topic, messages, **where)
            if queued == len(messages):
                return
            messages = [m for m in messages if m.pop("_error", None) is not None]
            self._producer.poll(0.01)  # the local queue is full: let it drain

    def _produce_with_headers(self, output: Output) -> None:
        where = {} if output.partition is None else {"partition": output.partition}
        produce = self._producer.produce
        for i, (key, value) in enumerate(zip(output.keys, output.values, strict=True)):
            headers = output.headers.get(i)
            more = where if headers is None else {**where, "headers": headers}
            while True:
                try:
                    produce(output.topic, value, key, **more)
                    break
                except BufferError:
                    self._producer.poll(0.01)


def _until_decided(commit: Callable[[float], None]) -> None:
    """Commit again while the broker says to: a commit is idempotent until it is decided."""
    deadline = time.monotonic() + COMMIT_TIMEOUT_S
    while True:
        try:
            commit(COMMIT_TIMEOUT_S)
            return
        except KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() > deadline:
                raise
