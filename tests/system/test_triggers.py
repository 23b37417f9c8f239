"""Triggers on a real broker: outcomes go bad, one event is published, whatever is killed."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from streams.triggers.changelog import LOOK, last_record
from tests.conftest import PATIENCE_S, RunningBroker
from tests.system.worker import ROOT, Bench, wait_for

pytestmark = pytest.mark.system

START = 1_710_000_000_000 // 3_600_000 * 3_600_000
HOUR_MS = 3_600_000
AN_HOUR = 60
"""Requests of an hour."""


@pytest.fixture
def bench(broker: RunningBroker, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(f"{ROOT}/tests/tasks/orders.py:Orders", broker.bootstrap, tmp_path)
    bench.train()
    yield bench
    bench.close()


def send(bench: Bench, hours: range, *, right: bool) -> None:
    """An order a minute, and what became of it: as the model thinks, or the contrary."""
    for i in range(hours.start * AN_HOUR, hours.stop * AN_HOUR):
        id_, at = f"o{i}", START + i * HOUR_MS // AN_HOUR
        size = (7 * i % 20) / 10 - 0.95  # as in training: no drift but that of the truth
        bench.send("requests", {"request_id": id_, "event_time": at, "features": {"size": size}})
        truth = (size > 0) is right
        bench.send("truth", {"request_id": id_, "known_at": at + 1, "truth": truth})
    bench.flush()


def told(bench: Bench, hour: int) -> dict[str, Any] | None:
    """The triggers' state, once they know of all labels of the hours before one."""
    records = bench.records("triggers")
    if not records or (records[-1]["event_time"] or 0) < START + (hour - 1) * HOUR_MS:
        return None
    state: dict[str, Any] = json.loads(records[-1]["state"])
    total = state["labels"]["folded"].get("", 0) + sum(
        row[3] for rows in state["labels"]["tiles"].values() for row in rows.values()
    )
    return state if total == hour * AN_HOUR else None


def test_the_last_committed_state_is_found_and_an_undecided_one_waited_for(
    broker: RunningBroker,
) -> None:
    client = {"bootstrap.servers": broker.bootstrap}
    topic = f"state_{uuid.uuid4().hex[:8]}"
    admin = AdminClient(client)
    admin.create_topics([NewTopic(topic, 1)])[topic].result(PATIENCE_S)
    wait_for(lambda: topic in admin.list_topics(timeout=PATIENCE_S).topics, "the topic")
    assert last_record(client, topic, bytes) is None

    producer = Producer({**client, "transactional.id": topic, "retry.backoff.ms": 2})
    producer.init_transactions(PATIENCE_S)

    def write(*values: bytes) -> None:
        producer.begin_transaction()
        for value in values:
            producer.produce(topic, value, b"0")
        assert producer.flush(PATIENCE_S) == 0

    write(b"first", b"second")
    producer.commit_transaction(PATIENCE_S)
    assert last_record(client, topic, bytes) == b"second"
    for _ in range(2):  # behind it are more offsets than are looked at first
        write(*[b"nobody's"] * LOOK)
        producer.abort_transaction(PATIENCE_S)
    assert last_record(client, topic, bytes) == b"second"

    write(b"third")
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(last_record, client, topic, bytes)
        producer.commit_transaction(PATIENCE_S)
        assert found.result(PATIENCE_S) == b"third"


def test_bad_outcomes_give_one_event_though_workers_and_their_disk_are_lost(bench: Bench) -> None:
    worker = bench.worker()
    worker.wait_until_ready()
    send(bench, range(3), right=True)
    send(bench, range(3, 4), right=False)
    wait_for(lambda: told(bench, 4), "the first hours are known to the triggers")
    assert bench.records("retrain") == []  # one bad hour may be an outlier
    worker.kill()

    # Two workers later, of which each finds nothing on its disk, there is one event.
    shutil.rmtree(bench.home / "state")
    send(bench, range(4, 6), right=False)
    worker = bench.worker()
    (event,) = wait_for(lambda: bench.records("retrain"), "a retrain event")
    worker.kill()
    shutil.rmtree(bench.home / "state")
    worker = bench.worker()
    send(bench, range(6, 8), right=False)
    state = wait_for(lambda: told(bench, 8), "the later hours are known to the triggers")
    assert state["state"]["pending"] == [event["event_id"]]
    assert [each["event_id"] for each in bench.records("retrain")] == [event["event_id"]]

    # It says why, and names the records that show it.
    assert (event["status"], event["policy"], event["trigger"]) == ("asked", "worse", "metric")
    assert event["event_id"] == f"worse-{event['episode']}"
    assert "accuracy below 0.7 in 2 windows in a row: 0 [" in event["reason"]
    metrics = {message.key().decode() for message in bench.read("metrics")}
    assert len(event["evidence_ids"]) == 2
    assert set(event["evidence_ids"]) <= metrics
    hours = {(int(id_.split("|")[1]) - START) // HOUR_MS for id_ in event["evidence_ids"]}
    assert hours == {3, 4}

    # It points at outcomes that were there: all that the decision rests on.
    assert event["outcomes_from"] == [0, 0]
    before = [
        message
        for message in bench.read("outcomes")
        if message.offset() < event["outcomes_to"][message.partition()]
    ]
    assert 4 * AN_HOUR + 20 <= len(before) <= 6 * AN_HOUR
    assert event["data_to"] == event["event_time"]
    assert START + 5 * HOUR_MS <= event["event_time"] < START + 6 * HOUR_MS

    # Answered without success: what is bad stays bad, and the cool-down refuses, on the record.
    bench.announce("orders-other", "", role="rejected", event_id=event["event_id"])
    refused = wait_for(lambda: bench.records("retrain")[1:], "a refusal")
    assert [(each["status"], each["why"]) for each in refused] == [("refused", "cool-down")]
    assert refused[0]["reason"].startswith("worse is refused (cool-down): the last event was at")
    assert worker.metric("weir_retrain_refusals_total") == 1
