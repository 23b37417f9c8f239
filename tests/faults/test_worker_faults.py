"""Every request gets one visible prediction and one outcome, whatever happens to workers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.manifest import Contents
from streams.reads import partitions_read
from streams.task import load_task
from streams.training.train import train
from tests.conftest import RunningBroker
from tests.system.test_bad_input import EVENT_TIME, request
from tests.system.worker import ROOT, Bench, wait_for
from tests.watching import BROKER_AWAY, Watch

pytestmark = pytest.mark.system

N = 6_000
MINUTE_MS = 60_000
REFERENCE = f"{ROOT}/services/demo/flight_delay.py:FlightDelay"


@pytest.fixture(scope="module")
def contents() -> Contents:
    """One version for all, of a tenth of the rows: how good it is does not matter."""
    task = load_task(REFERENCE)
    assert task.history is not None
    return train(task, task.history()[::10], "first").contents


@pytest.fixture
def bench(own_broker: RunningBroker, tmp_path: Path, contents: Contents) -> Iterator[Bench]:
    bench = Bench(REFERENCE, own_broker.bootstrap, tmp_path / "home")
    bench.serve(contents)
    yield bench
    bench.close()


class Load:
    """Requests and their truths, published in the background at about 1,000 a second."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.sent = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while self.sent < N and not self._stop.is_set():
            for i in range(self.sent, min(self.sent + 100, N)):
                at = EVENT_TIME + i * 100
                self._bench.send("requests", request(f"r{i}", event_time=at))
                truth = {"request_id": f"r{i}", "known_at": at + MINUTE_MS, "truth": i % 3 == 0}
                self._bench.send("truth", truth)
            self.sent = min(self.sent + 100, N)
            self._stop.wait(0.1)
        self._bench.flush()

    def finish(self) -> None:
        self._thread.join()

    def wait_until_sent(self, n: int) -> None:
        wait_for(lambda: self.sent >= n, f"{n} requests are sent")


def check_everything_counts_once(bench: Bench, keep: Callable[[], None] = lambda: None) -> None:
    """``keep`` is called again and again while it waits."""
    wanted = {f"r{i}" for i in range(N)}

    def seen(topic: str) -> Any:
        keep()
        counts = Counter(record["request_id"] for record in bench.records(topic))
        return counts if wanted <= set(counts) else None

    predictions = wait_for(lambda: seen("predictions"), "a prediction of each request")
    outcomes = wait_for(lambda: seen("outcomes"), "an outcome of each request")
    assert [id_ for id_, count in predictions.items() if count != 1] == []
    assert [id_ for id_, count in outcomes.items() if count != 1] == []
    assert bench.records("dead-letters") == []

    def windows() -> Any:
        keep()
        latest = {
            (m["window"], m["window_start"], m["version"]): m
            for m in bench.records("metrics")
            if m["segment"] == "" and m["window"] == "tumbling_1d"
        }
        counted = [sum(m[name] for m in latest.values()) for name in ("predictions", "outcomes")]
        assert max(counted) <= N, f"counted twice: {counted} of {N}"
        return counted == [N, N]

    wait_for(windows, "windows that hold every prediction and outcome")


@pytest.mark.long  # the harness' short form does it too
def test_a_worker_killed_again_and_again_loses_and_doubles_nothing(bench: Bench) -> None:
    worker = bench.worker()
    worker.wait_until_ready()
    load = Load(bench)
    for kill in range(1, 4):
        load.wait_until_sent(N * kill // 5)
        worker.kill()
        worker = bench.worker()
    load.finish()
    worker.wait_until_ready()
    check_everything_counts_once(bench)


@pytest.mark.long  # the harness' short form does it too
def test_a_worker_that_joins_and_one_that_leaves_lose_and_double_nothing(bench: Bench) -> None:
    first = bench.worker("a")
    first.wait_until_ready()
    load = Load(bench)
    load.wait_until_sent(N // 4)
    second = bench.worker("b")
    wait_for(lambda: (s := second.health()) and s["partitions"], "the second has partitions")
    load.wait_until_sent(N // 2)
    assert first.stop() == 0
    load.finish()
    check_everything_counts_once(bench)


def test_a_worker_that_freezes_and_wakes_up_is_fenced(bench: Bench, watched: Watch) -> None:
    frozen = bench.worker("a")
    watched.expect_end(frozen.process, why="it is fenced when it wakes up")
    watched.expect_error(r"worker-a\.log: (a commit failed|the consumer failed)", why="likewise")
    frozen.wait_until_ready()
    load = Load(bench)
    load.wait_until_sent(N // 4)
    frozen.freeze()
    other = bench.worker("b")
    # The group takes its partitions away once its session (10 s) is over.
    wait_for(
        lambda: (s := other.health()) and s["partitions"] == partitions_read(4),
        "the other has all of them",
    )
    frozen.thaw()
    load.finish()
    check_everything_counts_once(bench)


@pytest.mark.expect_error(BROKER_AWAY + "|a commit failed|consumer failed", why="it is killed")
@pytest.mark.expect_end(r"streams\.app", why="its supervisor would start it again")
@pytest.mark.long  # the harness' short form does it too
def test_a_broker_that_restarts_loses_and_doubles_nothing(
    bench: Bench, own_broker: RunningBroker
) -> None:
    worker = bench.worker()
    worker.wait_until_ready()
    load = Load(bench)
    load.wait_until_sent(N // 3)
    own_broker.kill()
    own_broker.start()
    load.finish()

    def keep() -> None:
        nonlocal worker
        if worker.process.poll() is not None:  # it may end itself: its supervisor starts it again
            worker = bench.worker()

    check_everything_counts_once(bench, keep)


def test_state_that_is_lost_is_built_from_the_topics(bench: Bench) -> None:
    import shutil

    worker = bench.worker()
    worker.wait_until_ready()
    for i in range(N):
        bench.send("requests", request(f"r{i}", event_time=EVENT_TIME + i))
    bench.flush()
    wait_for(lambda: len(bench.read("predictions")) >= N, "predictions")
    assert worker.stop() == 0
    shutil.rmtree(bench.home / "state")
    worker = bench.worker()
    worker.wait_until_ready()
    for i in range(N):
        truth = {"request_id": f"r{i}", "known_at": EVENT_TIME + i, "truth": True}
        bench.send("truth", truth)
    bench.flush()
    check_everything_counts_once(bench)
