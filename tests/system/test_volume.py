"""A client that asks too often, on a real broker: refused until it is calm, each request once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.volume.counts import BUCKET_MS
from tests.conftest import RunningBroker
from tests.system.worker import ROOT, Bench, wait_for

pytestmark = pytest.mark.system

BEGIN = 1_710_000_000_000 // BUCKET_MS
SETTLED = 120
"""Buckets: twenty minutes of event time."""


class Clients:
    """Requests of clients, by bucket of event time."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.sent: list[str] = []

    def ask(self, bucket: int, client: str | None, times: int = 1) -> list[str]:
        ids = [f"{client}-{bucket}-{len(self.sent)}-{i}" for i in range(times)]
        for id_ in ids:
            features = {"amount": 1.0}
            record = {"request_id": id_, "entity": client, "features": features}
            self._bench.send("requests", {**record, "event_time": (BEGIN + bucket) * BUCKET_MS})
        self.sent += ids
        return ids

    def usual(self, buckets: range) -> None:
        """Ten clients with a request a bucket each: some in either partition."""
        for bucket in buckets:
            for client in range(10):
                self.ask(bucket, f"usual-{client}")
        self._bench.flush()


@pytest.fixture
def bench(broker: RunningBroker, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(f"{ROOT}/tests/tasks/clients.py:Clients", broker.bootstrap, tmp_path)
    yield bench
    bench.close()


def test_a_client_that_jumps_is_refused_until_it_is_calm_and_all_are_answered_once(
    bench: Bench,
) -> None:
    clients = Clients(bench)
    worker = bench.worker()
    worker.wait_until_ready()
    clients.usual(range(SETTLED))
    clients.ask(SETTLED, "usual-3", 100)
    clients.usual(range(SETTLED, SETTLED + 5))
    wait_for(lambda: worker.metric("weir_clients_throttled") == 1, "the client is throttled")
    # Counted is not yet committed.
    (drift,) = wait_for(lambda: bench.records("drifts"), "the drift")
    assert (drift["kind"], drift["subject"], drift["alerting"]) == ("volume", "usual-3", True)
    assert drift["window_to"] - drift["since"] <= 60_000

    # It goes on; the worker is killed while it refuses.
    refused = clients.ask(SETTLED + 5, "usual-3", 300)
    bench.flush()
    wait_for(lambda: worker.metric("weir_dead_letters_total") > 0, "requests are refused")
    worker.kill()
    more = clients.ask(SETTLED + 6, "usual-3", 100)
    other = clients.ask(SETTLED + 6, "usual-4")
    bench.flush()
    worker = bench.worker()
    worker.wait_until_ready()
    wait_for(lambda: len(bench.read("predictions")) >= len(clients.sent), "all are answered")
    statuses = {p["request_id"]: p["status"] for p in bench.records("predictions")}
    assert {statuses[id_] for id_ in (*refused, *more)} == {"rejected"}
    assert {statuses[id_] for id_ in other} == {"deferred"}  # there is no model: the fallback

    # Calm again: its requests are answered.
    clients.usual(range(SETTLED + 7, SETTLED + 20))
    throttled = "weir_clients_throttled"
    wait_for(lambda: worker.metric(throttled) == 0, "the client is throttled no more")
    answered = clients.ask(SETTLED + 20, "usual-3")
    bench.flush()
    wait_for(lambda: len(bench.read("predictions")) >= len(clients.sent), "all are answered")
    found = bench.records("predictions")
    assert Counter(p["request_id"] for p in found) == Counter(clients.sent)
    assert [p["status"] for p in found if p["request_id"] in answered] == ["deferred"]
    letters = bench.records("dead-letters")
    assert {letter["reason"] for letter in letters} == {"throttled"}
    assert {letter["request_id"] for letter in letters} >= {*refused, *more}
    assert len({letter["request_id"] for letter in letters}) == len(letters)
    wait_for(lambda: bench.records("throttles")[-1]["action"] == "none", "the end of the throttle")
    drifts = wait_for(lambda: len(found := bench.records("drifts")) == 2 and found, "both drifts")
    assert [d["alerting"] for d in drifts] == [True, False]
