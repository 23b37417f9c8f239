"""State of one stage and partition, on disk, in step with the committed offsets.

A stage reads and changes its state while it works on a batch; the changes are staged in memory
and written, with the offsets of the batch, after the batch is committed. So the disk is never
ahead of Kafka. After a crash it may be behind; `streams.restore` replays the inputs between.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, WriteBatch

_OFFSETS = b"\x00offsets"
# Memory of one store: two write buffers and a cache. A partition's store holds at most
# 2 × 16 + 8 MiB besides RocksDB's filters (10 bits a key). Larger buffers make fewer files, which
# are merged less often.
_WRITE_BUFFER_BYTES = 16 << 20
_CACHE_BYTES = 8 << 20


class Store:
    """Bytes by key. Keys must not begin with a zero byte (the store's own).

    Not safe for two threads, with one exception: the function that `seal` returns may run in
    another thread while the stage works on the next batches.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._db = self._open()
        self._staged: dict[bytes, bytes | None] = {}
        self._sealed: list[dict[bytes, bytes | None]] = []
        # Of the list of sealed changes, which the writing thread shortens while the other one
        # adds to it and reads it.
        self._lock = threading.Lock()
        raw = self._db.get(_OFFSETS)
        self._offsets: dict[str, int] = json.loads(raw) if raw else {}

    def _open(self) -> Rdict:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
        options.set_max_write_buffer_number(2)
        options.set_keep_log_file_num(2)
        # What fills a store is doubles, which hardly get smaller; unpacking a block at each look
        # would cost a fifth of it.
        options.set_compression_type(DBCompressionType.none())
        table = BlockBasedOptions()
        table.set_bloom_filter(10, False)
        table.set_block_cache(Cache(_CACHE_BYTES))
        options.set_block_based_table_factory(table)
        return Rdict(str(self.folder), options)

    @property
    def offsets(self) -> dict[str, int]:
        """By topic, the offset up to which (exclusive) the state on disk holds the inputs."""
        return dict(self._offsets)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys, staged changes included; None where there is none."""
        if not keys:
            return []
        layers = [layer for layer in self._layers() if layer]
        if not layers:
            return list(self._db.get(list(keys)))
        found: list[bytes | None] = [None] * len(keys)
        missing: list[int] = []
        for i, key in enumerate(keys):
            for layer in layers:
                if key in layer:
                    found[i] = layer[key]
                    break
            else:
                missing.append(i)
        if missing:
            stored = self._db.get([keys[i] for i in missing])
            for i, value in zip(missing, stored, strict=True):
                found[i] = value
        return found

    def put(self, key: bytes, value: bytes) -> None:
        """Stage a value."""
        self._staged[key] = value

    def put_many(self, keys: Sequence[bytes], values: Sequence[bytes | None]) -> None:
        """Stage a value for each key; None stages a deletion."""
        self._staged.update(zip(keys, values, strict=True))

    def delete(self, key: bytes) -> None:
        """Stage a deletion."""
        self._staged[key] = None

    def scan(self, first: bytes, last: bytes) -> list[tuple[bytes, bytes]]:
        """Keys from `first` to before `last` with their values, in order, staged ones included."""
        layers = self._layers()
        found: dict[bytes, bytes | None] = {}
        for key, value in self._db.items(from_key=first):
            if key >= last:
                break
            found[key] = value
        for layer in reversed(layers):
            found.update({key: value for key, value in layer.items() if first <= key < last})
        return [(key, value) for key, value in sorted(found.items()) if value is not None]

    def _layers(self) -> list[dict[bytes, bytes | None]]:
        """Changes that may not be on disk yet, the newest first.

        To be asked for before the disk is read: what is written in between is then found in
        both, never in neither.
        """
        with self._lock:
            return [self._staged, *reversed(self._sealed)]

    def seal(self, offsets: Mapping[str, int]) -> Callable[[], None]:
        """Close the staged changes; the function that comes back writes them with `offsets`.

        Functions are to be called in the order in which they were made.
        """
        changes, self._staged = self._staged, {}
        reached = dict(offsets)
        with self._lock:
            self._sealed.append(changes)

        def write() -> None:
            batch = WriteBatch(raw_mode=True)
            for key, value in changes.items():
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)
            self._offsets |= reached
            batch.put(_OFFSETS, json.dumps(self._offsets).encode())
            self._db.write(batch)
            with self._lock:
                self._sealed = [one for one in self._sealed if one is not changes]

        return write

    def close(self) -> None:
        """Close; staged changes are forgotten."""
        self._db.close()

    def destroy(self) -> None:
        """Close and remove from disk: the state is made again from the topics."""
        self._db.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Stores:
    """The stores of a worker, by stage and partition."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[tuple[str, int], Store] = {}

    def get(self, stage: str, partition: int) -> Store:
        """The store of a stage's partition, opened at its first use."""
        store = self._open.get((stage, partition))
        if store is None:
            store = Store(self._folder / f"{stage}-{partition}")
            self._open[stage, partition] = store
        return store

    def close(self) -> None:
        """Close all of them."""
        for store in self._open.values():
            store.close()
        self._open.clear()
