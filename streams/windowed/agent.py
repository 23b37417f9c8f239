"""Windowed features: outcomes (and predictions) of one partition in, sums by key and bucket out.

Each partition is summed by itself, so that no worker waits for another's; who looks a value up adds
the partitions' sums. The sums live in the store, and each that changes is published anew.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

import numpy as np

from schemas.codec import Codec
from schemas.columns import Column, Columns, constant
from schemas.topics import BY_NAME
from streams.dead_letters import DeadLetter, DeadLetters
from streams.horizon import NEVER
from streams.store import Store, Stores
from streams.task import Task
from streams.transport.batch import Output, RecordBatch, Result
from streams.windowed.cells import Cell, Sum, sums
from streams.windowed.declare import Of
from streams.windowed.definition import Definition

STAGE = "windowed"

# Keys: a cell with its kind, the series, the bucket's end and the key; how far a kind's times have
# come; that the cells of a kind were published.
_CELL, _NEWEST, _TOLD = b"c", b"n", b"t"
_LETTER: dict[Of, bytes] = {"truth": b"t", "requests": b"r"}
_HEAD = struct.Struct(">HQ")  # a cell's key: the number of the series, the bucket's end
_SUM = struct.Struct(">qq")
_END = 1 << 63  # after every time
_LEAVE_MS = 3_600_000


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
        self._cell = codecs["cell"]
        self._codecs: dict[Of, Codec] = {
            "truth": codecs["outcome"],
            "requests": codecs["prediction"],
        }
        self._dead = DeadLetters(task.name, codecs["dead_letter"], STAGE)
        self._topic = BY_NAME["features"].topic(task.name)
        self.stage = f"{STAGE}-{definition.id}"
        self._left: dict[tuple[int, int], int] = {}
        self._live: set[int] = set()

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that the agent reads."""
        return tuple(self._definition.topics)

    def close(self) -> None:
        """The partitions go."""
        self._left.clear()
        self._live.clear()

    def open(self, partition: int) -> None:
        """The partition's state is there: what comes now is published."""
        self._live.add(partition)

    def __call__(self, batch: RecordBatch) -> Result:
        """Sum one batch."""
        store = self._stores.get(self.stage, batch.partition)
        kind = self._definition.topics[batch.topic]
        decoded = batch.decoded(self._codecs[kind])
        before = _newest(store, kind)
        changed: dict[Cell, Sum] = {}
        gone: list[Cell] = []
        newest = before
        if len(decoded):
            added, newest = sums(self._definition, kind, decoded.columns, before)
            changed = _add(store, kind, added)
        if newest > before:
            store.put(_NEWEST + _LETTER[kind], struct.pack(">q", newest))
            gone = self._leave(store, batch.partition, kind, newest)
        outputs = []
        if batch.partition in self._live:
            outputs = self._publish(store, batch, kind, changed, gone, newest)
        if decoded.failures:
            letters = [DeadLetter(f.position, f.reason, f.message) for f in decoded.failures]
            outputs.append(self._dead.output(batch, letters, self._clock()))
        return Result(batch, outputs, store.seal({batch.topic: batch.next_offset}))

    def _publish(
        self,
        store: Store,
        batch: RecordBatch,
        kind: Of,
        changed: dict[Cell, Sum],
        gone: list[Cell],
        newest: int,
    ) -> list[Output]:
        told = _TOLD + _LETTER[kind]
        if store.get_many([told])[0] is None:
            store.put(told, b"")
            changed = {
                _cell(key): Sum(*_SUM.unpack(value))
                for number, _ in self._definition.of(kind)
                for key, value in store.scan(_bound(kind, number, 0), _bound(kind, number, _END))
            }
        source = f"{batch.topic}/{batch.partition}"
        keys: list[bytes | None] = [self._key(cell, source) for cell in gone]
        values: list[bytes | None] = [None] * len(gone)
        left = set(gone)
        cells = [(cell, sum_) for cell, sum_ in changed.items() if cell not in left]
        if cells:
            keys += [self._key(cell, source) for cell, _ in cells]
            values += self._cell.encode(
                self._columns(cells, source, batch.next_offset, newest), len(cells)
            )
        # The last one says that all of the batch is there. By itself, since a client whose queue is
        # full may place the records of one output in another order.
        parts = [slice(0, -1), slice(-1, None)]
        return [Output(self._topic, keys[part], values[part]) for part in parts if keys[part]]

    def _columns(
        self, cells: list[tuple[Cell, Sum]], source: str, through: int, newest: int
    ) -> Columns:
        n = len(cells)
        last = np.zeros(n, bool)
        last[-1] = True
        texts = {
            "series": [self._definition.series[cell.series].name for cell, _ in cells],
            "key": [cell.key for cell, _ in cells],
        }
        numbers = {
            "bucket_end": [cell.end for cell, _ in cells],
            "count": [sum_.records for _, sum_ in cells],
            "total": [sum_.total for _, sum_ in cells],
        }
        return {
            "definition": constant(self._definition.id, n),
            "source": constant(source, n),
            **{name: Column(np.array(values, object)) for name, values in texts.items()},
            **{name: Column(np.array(values, np.int64)) for name, values in numbers.items()},
            "through": Column(np.full(n, through, np.int64), last),
            "newest": Column(np.full(n, newest, np.int64), last),
        }

    def _leave(self, store: Store, partition: int, kind: Of, newest: int) -> list[Cell]:
        """Let go of the cells that no window of what is served now can hold."""
        gone: list[Cell] = []
        for number, _ in self._definition.of(kind):
            place = partition, number
            first = self._left.get(place, 0)
            last = max(newest - self._definition.kept_ms[number] + 1, 0)
            # Cells do no harm: a part of a day's at once saves looking for them.
            if last - first < _LEAVE_MS:
                continue
            self._left[place] = last
            found = store.scan(_bound(kind, number, first), _bound(kind, number, last))
            for key, _ in found:
                store.delete(key)
            gone += [_cell(key) for key, _ in found]
        return gone

    def _key(self, cell: Cell, source: str) -> bytes:
        name = self._definition.series[cell.series].name
        return f"{self._definition.id}|{name}|{cell.key}|{cell.end}|{source}".encode()


def _newest(store: Store, kind: Of) -> int:
    raw = store.get_many([_NEWEST + _LETTER[kind]])[0]
    return struct.unpack(">q", raw)[0] if raw else NEVER


def _add(store: Store, kind: Of, added: Mapping[Cell, Sum]) -> dict[Cell, Sum]:
    """Add to the cells in the store; what they hold now."""
    keys = [_stored(kind, cell) for cell in added]
    changed = {}
    for key, (cell, sum_), raw in zip(keys, added.items(), store.get_many(keys), strict=True):
        changed[cell] = whole = sum_.plus(Sum(*_SUM.unpack(raw))) if raw else sum_
        store.put(key, _SUM.pack(*whole))
    return changed


def _stored(kind: Of, cell: Cell) -> bytes:
    return _CELL + _LETTER[kind] + _HEAD.pack(cell.series, cell.end) + cell.key.encode()


def _cell(key: bytes) -> Cell:
    series, end = _HEAD.unpack_from(key, 2)
    return Cell(end, series, key[2 + _HEAD.size :].decode())


def _bound(kind: Of, series: int, end: int) -> bytes:
    return _CELL + _LETTER[kind] + _HEAD.pack(series, end)
