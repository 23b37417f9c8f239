"""The store on a disk that is full: nothing acknowledged is lost, and it heals by itself.

The engine is frozen in the middle of its work while the disk fills, so that what it writes next
has no room, whatever the machine's speed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from services.faults.inject import full_disk, small_disk
from services.store.__main__ import DAMAGED
from services.store.parts import why_damaged
from tests.conftest import PATIENCE_S
from tests.services.running_store import RunningStore

ROWS = 100_000  # of one insert: 8 MB that hardly compress, written in many steps
ROUNDS = 8  # to catch the engine while it writes; the first is nearly always enough


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 400) as why:
        if why:
            pytest.skip(why)
        yield tmp_path / "disk"


def _store(disk: Path, least_free_bytes: int) -> RunningStore:
    running = RunningStore(disk, least_free_bytes=least_free_bytes)
    writer = running.writer()
    writer.command("CREATE DATABASE x")
    writer.command(
        "CREATE TABLE x.t (a Int64, s String) ENGINE = ReplacingMergeTree ORDER BY a "
        "SETTINGS non_replicated_deduplication_window = 1000"
    )
    return running


def _insert(store: RunningStore, number: int) -> None:
    rows = [os.urandom(40).hex() for _ in range(ROWS)]
    store.writer(query_retries=0).insert(
        "x.t",
        [list(range(number * ROWS, (number + 1) * ROWS)), rows],
        column_names=["a", "s"],
        column_oriented=True,
        settings={"insert_deduplication_token": str(number)},
    )


def _until(what: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


class _Call(threading.Thread):
    """A call whose failure is kept."""

    def __init__(self, work: Any) -> None:
        super().__init__()
        self._work = work
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._work()
        except ClickHouseError as error:
            self.error = error


def _fill_while(store: RunningStore, disk: Path, work: Any, sign: str) -> _Call:
    """Do ``work`` on a disk that gets full as soon as ``sign`` shows that it has begun."""
    call = _Call(work)
    _until(lambda: not call.is_alive() or any(disk.glob(f"data/store/*/*/{sign}*")))
    os.kill(store.process.pid, signal.SIGSTOP)
    with full_disk(disk):
        os.kill(store.process.pid, signal.SIGCONT)
        call.join()
        _until(lambda: store.process.has_ended() or not list(disk.glob("data/store/*/*/tmp_*")))
    return call


def _numbers(store: RunningStore) -> tuple[int, int]:
    rows = store.reader().query("SELECT count(), uniqExact(a) FROM x.t WHERE length(s) = 80")
    count, distinct = rows.result_rows[0]
    return count, distinct


@pytest.mark.expect_error("damaged part", why="a full disk cuts it off")
@pytest.mark.expect_end(r"services\.store", why="so it starts again without that part")
def test_a_merge_on_a_full_disk_costs_no_rows(disk: Path) -> None:
    store = _store(disk, least_free_bytes=0)  # merges go on, however full it is
    damaged = 0
    for number in range(ROUNDS):
        _insert(store, number)
        writer = store.writer(query_retries=0)
        _fill_while(
            store, disk, lambda w=writer: w.command("OPTIMIZE TABLE x.t FINAL"), "tmp_merge"
        )
        if any(why_damaged(part) for part in disk.glob("data/store/*/*/all_*")):
            _until(store.process.has_ended)  # it looks at what is new twice a second
            assert store.process.wait() == DAMAGED
            damaged += 1
            store.start()
        assert _numbers(store) == ((number + 1) * ROWS,) * 2
        if damaged == 2:
            break
    assert damaged == 2
    assert "damaged part removed" in store.log.read_text()
    store.stop()


@pytest.mark.expect_error("damaged part", why="a full disk cuts it off")
@pytest.mark.expect_end(r"services\.store", why="so it starts again without that part")
def test_an_insert_that_a_full_disk_cuts_off_is_refused_and_can_be_sent_again(disk: Path) -> None:
    store = _store(disk, least_free_bytes=0)
    for number in range(ROUNDS):
        call = _fill_while(store, disk, lambda n=number: _insert(store, n), "tmp_insert")
        if call.error:
            break
        assert _numbers(store) == ((number + 1) * ROWS,) * 2
    assert isinstance(call.error, DatabaseError)
    assert call.error.code == 243
    _until(store.process.has_ended)
    assert store.process.wait() == DAMAGED
    store.start()
    assert _numbers(store) == (number * ROWS,) * 2
    _insert(store, number)  # the same token: it is not taken for the one that failed
    assert _numbers(store) == ((number + 1) * ROWS,) * 2
    store.stop()


def test_nothing_is_written_below_the_least_free_space_and_readers_go_on(disk: Path) -> None:
    store = _store(disk, least_free_bytes=8 << 20)
    _insert(store, 0)
    with full_disk(disk):
        with pytest.raises(DatabaseError, match="NOT_ENOUGH_SPACE"):
            _insert(store, 1)
        with pytest.raises(DatabaseError, match="NOT_ENOUGH_SPACE"):
            store.writer(query_retries=0).command("CREATE TABLE x.u (a Int8) ENGINE = Memory")
        assert _numbers(store) == (ROWS, ROWS)
        _until(lambda: "nothing is written or merged" in store.log.read_text())
    _until(lambda: "room again" in store.log.read_text())
    _insert(store, 1)
    store.writer().command("OPTIMIZE TABLE x.t FINAL")  # merges work again
    assert _numbers(store) == (2 * ROWS, 2 * ROWS)
    assert store.stop() == 0


def test_a_start_waits_for_room(disk: Path) -> None:
    store = _store(disk, least_free_bytes=8 << 20)
    _insert(store, 0)
    store.kill()
    with contextlib.ExitStack() as full:
        full.enter_context(full_disk(disk))

        def make_room() -> None:
            _until(lambda: "waiting for room" in store.log.read_text())
            full.close()

        room = threading.Thread(target=make_room)
        room.start()
        store.start()  # in this thread: a child ends with the thread that started it
        room.join()
    assert _numbers(store) == (ROWS, ROWS)
    store.stop()


def test_a_definition_that_a_full_disk_cuts_off_is_the_one_before(disk: Path) -> None:
    store = _store(disk, least_free_bytes=0)
    _insert(store, 0)
    writer = store.writer(query_retries=0)
    with full_disk(disk), pytest.raises(DatabaseError, match="NOT_ENOUGH_SPACE"):
        writer.command("ALTER TABLE x.t ADD COLUMN b Int8")
    store.kill()
    store.start()
    assert _numbers(store) == (ROWS, ROWS)
    assert [row[0] for row in store.reader().query("DESCRIBE x.t").result_rows] == ["a", "s"]
    store.stop()
