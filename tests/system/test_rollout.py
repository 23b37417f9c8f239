"""Roles that move by policy, on a real broker, through a worker's death."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from streams.bundle import save_bundle
from streams.rollout.assignment import drawn
from streams.training.train import train
from tests.conftest import RunningBroker
from tests.system.worker import KEY, ROOT, Bench, wait_for

pytestmark = pytest.mark.system

START = 1_710_000_000_000
BLOCK = 200


@pytest.fixture
def bench(broker: RunningBroker, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(f"{ROOT}/tests/tasks/rolled.py:Rolled", broker.bootstrap, tmp_path)
    yield bench
    bench.close()


class Traffic:
    """Blocks of requests, each with its truth; a block is over when its outcomes are there."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.sent = 0

    def block(self) -> None:
        for i in range(self.sent, self.sent + BLOCK):
            id_, at = f"p{i}", START + i * 1000
            size = 0.4 if i % 2 else -0.4
            request = {"request_id": id_, "event_time": at, "features": {"size": size}}
            self.bench.send("requests", request)
            self.bench.send("truth", {"request_id": id_, "known_at": at + 1, "truth": size > 0})
        self.bench.flush()
        self.sent += BLOCK
        wait_for(lambda: len(self.bench.read("outcomes")) == self.sent, "the block's outcomes")

    def until(self, there: Callable[[], Any], what: str) -> Any:
        """Traffic until something is decided: stages may be blocks behind, a shadow not loaded."""

        def found() -> Any:
            decided = there()
            if not decided:
                self.block()
            return decided

        return wait_for(found, what)


def version(bench: Bench, seed: int, wrong: float) -> tuple[str, str]:
    """A version that learned from labels of which a share is wrong, and its bundle."""
    assert bench.task.history is not None
    table: pd.DataFrame = bench.task.history()
    table["late"] ^= np.random.default_rng(seed).random(len(table)) < wrong
    trained = train(bench.task, table, f"event-{seed}")
    info = save_bundle(bench.home / "artifacts", bench.task, trained.contents, KEY)
    return info.id, info.folder.name


def decided(bench: Bench, action: str) -> list[dict[str, Any]]:
    return [one for one in bench.records("decisions") if one["action"] == action]


def last_roles(bench: Bench) -> dict[str, str]:
    return {one["version"]: one["role"] for one in bench.records("models")}


def test_a_better_version_is_promoted_and_a_worse_champion_is_rolled_back(bench: Bench) -> None:
    (first, *one), (better, *two), (worse, *three) = (
        version(bench, seed, wrong) for seed, wrong in ((1, 0.4), (2, 0.0), (3, 1.0))
    )
    bench.announce(first, *one)
    worker = bench.worker()
    worker.wait_until_ready()
    traffic = Traffic(bench)
    traffic.block()
    bench.announce(better, *two, role="shadow", event_id="second", changed_by="trainer")
    wait_for(lambda: decided(bench, "started"), "the experiment begins")
    traffic.until(lambda: decided(bench, "canary"), "the better version answers a share")
    worker.kill()  # its state is what it committed
    worker = bench.worker()
    worker.wait_until_ready()
    (promoted,) = traffic.until(lambda: decided(bench, "promoted"), "it is champion")
    assert promoted["high"] < promoted["bound"] == 0.0
    assert (promoted["version"], promoted["champion"]) == (better, first)
    assert last_roles(bench) == {first: "shadow", better: "champion"}

    # One that the trainer let pass, and that is worse than the one before it.
    bench.announce(worse, *three, event_id="third", changed_by="trainer")
    (back,) = traffic.until(lambda: decided(bench, "rolled-back"), "the worse one goes")
    assert back["low"] > back["bound"]
    assert back["moves"] == {better: "shadow > champion", worse: "champion > rejected"}
    assert last_roles(bench) == {first: "archived", better: "champion", worse: "rejected"}
    assert [one["action"] for one in bench.records("decisions")] == [
        "started",
        "canary",
        "promoted",
        "ended",
        "started",
        "rolled-back",
    ]

    # Whatever moved, each request has one answer, by the version that its id draws.
    predictions = bench.records("predictions")
    assert Counter(p["request_id"] for p in predictions) == {
        f"p{i}": 1 for i in range(traffic.sent)
    }
    arms = [p for p in predictions if p["arm_propensity"] is not None]
    (experiment,) = {p["experiment"] for p in arms}
    assert experiment == promoted["experiment"]
    chosen = drawn([p["request_id"] for p in arms], experiment, {"champion": 0.75, better: 0.25})
    assert [p["version"] for p in arms] == [(first, better)[which] for which in chosen]
    assert {(p["version"], p["arm_propensity"]) for p in arms} == {(first, 0.75), (better, 0.25)}
