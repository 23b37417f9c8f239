"""What was fetched and waits for an agent: gathered, so that batches are as large as the load."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from streams.transport.batch import TP, RecordBatch, joined

Key = str | TP

# Records that are worth working on while a commit is under way; fewer could not be committed before
# its end anyway, and are one batch with those that come until then.
WORTH = 256


@dataclass(slots=True)
class _Box:
    """Batches of one key that wait, since when, and whether one of the key is worked on."""

    patient: bool
    batches: deque[RecordBatch] = field(default_factory=deque)
    records: int = 0
    since: float = 0.0
    at_work: bool = False


class Mailbox:
    """Between the thread that fetches and the event loop; both may call everything.

    Of each partition (of each topic in `whole`) one batch at a time is worked on. What arrives
    meanwhile waits, and is the next batch: batches are single records when there is time, and grow
    to `most` records under load, so that a fixed cost for each batch is never what limits.

    whole: topics whose partitions come in one batch. patient: topics whose records wait for
    `gather_s` seconds for others (or until there are `most`), because nobody waits for them; one
    batch of all of them is worked on at a time, so that the others never wait for more than that.
    """

    def __init__(
        self,
        whole: Collection[str],
        patient: Collection[str],
        most: int,
        gather_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._whole, self._patient = whole, patient
        self._most, self._gather_s, self._clock = most, gather_s, clock
        self._boxes: dict[Key, _Box] = {}
        self._lock = threading.Lock()

    def put(self, batch: RecordBatch, committing: Callable[[], bool] = lambda: False) -> bool:
        """Records that have arrived; whether `take` or `wait_s` would now say something else.

        committing: asked once the records are here, so that whoever takes at a commit's end either
        finds them or is told of them.
        """
        with self._lock:
            box = self._boxes.setdefault(
                self._key(batch), _Box(patient=batch.topic in self._patient)
            )
            first = not box.batches
            if first:
                box.since = self._clock()
            box.batches.append(batch)
            box.records += len(batch)
            if box.at_work:
                return False
            if box.patient:
                return first or box.records >= self._most
            return box.records >= WORTH or not committing()

    def take(self, committing: bool = False) -> list[RecordBatch]:
        """What may be worked on now; each batch is to be told of with `done`.

        committing: whether a commit is under way, so that the next one is a while off.
        """
        now = self._clock()
        with self._lock:
            boxes = self._free(committing)
            found = [self._pop(box, now) for box in boxes if not box.patient]
            patient = [box for box in boxes if box.patient]
            if patient:
                first = min(patient, key=self._due)
                if self._due(first) <= now:
                    found.append(self._pop(first, now))
            return found

    def _free(self, committing: bool) -> list[_Box]:
        """Boxes of which a batch may be worked on, now or when it is due."""
        boxes = [box for box in self._boxes.values() if box.batches and not box.at_work]
        if any(box.at_work and box.patient for box in self._boxes.values()):
            boxes = [box for box in boxes if not box.patient]
        if committing:
            boxes = [box for box in boxes if box.patient or box.records >= WORTH]
        return boxes

    def done(self, batch: RecordBatch) -> None:
        """A batch that was taken is worked on no more."""
        with self._lock:
            box = self._boxes.get(self._key(batch))
            if box is not None:
                box.at_work = False

    def wait_s(self, committing: bool = False) -> float:
        """How long until `take` has something if nothing else happens: infinite without any."""
        now = self._clock()
        with self._lock:
            due = [self._due(box) for box in self._free(committing)]
        return max(0.0, min(due, default=float("inf")) - now)

    def clear(self) -> None:
        """Forget everything, also what is worked on: the partitions are gone."""
        with self._lock:
            self._boxes.clear()

    def _key(self, batch: RecordBatch) -> Key:
        return batch.topic if batch.topic in self._whole else batch.tp

    def _due(self, box: _Box) -> float:
        if not box.patient or box.records >= self._most:
            return float("-inf")
        return box.since + self._gather_s

    def _pop(self, box: _Box, now: float) -> RecordBatch:
        batches = [box.batches.popleft()]
        records = len(batches[0])
        while box.batches and records + len(box.batches[0]) <= self._most:
            records += len(box.batches[0])
            batches.append(box.batches.popleft())
        box.records -= records
        box.since = now
        box.at_work = True
        return joined(batches)
