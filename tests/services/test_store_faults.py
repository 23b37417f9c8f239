"""The store when processes die: nothing acknowledged is lost, and it comes back."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from services.supervisor.child import Child
from tests.conftest import PATIENCE_S
from tests.services.running_store import PASSWORD, RunningStore


@pytest.fixture
def store(tmp_path: Path) -> RunningStore:
    running = RunningStore(tmp_path, max_execution_time_s=10 * PATIENCE_S)
    writer = running.writer()
    writer.command("CREATE DATABASE x")
    writer.command("CREATE TABLE x.t (a Int64, s String) ENGINE = MergeTree ORDER BY a")
    return running


def test_kill_9_loses_nothing_that_was_acknowledged(store: RunningStore) -> None:
    acknowledged: list[int] = []
    sent = 0
    for round_ in range(3):
        writer = store.writer(query_retries=0)
        stop = threading.Event()

        def load(writer: object = writer, stop: threading.Event = stop) -> None:
            nonlocal sent
            while not stop.is_set():
                batch = [[sent * 100 + i, "s" * 50] for i in range(100)]
                sent += 1
                try:
                    writer.insert("x.t", batch, column_names=["a", "s"])  # type: ignore[attr-defined]
                except ClickHouseError:
                    return
                acknowledged.append(sent - 1)

        thread = threading.Thread(target=load)
        before = len(acknowledged)
        thread.start()
        while len(acknowledged) < before + 20:
            assert thread.is_alive() or len(acknowledged) >= before + 20
            time.sleep(0.01)
        store.kill()
        stop.set()
        thread.join()
        store.start()
        rows = store.reader().query("SELECT intDiv(a, 100) b, count() FROM x.t GROUP BY b")
        found = dict(rows.result_rows)
        assert set(acknowledged) <= set(found), f"lost in round {round_}"
        # A batch is there whole or not at all.
        assert set(found.values()) == {100}
    store.stop()


def test_sigterm_finishes_the_running_insert_and_exits_in_order(store: RunningStore) -> None:
    writer = store.writer()
    failures: list[BaseException] = []

    def load() -> None:
        try:
            writer.command(
                "INSERT INTO x.t SELECT number, 'x' FROM numbers(20) WHERE sleepEachRow(0.1) = 0"
            )
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    while httpx.get(f"{store.url}/health", timeout=PATIENCE_S).json()["running"]["writer"] == 0:
        assert thread.is_alive()
    store.process.terminate()
    assert store.process.wait() == 0
    thread.join()
    assert failures == []
    assert '"closed": true' in store.log.read_text()
    store.start()
    assert store.reader().command("SELECT count() FROM x.t") == 20
    store.stop()


def test_sigterm_does_not_wait_for_readers(store: RunningStore) -> None:
    answers: list[int] = []

    def ask() -> None:
        query = "SELECT count() FROM numbers(1000000000000) WHERE cityHash64(number) = 1"
        answer = httpx.post(store.url, content=query, timeout=PATIENCE_S)
        answers.append(int(answer.headers["X-ClickHouse-Exception-Code"]))

    thread = threading.Thread(target=ask)
    thread.start()
    while httpx.get(f"{store.url}/health", timeout=PATIENCE_S).json()["running"]["reader"] == 0:
        assert thread.is_alive()
    # The turn is taken a moment before the engine has the query.
    deadline = time.monotonic() + PATIENCE_S
    while (
        store.writer().command(
            "SELECT count() FROM system.processes WHERE query LIKE '%cityHash64%'"
        )
        < 2
    ):
        assert time.monotonic() < deadline
    assert store.stop() == 0
    thread.join()
    assert answers == [394]


@pytest.mark.expect_error("store not opened", why="that is what is tested")
@pytest.mark.expect_end("--port 0$", why="likewise")
def test_a_second_store_on_the_folder_is_refused_in_words(
    store: RunningStore, tmp_path: Path
) -> None:
    log = tmp_path / "second.log"
    argv = [sys.executable, "-m", "services.store", "--path", str(store.folder / "data")]
    second = Child([*argv, "--port", "0"], {"WEIR_CLICKHOUSE_PASSWORD": PASSWORD}, log)
    assert second.wait() == 1
    assert "Is another store running?" in log.read_text()
    assert store.reader().command("SELECT 1") == 1
    store.stop()


@pytest.mark.expect_error("WEIR_CLICKHOUSE_PASSWORD is not set", why="that is what is tested")
@pytest.mark.expect_end(r"services\.store", why="likewise")
def test_without_a_password_it_does_not_start(tmp_path: Path) -> None:
    log = tmp_path / "log"
    argv = [sys.executable, "-m", "services.store", "--path", str(tmp_path / "data")]
    child = Child(argv, {"WEIR_CLICKHOUSE_PASSWORD": ""}, log)
    assert child.wait() == 2
    assert "WEIR_CLICKHOUSE_PASSWORD" in log.read_text()


def test_a_frozen_store_answers_again_when_it_goes_on(store: RunningStore) -> None:
    os.kill(store.process.pid, signal.SIGSTOP)
    with pytest.raises(httpx.TimeoutException):
        httpx.get(f"{store.url}/ping", timeout=0.3)
    os.kill(store.process.pid, signal.SIGCONT)
    assert httpx.get(f"{store.url}/ping", timeout=PATIENCE_S).text == "Ok.\n"
    store.stop()
