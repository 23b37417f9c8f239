"""What the demo says it did: counted from committed records of a real broker."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Codec
from services.admin import create_topics
from services.contract import Contract
from services.demo.ledger import Accounts, Ledger
from services.demo.report import SinkRows, drain, missing, report
from services.demo.watch import Watch
from services.ports import free_port
from streams.settings import Settings
from tests.conftest import PATIENCE_S, RunningBroker
from tests.services.running_console import wait_until
from tests.services.test_timeline import TASK, patient

HOUR = 3_600_000
FEATURES = {"carrier": "UA", "departure": 1, "wind": None, "weekend": True}


@dataclass
class World:
    """A task with topics of its own, and a transactional producer as the worker has one."""

    contract: Contract
    client: dict[str, str]
    producer: Producer

    def write(self, topic: str, *records: dict[str, Any], commit: bool = True) -> None:
        """Records in one transaction, which leaves a marker in the topic."""
        about = self.contract.topic(topic)
        codec = self.contract.codec(about.record)
        self.producer.begin_transaction()
        for record in records:
            key = str(record.get("request_id", "")).encode()
            self.producer.produce(
                about.topic(self.contract.task), codec.write(filled(record, codec)), key
            )
        if commit:
            self.producer.commit_transaction(PATIENCE_S)
        else:
            self.producer.flush(PATIENCE_S)
            self.producer.abort_transaction(PATIENCE_S)

    def ask(self, *ids: str) -> None:
        self.write("requests", *(request(id_) for id_ in ids))


def request(id_: str) -> dict[str, Any]:
    return {"request_id": id_, "event_time": HOUR * len(id_), "features": FEATURES}


def prediction(id_: str, **more: Any) -> dict[str, Any]:
    return {**request(id_), "status": "answered", **more}


def truth(id_: str, after_ms: int = HOUR) -> dict[str, Any]:
    return {"request_id": id_, "known_at": HOUR * len(id_) + after_ms, "truth": True}


def outcome(id_: str) -> dict[str, Any]:
    return {**prediction(id_), **truth(id_)}


def filled(record: dict[str, Any], codec: Codec) -> dict[str, Any]:
    """The record with some value in each of its other fields."""
    fields = {field["name"]: field for field in codec.schema["fields"]}
    rest = {n: f.get("default", some(f["type"])) for n, f in fields.items() if n not in record}
    return {n: value for n, value in {**rest, **record}.items() if n in fields}


def some(type_: Any) -> Any:
    """Some value of an Avro type."""
    if isinstance(type_, list):
        return some(type_[0])
    if isinstance(type_, dict) and type_["type"] == "record":
        return {field["name"]: some(field["type"]) for field in type_["fields"]}
    if isinstance(type_, dict):
        return type_["symbols"][0] if type_["type"] == "enum" else some(type_["type"])
    values = {"null": None, "string": "", "boolean": False, "array": [], "map": {}}
    return values.get(type_, 0)


def metric(start: int, revision: int, **more: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("predictions", "deferred", "rejected", "outcomes", "scored"), 4)
    return {
        "window": "tumbling_1d",
        "window_start": start,
        "window_end": start + 24 * HOUR,
        "version": "v1",
        "role": "champion",
        "segment": "",
        "value": "",
        "revision": revision,
        "computed_at": 0,
        "complete": False,
        **counts,
        "share_deferred": 0.0,
        "share_labelled": 0.5,
        "accuracy": 0.75,
        **more,
    }


@pytest.fixture
def world(broker: RunningBroker) -> World:
    contract = Contract.of(replace(TASK, name=f"t{uuid.uuid4().hex[:12]}"), "test")
    client = {"bootstrap.servers": broker.bootstrap}
    create_topics(contract, client)
    producer = Producer({**client, "transactional.id": uuid.uuid4().hex, "linger.ms": 0})
    producer.init_transactions(30)
    return World(contract, client, producer)


@pytest.mark.system
def test_records_are_counted_without_markers_and_without_aborted_ones(world: World) -> None:
    world.ask("a", "bb")
    world.write("predictions", prediction("a"), commit=False)
    world.write("predictions", prediction("a"), prediction("bb", status="deferred"))
    with Ledger(world.contract, world.client) as ledger:
        assert ledger.advance() == 4
        world.write("truth", truth("a"))
        world.write("outcomes", outcome("a"))
        assert ledger.advance() == 2
        assert ledger.advance() == 0
        told = report(ledger, world.contract, {"p50": 1.0, "p99": 2.0}, ledger.records)
    assert told["topic_records"] == told["sink_rows"]
    assert {name: n for name, n in told["topic_records"].items() if n} == {
        "requests": 2,
        "predictions": 2,
        "truth": 1,
        "outcomes": 1,
    }
    expected = {"requests": 2, "predictions": 2, "deferred": 1, "rejected": 0, "truths": 1}
    expected |= {"outcomes": 1, "lost": 0, "duplicates": 0, "unjoined": 0}
    assert {name: told[name] for name in expected} == expected
    assert told["event_time"] == {"from": "1970-01-01T01:00:00Z", "to": "1970-01-01T02:00:00Z"}
    assert told["latency_ms"] == {"p50": 1.0, "p99": 2.0}


@pytest.mark.system
def test_what_is_lost_or_doubled_is_told(world: World) -> None:
    world.ask("lost", "once", "twice")
    world.write("predictions", *map(prediction, ("once", "twice", "twice", "unasked", "unasked")))
    with Ledger(world.contract, world.client) as ledger:
        ledger.advance()
        told = report(ledger, world.contract, {}, {})
        gaps = missing(ledger, world.contract, ledger.records)
    assert (told["lost"], told["duplicates"]) == (1, 2)
    assert gaps == ["1 requests have no prediction, such as lost"]


@pytest.mark.system
def test_a_truth_is_missed_only_where_it_can_be_joined(world: World) -> None:
    horizon = world.contract.horizon_ms
    world.ask("joined", "unjoined", "rejected", "too-late")
    world.write("predictions", prediction("rejected", status="rejected", features=None))
    world.write("predictions", *map(prediction, ("joined", "unjoined", "too-late")))
    world.write("truth", *map(truth, ("joined", "unjoined", "rejected", "unknown")))
    world.write("truth", truth("too-late", horizon + 1))
    world.write("outcomes", outcome("joined"))
    with Ledger(world.contract, world.client) as ledger:
        ledger.advance()
        gaps = missing(ledger, world.contract, ledger.records)
    assert gaps == ["1 truths have no outcome, such as unjoined"]


@pytest.mark.system
def test_windows_are_told_by_their_latest_revision_and_versions_by_the_role_they_have(
    world: World,
) -> None:
    day = 24 * HOUR
    world.write("metrics", metric(0, 2, accuracy=0.5), metric(day, 1))
    world.write("metrics", metric(0, 1), metric(0, 3, segment="carrier", value="UA"))
    for version, role in (("v1", "candidate"), ("v1", "champion"), ("v2", "champion")):
        world.write("models", {"version": version, "role": role})
    with Ledger(world.contract, world.client) as ledger:
        ledger.advance()
        told = report(ledger, world.contract, {}, {})
    assert [(w["from"][:10], w["revision"], w["accuracy"]) for w in told["windows"]] == [
        ("1970-01-01", 2, 0.5),
        ("1970-01-02", 1, 0.75),
    ]
    assert told["versions"] == [
        {"id": "v1", "role": "archived"},
        {"id": "v2", "role": "champion"},
    ]


@pytest.mark.system
def test_the_wait_ends_when_all_is_done(world: World) -> None:
    """The prediction and the row come while it waits."""
    world.ask("a")
    told: list[list[str]] = []
    sunk = {"requests": 0}

    def on_wait(gaps: list[str]) -> None:
        told.append(gaps)
        if len(told) == 1:
            world.write("predictions", prediction("a"))
        elif not any("no prediction" in gap for gap in gaps):
            sunk.update(ledger.records)

    with Ledger(world.contract, world.client) as ledger:
        assert (
            drain(ledger, world.contract, lambda: sunk, deadline_s=PATIENCE_S, on_wait=on_wait)
            == []
        )
    assert told[0] == [
        "1 requests have no prediction, such as a",
        "the table requests has 0 rows for 1 records",
    ]
    short = [gaps for gaps in told if gaps]  # at the end it waits whether more comes
    assert short[-1][-1] == "the table predictions has 0 rows for 1 records"


@pytest.mark.system
def test_the_wait_gives_up_at_its_deadline_and_at_a_stop(world: World) -> None:
    world.ask("a")
    stop = threading.Event()
    stop.set()
    with Ledger(world.contract, world.client) as ledger:
        for more in ({"deadline_s": 0.0}, {"deadline_s": 600.0, "stop": stop}):
            gaps = drain(ledger, world.contract, lambda: ledger.records, **more)  # type: ignore[arg-type]
            assert gaps == ["1 requests have no prediction, such as a"]


@pytest.mark.system
def test_latency_is_from_publication_to_a_committed_prediction(world: World) -> None:
    with Watch(world.contract.task, world.contract.partitions, world.client) as watch:
        assert watch.latency_ms() == {"p50": None, "p99": None}
        watch.published([b"a", b"bb", b"never"], at=0.0)
        world.write("predictions", prediction("a"), commit=False)
        world.write("predictions", *map(prediction, ("a", "bb", "stranger")))
        wait_until(lambda: watch.predictions >= 3, "not all predictions were seen")
        assert (watch.predictions, watch.waiting) == (3, 1)
        p50 = watch.latency_ms()["p50"]
    assert p50 is not None
    assert p50 > 1e12  # since 1970
    assert watch.recent_ms()["p50"] == p50


def test_no_rows_are_counted_while_clickhouse_is_away() -> None:
    settings = Settings(clickhouse_port=free_port())  # type: ignore[call-arg]
    assert SinkRows(settings, "flight_delay")() == {}


@patient
@given(
    st.lists(st.tuples(st.sampled_from("rpto"), st.integers(0, 30)), max_size=200),
    st.integers(1, 7),
)
def test_accounts_do_not_depend_on_how_the_records_are_cut(
    records: list[tuple[str, int]], size: int
) -> None:
    """Batches of any size, ids in any order: the sums are those of one record at a time."""
    accounts = Accounts()
    for start in range(0, len(records), size):
        batch = records[start : start + size]
        for kind in "rpto":
            ids = [f"id-{n}" for k, n in batch if k == kind]
            times = np.zeros(len(ids), np.int64)
            if kind == "r":
                accounts.asked(ids, times)
            elif kind == "p":
                accounts.answered(ids, times, np.array(["answered"] * len(ids), object))
            elif kind == "t":
                accounts.known(ids, times)
            else:
                accounts.joined(ids)
    count = {kind: [records.count((kind, n)) for n in range(31)] for kind in "rpto"}
    asked, answered = np.array(count["r"]), np.array(count["p"])
    lost = {f"id-{n}" for n in np.flatnonzero((asked > 0) & (answered == 0))}
    assert set(accounts.ids(accounts.lost())) == lost
    assert accounts.duplicates() == int(np.maximum(answered - np.maximum(asked, 1), 0).sum())
    unjoined = (answered > 0) & (np.array(count["t"]) > 0) & (np.array(count["o"]) == 0)
    assert len(accounts.unjoined(1)) == unjoined.sum()
    assert accounts["outcomes"].sum() == sum(count["o"])
