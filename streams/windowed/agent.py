"""Windowed features: outcomes (and predictions) of one partition in, sums by key and bucket out.

Each partition is summed by itself, so that no worker waits for another's; who looks a value up adds
the partitions' sums. The sums live in the store. A batch publishes one record: those that it
changed, and some besides (`streams.windowed.ring`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from schemas.codec import Codec
from schemas.topics import BY_NAME
from streams.dead_letters import DeadLetter, DeadLetters
from streams.store import Store, Stores
from streams.task import Task
from streams.transport.batch import Output, RecordBatch, Result, all_of
from streams.windowed import ring
from streams.windowed.cells import Cell, Sum, sums
from streams.windowed.declare import Of
from streams.windowed.definition import Definition
from streams.windowed.updates import Reached, updates

STAGE = "windowed"

# Keys: a cell with its kind, its home, the series, the bucket's end and the key; how far a kind's
# source has come; that the cells of a kind were published.
_CELL, _REACHED, _TOLD = b"c", b"r", b"t"
_LETTER: dict[Of, bytes] = {"truth": b"t", "requests": b"r"}
_HOME = struct.Struct(">H")
_HEAD = struct.Struct(">HQ")  # a cell's key: the number of the series, the bucket's end
_SUM = struct.Struct(">qq")
_STATE = struct.Struct(">q?q")


class Cells:
    """The stage that keeps the sums; a store a partition, of this definition alone.

    Another declaration has another definition, whose sums are made from the topics at the start
    (`streams.restore`) and published whole with the first batch.
    """

    def __init__(
        self,
        task: Task,
        definition: Definition,
        codecs: dict[str, Codec],
        stores: Stores,
        clock: Callable[[], int],
    ) -> None:
        self._definition = definition
        self._stores = stores
        self._clock = clock
        self._update = codecs["feature_update"]
        self._codecs: dict[Of, Codec] = {
            "truth": codecs["outcome"],
            "requests": codecs["prediction"],
        }
        self._dead = DeadLetters(task.name, codecs["dead_letter"], STAGE)
        self._topic = BY_NAME["features"].topic(task.name)
        self.stage = f"{STAGE}-{definition.id}"
        self._live: set[int] = set()

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that the agent reads."""
        return tuple(self._definition.topics)

    def close(self) -> None:
        """The partitions go."""
        self._live.clear()

    def open(self, partition: int) -> None:
        """The partition's state is there: what comes now is published."""
        self._live.add(partition)

    def __call__(self, batch: RecordBatch) -> Result:
        """Sum one batch."""
        kind = self._definition.topics[batch.topic]
        decoded = batch.decoded(self._codecs[kind])
        parts = batch.parts()
        stores = [self._stores.get(self.stage, part.partition) for part in parts]
        before = [_reached(store, kind) for store in stores]
        sizes = [len(part.decoded(self._codecs[kind])) for part in parts]
        summed = sums(
            self._definition, kind, decoded.columns, sizes, [one.newest for one in before]
        )
        outputs: list[Output] = []
        writes = []
        for part, store, then, (added, newest) in zip(parts, stores, before, summed, strict=True):
            now = Reached(part.next_offset, newest)
            outputs += self._put(part, store, kind, added, then, now)
            writes.append(store.seal({batch.topic: part.next_offset}))
        if decoded.failures:
            letters = [DeadLetter(f.position, f.reason, f.message) for f in decoded.failures]
            outputs.append(self._dead.output(batch, letters, self._clock()))
        return Result(batch, outputs, all_of(writes))

    def _put(
        self,
        part: RecordBatch,
        store: Store,
        kind: Of,
        added: Mapping[Cell, Sum],
        before: Reached,
        now: Reached,
    ) -> list[Output]:
        """Add to the sums of one partition; what is to be published of them."""
        changed = _add(store, kind, added)
        newest = now.newest
        store.put(
            _REACHED + _LETTER[kind], _STATE.pack(now.through, newest is not None, newest or 0)
        )
        live = part.partition in self._live
        told = not live or self._told(store, kind)
        homes = ring.passed(before.through, now.through) if told else [(0, ring.REFRESHED)]
        changed = self._refreshed(store, kind, homes, newest) | changed
        return self._publish(part, changed, before, now) if live else []

    @staticmethod
    def _told(store: Store, kind: Of) -> bool:
        """Whether cells were published before; they are from now on."""
        key = _TOLD + _LETTER[kind]
        if store.get_many([key])[0] is not None:
            return True
        store.put(key, b"")
        return False

    def _refreshed(
        self, store: Store, kind: Of, homes: list[tuple[int, int]], newest: int | None
    ) -> dict[Cell, Sum]:
        """The cells of some homes; those that no window of what is served can hold leave."""
        found = {}
        for first, last in homes:
            for key, value in store.scan(_bound(kind, first), _bound(kind, last)):
                cell = _cell(key)
                if (
                    newest is not None
                    and cell.end <= newest - self._definition.kept_ms[cell.series]
                ):
                    store.delete(key)
                else:
                    found[cell] = Sum(*_SUM.unpack(value))
        return found

    def _publish(
        self, batch: RecordBatch, cells: Mapping[Cell, Sum], before: Reached, now: Reached
    ) -> list[Output]:
        """One record; several of very many cells, of which the last one says how far they go.

        Each in an output of its own: a client whose queue is full may place the records of one
        output in another order.
        """
        source = f"{batch.topic}/{batch.partition}"
        place = f"{self._definition.id}|{source}|{ring.slot(before.through, now.through)}"
        return [
            Output(self._topic, [key.encode()], [self._update.write(record)])
            for key, record in updates(self._definition, place, source, cells, now)
        ]


def _reached(store: Store, kind: Of) -> Reached:
    raw = store.get_many([_REACHED + _LETTER[kind]])[0]
    if raw is None:
        return Reached(0, None)
    through, any_, newest = _STATE.unpack(raw)
    return Reached(through, newest if any_ else None)


def _add(store: Store, kind: Of, added: Mapping[Cell, Sum]) -> dict[Cell, Sum]:
    """Add to the cells in the store; what they hold now."""
    keys = [_stored(kind, cell) for cell in added]
    changed = {}
    for key, (cell, sum_), raw in zip(keys, added.items(), store.get_many(keys), strict=True):
        changed[cell] = whole = sum_.plus(Sum(*_SUM.unpack(raw))) if raw else sum_
        store.put(key, _SUM.pack(*whole))
    return changed


_AT = 2 + _HOME.size  # where a stored cell's own key begins


def _stored(kind: Of, cell: Cell) -> bytes:
    own = _HEAD.pack(cell.series, cell.end) + cell.key.encode()
    return _CELL + _LETTER[kind] + _HOME.pack(ring.home(own)) + own


def _cell(key: bytes) -> Cell:
    series, end = _HEAD.unpack_from(key, _AT)
    return Cell(end, series, key[_AT + _HEAD.size :].decode())


def _bound(kind: Of, home: int) -> bytes:
    return _CELL + _LETTER[kind] + _HOME.pack(home)
