"""A rebalance in the middle of a fetch: what is in hand is of an assignment that is over."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from streams.transport.batch import RecordBatch, Result, columns_of
from streams.transport.consumer import GIVE_UP_S, Consumer
from streams.transport.delivery import EXIT_CODE, Delivery
from streams.transport.mailbox import Mailbox
from tests.streams.transport.test_mailbox import PLAIN, Message


class Fetched(Message):
    """A message without an error."""

    def error(self) -> None:
        return None


class Client:
    """Gives one record at once and another behind it; a rebalance may come in between."""

    def __init__(self, rebalance: Callable[[], None]) -> None:
        self._rebalance = rebalance
        self.assigned: list[Any] = []

    def poll(self, _: float) -> Fetched:
        return Fetched(PLAIN, 2, 100)

    def consume(self, _: int, __: float) -> list[Fetched]:
        self._rebalance()
        return [Fetched(PLAIN, 2, 101)]

    def assign(self, partitions: list[Any]) -> None:
        self.assigned = partitions


@pytest.fixture
def consumer() -> Any:
    """One that has what a fetch needs, and no connection."""
    made: Any = object.__new__(Consumer)
    made.app = SimpleNamespace(
        consumer_generation_id=1,
        batch_max=10,
        answers=SimpleNamespace(committing_since=None),
    )
    made._mailbox = Mailbox({}, 10, lambda: 0.0)
    made._slot = threading.Condition()
    made._stopping = threading.Event()
    made._stopping.set()  # a pause between two fetches is over at once
    made._records = made._bytes = 0
    made._begin = []
    made._event_loop = SimpleNamespace(call_soon_threadsafe=lambda _: None)
    made._arrived = SimpleNamespace(set=None)
    return made


def test_records_of_one_assignment_are_a_batch_of_it(consumer: Any) -> None:
    consumer.client = Client(lambda: None)
    consumer._poll_once()
    (batch,) = consumer._mailbox.take()
    assert batch.offsets.tolist() == [100, 101]
    assert consumer.is_current(batch)
    assert consumer.outstanding == 2


@pytest.mark.parametrize("begin", [[], ["where the new assignment begins"]])
def test_records_in_hand_at_a_rebalance_are_dropped(consumer: Any, begin: list[str]) -> None:
    def rebalance() -> None:
        consumer.app.consumer_generation_id += 1
        consumer._begin = begin

    consumer.client = client = Client(rebalance)
    consumer._poll_once()
    assert consumer._mailbox.take() == []
    assert consumer.outstanding == 0
    # What the new assignment has given by then is fetched again.
    assert client.assigned == begin


def test_a_worker_that_commits_nothing_ends(consumer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []

    def end(code: int) -> None:
        ended.append(code)
        consumer._stopping.set()

    monkeypatch.setattr("os._exit", end)
    monkeypatch.setattr("logging.shutdown", lambda: None)
    consumer.client = Client(lambda: None)
    consumer._stopping.clear()
    consumer._records, consumer._moved_at = 1, time.monotonic() - GIVE_UP_S - 1
    consumer._poll()
    assert ended == [EXIT_CODE]


def test_the_result_of_an_assignment_that_is_over_is_not_committed() -> None:
    (batch,) = columns_of([Message(PLAIN, 2, 100)], 1)
    current = {"generation": 1}
    worked_on: list[RecordBatch] = []

    async def deliver() -> int:
        delivery = Delivery(
            {"bootstrap.servers": "127.0.0.1:9", "log_level": 0},
            "at_least_once",
            "group",
            "id",
            {PLAIN: 1},
            {},
            lambda one: one.generation == current["generation"],
            worked_on.append,
            lambda _: None,
            lambda: None,
        )
        delivery.deliver(Result(batch, []))
        return len(delivery._ready)

    assert asyncio.run(deliver()) == 1
    assert worked_on == [batch]
    current["generation"] = 2
    assert asyncio.run(deliver()) == 0
