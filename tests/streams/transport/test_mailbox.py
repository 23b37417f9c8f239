"""Batches between the thread that fetches and the agents: in order, once, one at a time."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.transport.batch import RecordBatch, columns_of
from streams.transport.mailbox import WORTH, Mailbox, Patience

ASKED, SLOW, QUICK, PLAIN = "t.requests", "t.metrics", "t.truth", "t.models"
MOST = 10
PATIENCE = {
    SLOW: Patience(gather_s=0.5, linger_s=0.1),
    QUICK: Patience(gather_s=0.125, linger_s=0.1, lead_s=0.25),
}
LONGEST_S = 0.5
begun = st.sampled_from([None, 0.0, 0.125])
"""How long ago the commit under way began."""


class Message:
    """What is read of one of librdkafka's messages."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        self._topic, self._partition, self._offset = topic, partition, offset

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, self._offset * 10

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes:
        return f"{self._topic}/{self._partition}/{self._offset}".encode()

    def headers(self) -> list[tuple[str, bytes]] | None:
        return [("p", b"%d" % self._partition)] if self._offset % 3 == 0 else None


class Machine(RuleBasedStateMachine):
    """Any order of fetching, working and waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.mailbox = Mailbox(PATIENCE, MOST, lambda: self.now)
        self.next: dict[tuple[str, int], int] = {}
        self.waiting: dict[tuple[str, int], list[int]] = {}
        self.since: dict[tuple[str, int], float] = {}
        self.at_work: list[RecordBatch] = []

    @rule(
        places=st.lists(
            st.tuples(st.sampled_from([ASKED, SLOW, QUICK, PLAIN]), st.integers(0, 2)), max_size=8
        ),
        began=begun,
    )
    def fetch(self, places: list[tuple[str, int]], began: float | None) -> None:
        committing = None if began is None else self.now - began
        messages = []
        for place in places:
            offset = self.next.get(place, 0)
            self.next[place] = offset + 1
            messages.append(Message(*place, offset))
            queue = self.waiting.setdefault(place, [])
            if not any(self.waiting.get(one) for one in self.beside(place)):
                self.since.update(dict.fromkeys(self.beside(place), self.now))
            queue.append(offset)
        for batch in columns_of(messages, 1):
            before = self.mailbox.wait_s(committing)
            news = self.mailbox.put(batch, lambda: committing)
            # Whoever waits is told of all that ends the wait sooner.
            assert news or self.mailbox.wait_s(committing) == before

    @rule(began=begun)
    def take(self, began: float | None) -> None:
        committing = None if began is None else self.now - began
        promised = self.mailbox.wait_s(committing)
        taken = self.mailbox.take(committing)
        assert bool(taken) == (promised == 0)
        busy = {batch.topic for batch in self.at_work}
        for batch in taken:
            # A few records wait for the end of a commit, of one; nobody waits for the patient ones.
            came = self.since[batch.tp]
            assert batch.topic in PATIENCE or committing is None or came < committing
            assert batch.topic not in busy
            busy.add(batch.topic)
            before = dict(self.since)
            self.check(batch)
            self.check_turn(batch, before)
        self.at_work += taken
        assert sum(batch.topic in PATIENCE for batch in self.at_work) <= 1

    def check(self, batch: RecordBatch) -> None:
        assert 0 < len(batch) <= MOST
        assert batch.size == sum(len(value or b"") for value in batch.values)
        seen: dict[tuple[str, int], int] = {}
        for position in range(len(batch)):
            partition, offset = batch.place(position)
            place = (batch.topic, partition)
            assert self.waiting[place].pop(0) == offset
            assert batch.values[position] == f"{batch.topic}/{partition}/{offset}".encode()
            assert batch.timestamps[position] == offset * 10
            headers = [("p", b"%d" % partition)] if offset % 3 == 0 else None
            assert batch.headers.get(position) == headers
            seen[place] = offset + 1
        assert batch.next_offsets == seen
        if batch.topic in PATIENCE:
            waited = self.now - self.since[batch.tp]
            left = sum(len(self.waiting.get(place, ())) for place in self.beside(batch.tp))
            many = len(batch) + left >= MOST
            assert many or waited >= PATIENCE[batch.topic].gather_s
            assert len(seen) == 1 if many else not left
        self.since.update(dict.fromkeys(self.beside(batch.tp), self.now))
        assert list(seen) == sorted(seen)
        assert [part.tp for part in batch.parts()] == list(seen)

    def check_turn(self, batch: RecordBatch, since: dict[tuple[str, int], float]) -> None:
        """None that is due has waited longer, whatever its lead; the others have waited less."""
        if batch.topic not in PATIENCE:
            return

        def turn(place: tuple[str, int]) -> float:
            patience = PATIENCE[place[0]]
            return since[place] + patience.gather_s - patience.lead_s

        for place, queue in self.waiting.items():
            patience = PATIENCE.get(place[0])
            if patience is None or not queue or place[0] == batch.topic:
                continue
            if self.now >= since[place] + patience.gather_s:
                assert turn(batch.tp) <= turn(place)

    @staticmethod
    def beside(place: tuple[str, int]) -> list[tuple[str, int]]:
        """The places whose records come in one batch with a place's."""
        return [(place[0], partition) for partition in range(3)]

    @precondition(lambda self: self.at_work)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from(self.at_work))
        self.at_work.remove(batch)
        self.mailbox.done(batch)

    @rule(seconds=st.sampled_from([0.0, 0.125, LONGEST_S]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def lose_the_partitions(self) -> None:
        self.mailbox.clear()
        assert self.mailbox.take() == []
        for place, queue in self.waiting.items():
            self.next[place] = queue[0] if queue else self.next[place]
            queue.clear()
        self.at_work.clear()

    @invariant()
    def what_waits_is_taken_at_last(self) -> None:
        busy = {batch.topic for batch in self.at_work}
        idle = [
            place
            for place, queue in self.waiting.items()
            if queue and place[0] not in busy
            if place[0] not in PATIENCE or all(b.topic not in PATIENCE for b in self.at_work)
        ]
        assert (self.mailbox.wait_s() <= LONGEST_S) == bool(idle)


TestMailbox = Machine.TestCase


def test_many_records_do_not_wait_for_the_end_of_a_commit() -> None:
    mailbox = Mailbox(PATIENCE, 10 * WORTH, lambda: 0.0)
    first = [Message(ASKED, i % 3, i) for i in range(WORTH - 1)]
    for one in columns_of(first, 1):
        mailbox.put(one)
    assert mailbox.take(committing_since=0.0) == []
    mailbox.put(*columns_of([Message(ASKED, 0, WORTH)], 1))
    (batch,) = mailbox.take(committing_since=0.0)
    assert len(batch) == WORTH


def test_records_wait_for_the_end_of_one_commit_and_not_of_the_next() -> None:
    now = 1.0
    mailbox = Mailbox(PATIENCE, MOST, lambda: now)
    mailbox.put(*columns_of([Message(ASKED, 0, 0)], 1))
    assert mailbox.take(committing_since=0.5) == []
    now = 2.0
    (batch,) = mailbox.take(committing_since=1.5)
    assert len(batch) == 1
