"""What was fetched and waits for an agent: gathered, so that batches are as large as the load."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from streams.transport.batch import RecordBatch, joined


@dataclass(frozen=True, slots=True)
class Patience:
    """For how long a topic's records wait for others, and what is made of them for a commit.

    gather_s: records wait so long, or until there are as many as a batch takes. linger_s: results
    wait so long for others before they cause a commit. lead_s: how much earlier than others that
    are as long overdue its batches have their turn.
    """

    gather_s: float
    linger_s: float
    lead_s: float = 0.0


# Of what nobody waits for. A human who looks at metrics does not notice a tenth of a second, and at
# 1,000 records/s it makes batches of 25 a partition out of single ones.
PATIENT = Patience(gather_s=0.1, linger_s=0.05)
# Of a truth on its way to the features of what is served, which passes two of these. A batch costs
# some milliseconds however small it is: a worker with four partitions could do without gathering,
# but would do little else. The lead lets it pass a queue of others that came due together, and
# those that have waited for a lead longer still go first: no topic starves.
PROMPT = Patience(gather_s=0.02, linger_s=0.005, lead_s=0.1)
# The same, of a topic that Weir writes: its records come a commit at a time, which has gathered
# them already.
RELAYED = Patience(gather_s=0.0, linger_s=0.005, lead_s=0.1)

# Records that are worth working on while a commit is under way; fewer could not be committed before
# its end anyway, and are one batch with those that come until then.
WORTH = 256


@dataclass(slots=True)
class _Box:
    """Batches of one topic that wait, since when, and whether one of the topic is worked on."""

    patience: Patience | None
    batches: deque[RecordBatch] = field(default_factory=deque)
    records: int = 0
    since: float = 0.0
    at_work: bool = False

    @property
    def patient(self) -> bool:
        """Whether its records wait for others."""
        return self.patience is not None

    def waits_for_commit(self, since: float | None) -> bool:
        """Whether its records had better wait for the end of a commit that began then."""
        if since is None or self.patient or self.records >= WORTH:
            return False
        return self.since >= since


class Mailbox:
    """Between the thread that fetches and the event loop; both may call everything.

    Of each topic one batch at a time is worked on, of all its partitions at hand. What arrives
    meanwhile waits, and is the next batch: batches are single records when there is time, and grow
    to `most` records under load, so that a fixed cost for each batch is never what limits.

    patience: topics whose records wait for others (or until there are `most`), since nobody waits
    for them, or not for each by itself; one batch of all of them is worked on at a time, so that
    the others never wait for more than that. Their stages work on each partition by itself: of
    `most` records or more a batch is of one partition, the one that has waited longest.
    """

    def __init__(
        self, patience: Mapping[str, Patience], most: int, clock: Callable[[], float]
    ) -> None:
        self._patience = patience
        self._most, self._clock = most, clock
        self._boxes: dict[str, _Box] = {}
        self._lock = threading.Lock()

    def put(
        self, batch: RecordBatch, committing_since: Callable[[], float | None] = lambda: None
    ) -> bool:
        """Records that have arrived; whether `take` or `wait_s` would now say something else.

        committing_since: as `take` has it; asked once the records are here, so that whoever takes
        at a commit's end either finds them or is told of them.
        """
        with self._lock:
            box = self._boxes.setdefault(batch.topic, _Box(self._patience.get(batch.topic)))
            first = not box.batches
            if first:
                box.since = self._clock()
            box.batches.append(batch)
            box.records += len(batch)
            if box.at_work:
                return False
            if box.patient:
                return first or box.records >= self._most
            return not box.waits_for_commit(committing_since())

    def take(self, committing_since: float | None = None) -> list[RecordBatch]:
        """What may be worked on now; each batch is to be told of with `done`.

        committing_since: when the commit that is under way began, by the clock; None without one.
        A few records that came since then wait for its end. Those that waited for the end of the
        one before are worked on beside it: commits may follow each other without a pause.
        """
        now = self._clock()
        with self._lock:
            boxes = self._free(committing_since)
            found = [self._pop(box, now) for box in boxes if not box.patient]
            due = [box for box in boxes if box.patient and self._due(box) <= now]
            if due:
                found.append(self._pop(min(due, key=self._turn), now))
            return found

    def _free(self, committing_since: float | None) -> list[_Box]:
        """Boxes of which a batch may be worked on, now or when it is due."""
        boxes = [box for box in self._boxes.values() if box.batches and not box.at_work]
        if any(box.at_work and box.patient for box in self._boxes.values()):
            boxes = [box for box in boxes if not box.patient]
        return [box for box in boxes if not box.waits_for_commit(committing_since)]

    def done(self, batch: RecordBatch) -> None:
        """A batch that was taken is worked on no more."""
        with self._lock:
            box = self._boxes.get(batch.topic)
            if box is not None:
                box.at_work = False

    def wait_s(self, committing_since: float | None = None) -> float:
        """How long until `take` has something if nothing else happens: infinite without any."""
        now = self._clock()
        with self._lock:
            due = [self._due(box) for box in self._free(committing_since)]
        return max(0.0, min(due, default=float("inf")) - now)

    def clear(self) -> None:
        """Forget everything, also what is worked on: the partitions are gone."""
        with self._lock:
            self._boxes.clear()

    def _due(self, box: _Box) -> float:
        if box.patience is None or box.records >= self._most:
            return float("-inf")
        return box.since + box.patience.gather_s

    def _turn(self, box: _Box) -> float:
        """What those that are due have their turn by."""
        assert box.patience is not None
        return box.since + box.patience.gather_s - box.patience.lead_s

    def _pop(self, box: _Box, now: float) -> RecordBatch:
        first = box.batches[0]
        one = box.patient and box.records >= self._most
        taken: list[RecordBatch] = []
        left: deque[RecordBatch] = deque()
        records = 0
        while box.batches:
            batch = box.batches.popleft()
            if one and batch.partition != first.partition:
                left.append(batch)
            elif taken and records + len(batch) > self._most:
                left.append(batch)
                break
            else:
                taken.append(batch)
                records += len(batch)
        left.extend(box.batches)
        box.batches = left
        box.records -= records
        box.since = now
        box.at_work = True
        return joined(taken)
