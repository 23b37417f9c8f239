"""State on disk: reads see every change at once, the disk sees whole batches only."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from streams.store import Store, Stores

KEYS = st.sampled_from([b"a", b"b", b"b\0", b"c", b"\xff\xff"])
VALUES = st.binary(max_size=4)
TOPICS = ("truth", "predictions")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store")
    yield store
    store.close()


class Layers(RuleBasedStateMachine):
    """The store beside two dicts: what a reader sees, and what is on disk."""

    folder: Path
    runs = 0

    @initialize()
    def start(self) -> None:
        Layers.runs += 1
        self.path = self.folder / str(Layers.runs)
        self.store = Store(self.path)
        self.seen: dict[bytes, bytes] = {}
        self.offsets = dict.fromkeys(TOPICS, 0)
        self.disk: tuple[dict[bytes, bytes], dict[str, int]] = ({}, {})
        self.waiting: list[tuple[Callable[[], None], dict[bytes, bytes], dict[str, int]]] = []
        self.sealed_offsets: dict[str, int] = {}

    @rule(key=KEYS, value=VALUES)
    def put(self, key: bytes, value: bytes) -> None:
        self.store.put(key, value)
        self.seen[key] = value

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        self.store.delete(key)
        self.seen.pop(key, None)

    @rule(topic=st.sampled_from(TOPICS), n=st.integers(1, 9))
    def seal(self, topic: str, n: int) -> None:
        self.offsets[topic] += n
        self.sealed_offsets = {**self.sealed_offsets, topic: self.offsets[topic]}
        write = self.store.seal({topic: self.offsets[topic]})
        self.waiting.append((write, dict(self.seen), self.sealed_offsets))

    @precondition(lambda self: self.waiting)
    @rule()
    def write(self) -> None:
        write, *self.disk = self.waiting.pop(0)  # type: ignore[assignment]
        write()

    @rule()
    def crash(self) -> None:
        """What a killed process leaves is what is in the folder at that moment."""
        copy = self.path.with_name(f"{self.path.name}-copy")
        shutil.copytree(self.path, copy)
        (copy / "LOCK").unlink(missing_ok=True)
        left = Store(copy)
        self.is_on_disk(left)
        left.close()
        shutil.rmtree(copy)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store(self.path)
        self.is_on_disk(self.store)
        self.seen, self.sealed_offsets = dict(self.disk[0]), dict(self.disk[1])
        self.offsets |= self.sealed_offsets
        self.waiting.clear()

    def is_on_disk(self, store: Store) -> None:
        assert dict(store.scan(b"\x01", b"\xff" * 9)) == self.disk[0]
        assert store.offsets == self.disk[1]

    @invariant()
    def reads_see_every_change(self) -> None:
        keys = [b"a", b"b", b"b\0", b"c", b"\xff\xff", b"never"]
        assert self.store.get_many(keys) == [self.seen.get(key) for key in keys]
        assert self.store.scan(b"b", b"d") == sorted(
            (key, value) for key, value in self.seen.items() if b"b" <= key < b"d"
        )
        assert self.store.offsets == self.disk[1]

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()


def test_reads_see_all_changes_and_the_disk_whole_batches(tmp_path: Path) -> None:
    class Here(Layers):
        folder = tmp_path

    run_state_machine_as_test(
        Here, settings=settings(max_examples=15, stateful_step_count=20, deadline=None)
    )


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_nothing_asked_for_is_nothing_found(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("empty") / "store")
    assert store.get_many([]) == []
    assert store.get_many([data.draw(st.binary(min_size=1))]) == [None]
    assert store.scan(b"a", b"z") == []
    assert store.offsets == {}
    store.close()


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns as often as they can, so that a race is met and not merely possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_a_batch_that_another_thread_writes_stays_readable_throughout(store: Store) -> None:
    """The commit thread writes sealed batches while the stage seals more and reads."""
    batches = 1000
    ready: list[Callable[[], None]] = []
    more = threading.Semaphore(0)
    failed: list[BaseException] = []

    def write_all() -> None:
        try:
            for i in range(batches):
                more.acquire()
                ready[i]()
        except BaseException as error:
            failed.append(error)

    writer = threading.Thread(target=write_all)
    writer.start()
    wrong = []
    for i in range(batches):
        key = b"k%d" % i
        store.put(key, b"v")
        ready.append(store.seal({"t": i + 1}))
        more.release()
        recent = [b"k%d" % j for j in range(max(0, i - 8), i + 1)]
        wrong += [k for k, v in zip(recent, store.get_many(recent), strict=True) if v is None]
    writer.join()
    assert not failed
    assert wrong == []
    assert store.offsets == {"t": batches}


def test_a_destroyed_store_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path / "gone")
    store.put(b"a", b"1")
    store.seal({"t": 1})()
    store.destroy()
    again = Store(tmp_path / "gone")
    assert again.get_many([b"a"]) == [None]
    assert again.offsets == {}
    again.close()


def test_stages_and_partitions_have_stores_of_their_own(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    one, other = stores.get("feedback", 0), stores.get("feedback", 1)
    assert stores.get("feedback", 0) is one
    assert other is not one
    assert stores.get("metrics", 0).folder != one.folder
    one.put(b"a", b"1")
    one.seal({"t": 1})()
    stores.close()
    assert stores.get("feedback", 0).get_many([b"a"]) == [b"1"]
    stores.close()
