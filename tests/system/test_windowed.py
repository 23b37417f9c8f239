"""Windowed features on a real broker: what was served is what the topics give, after kills too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from services.verify.features import Report
from services.verify.logged import verify
from streams.windowed.definition import Definition
from tests.conftest import RunningBroker
from tests.system.worker import ROOT, Bench, wait_for

pytestmark = pytest.mark.system

START = 1_710_000_000_000 // 300_000 * 300_000
STEP_MS = 2_000
KNOWN_MS = 60_000
N = 1_500
KILLS = (500, 1_000)


@pytest.fixture
def bench(broker: RunningBroker, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(f"{ROOT}/tests/tasks/parcels.py:Parcels", broker.bootstrap, tmp_path)
    bench.train()
    yield bench
    bench.close()


def request(i: int, at: int | None = None) -> dict[str, Any]:
    features = {"depot": "north" if i % 3 else "south", "weight": 1.0}
    return {
        "request_id": f"p{i}",
        "event_time": START + i * STEP_MS if at is None else at,
        "features": features,
    }


def late(i: int) -> bool:
    return i % 4 == 0


def truth(i: int) -> dict[str, Any]:
    return {"request_id": f"p{i}", "known_at": START + i * STEP_MS + KNOWN_MS, "truth": late(i)}


def checked(bench: Bench) -> Report:
    return verify(bench.task, bench.home, {"bootstrap.servers": bench.bootstrap})


def joined(bench: Bench, least: int) -> bool:
    return len(bench.read("outcomes")) >= least


def counted(bench: Bench) -> dict[str, int]:
    """Up to which offset the topic of the features has counted each source."""
    return {r["source"]: r["through"] for r in updates(bench) if r["through"]}


def updates(bench: Bench) -> list[dict[str, Any]]:
    """The records of the features' topic, without those that others left there."""
    codec = bench.codec("features")
    return [codec.read(m.value()) for m in bench.read("features") if m.key() != b"left behind"]


def test_online_is_offline_though_workers_are_killed(bench: Bench) -> None:
    for value in (None, b"not Avro", b"\0\0\0\0\1of an earlier version"):
        bench.send_raw("features", value, key=b"left behind")
    bench.flush()
    worker = bench.worker()
    worker.wait_until_ready()
    for i in range(N):
        if i in KILLS:
            bench.flush()
            wait_for(partial(joined, bench, i // 2), "half of the outcomes")
            worker.kill()
            worker = bench.worker()
        bench.send("requests", request(i))
        bench.send("truth", truth(i))
    bench.flush()
    wait_for(lambda: len(bench.read("predictions")) == N, "a prediction of each request")
    outcomes = wait_for(
        lambda: len(found := bench.records("outcomes")) == N and found, "an outcome of each request"
    )
    logged = {p["request_id"]: p["features"] for p in bench.records("predictions")}
    assert all(outcome["features"] == logged[outcome["request_id"]] for outcome in outcomes)

    # With all of it counted, a request gets what one computes by hand.
    definition = Definition(bench.task)
    history, sources = definition.history_sources, definition.sources
    ends = {s: m.offset() + 1 for t in ("outcomes", "predictions") for s, m in last(bench, t)}
    assert set(ends) == set(sources) - set(history)
    wait_for(lambda: counted(bench) == ends, "all records are counted")
    # No trainer has published the history's sums.
    wanted = ",".join(str(ends.get(source, 0)) for source in sources)
    at = START + 600_000
    tried = iter(range(N, 10 * N))

    def probe() -> Any:
        i = next(tried)
        bench.send("requests", {**request(1, at), "request_id": f"p{i}"})
        bench.flush()
        wait_for(lambda: f"p{i}".encode() in keys(bench), "the probe is answered")
        found = next(p for p in bench.records("predictions") if p["request_id"] == f"p{i}")
        return found if found["features_as_of"].split(",")[:2] == wanted.split(",")[:2] else None

    probed = wait_for(probe, "a request is served with all of the outcomes counted")["features"]
    state = worker.wait_until_ready()
    assert state["features_as_of"].split(",")[:2] == wanted.split(",")[:2]
    newest = max(int(time) for time in state["features_until"].split(",")[:2])
    assert newest == START + (N - 1) * STEP_MS + KNOWN_MS
    assert len(updates(bench)) < N

    known = [i for i in range(N) if START + i * STEP_MS + KNOWN_MS < at and i % 3]
    assert probed["depot_known"] == len(known)
    assert probed["depot_late"] == sum(late(i) for i in known) / len(known)

    report = checked(bench)
    assert report.examples == []
    assert report.differences == 0
    assert report.values == 3 * report.predictions >= 3 * (N + 1)


def keys(bench: Bench) -> set[bytes]:
    return {message.key() for message in bench.read("predictions")}


def last(bench: Bench, topic: str) -> Iterator[tuple[str, Any]]:
    """The last record of each partition, by the source's name."""
    found = {f"{bench.topic(topic)}/{m.partition()}": m for m in bench.read(topic)}
    yield from found.items()
