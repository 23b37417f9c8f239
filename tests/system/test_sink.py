"""The sink on a real broker and a real store: everything lands, typed, each record once."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from schemas.features import Category, Number
from schemas.topics import TOPICS
from services.sink.settings import SinkSettings
from services.trainer.snapshot import ends_at, missing, passed_by_sink
from streams.settings import Settings
from tests.conftest import PATIENCE_S, RunningBroker
from tests.services.running_store import RunningStore
from tests.system.sink_world import FEATURES, NOON_MS, SENT_MS, World, make_record, wait_for
from tests.watching import BROKER_AWAY, Watch

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    running = RunningStore(tmp_path_factory.mktemp("store"))
    yield running
    running.stop()


@pytest.fixture
def world(
    broker: RunningBroker, store: RunningStore, tmp_path: Path, request: pytest.FixtureRequest
) -> World:
    task = request.node.name.removeprefix("test_").partition("[")[0]
    return World(broker.bootstrap, store, tmp_path, task)


@pytest.fixture(scope="module")
def landed(
    broker: RunningBroker, store: RunningStore, tmp_path_factory: pytest.TempPathFactory
) -> World:
    """Thirty records of every topic, and the sink has ended in order: for tests that only read."""
    world = World(broker.bootstrap, store, tmp_path_factory.mktemp("landed"), "landed")
    sink = world.start_sink()
    world.fill(30)
    for topic in TOPICS:
        world.wait_for_count(topic.name, 30)
    sink.terminate()
    assert sink.wait() == 0
    return world


@pytest.fixture(scope="module")
def open_world(
    broker: RunningBroker, store: RunningStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A sink that runs: for tests that publish, wait, and look at their own records."""
    world = World(broker.bootstrap, store, tmp_path_factory.mktemp("open"), "open_world")
    sink = world.start_sink()
    yield world
    sink.terminate()
    assert sink.wait() == 0


def test_every_topic_lands_typed(landed: World) -> None:
    world = landed
    assert set(world.counts().values()) == {30}

    noon = datetime.fromtimestamp(NOON_MS / 1000, UTC)
    (row,) = world.rows("SELECT * FROM predictions WHERE request_id = 'request_id-7'")
    at = noon + timedelta(milliseconds=7)
    assert (row["_partition"], row["_offset"], row["_key"]) == (1, 2, "key-7")
    assert row["event_time"] == at
    sent = datetime.fromtimestamp(SENT_MS / 1000, UTC) + timedelta(milliseconds=7)
    assert abs(row["_timestamp"] - sent) < timedelta(milliseconds=1)
    assert row["status"] == "deferred"
    assert row["answer"] is False
    assert row["probability"] == 7 / 8
    assert row["probabilities"] == [7 / 8, 1.0, 9 / 8]
    assert row["timings.infer_us"] == 7
    assert row["features.distance"] == 7 / 8
    assert row["features.hour"] == 7
    assert row["features.carrier"] == "carrier-7"
    assert row["features.weekend"] is False

    (rejected,) = world.rows("SELECT * FROM predictions WHERE request_id = 'request_id-6'")
    assert rejected["answer"] is None
    assert rejected["features.distance"] is None
    (request,) = world.rows("SELECT * FROM requests WHERE request_id = 'request_id-6'")
    assert request["features.wind"] is None
    assert request["features.carrier"] == "carrier-6"
    (model,) = world.rows("SELECT metrics, role FROM models WHERE _offset = 5")
    assert model == {"metrics": {"k0": 5 / 8, "k1": 6 / 8}, "role": "rejected"}
    (letter,) = world.rows("SELECT hex(value) AS value FROM dead_letters WHERE _offset = 7")
    assert letter["value"] == "00FF07"
    grouped = world.rows("SELECT features.carrier, avg(features.wind) FROM requests GROUP BY 1")
    assert len(grouped) == 30


def test_a_trace_context_is_kept(open_world: World) -> None:
    world = open_world
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = [("other", b"x"), ("traceparent", traceparent.encode())]
    world.produce("requests", world.records("requests", 1, first=1000), headers=headers)
    query = "SELECT _traceparent FROM requests WHERE request_id = 'request_id-1000'"
    found = world.wait_for_rows(query, 1)
    assert found == [{"_traceparent": traceparent}]


def test_only_committed_records_land(world: World) -> None:
    producer = Producer({"bootstrap.servers": world.bootstrap, "transactional.id": world.task})
    producer.init_transactions()
    values = world.records("truth", 20)
    for commit, part in ((True, values[:8]), (False, values[8:14]), (True, values[14:])):
        producer.begin_transaction()
        for value in part:
            producer.produce(f"{world.task}.truth", value=value, partition=0)
        producer.commit_transaction() if commit else producer.abort_transaction()
    sink = world.start_sink()
    world.wait_for_count("truth", 14)
    sink.terminate()
    sink.wait()
    assert world.count("truth") == 14
    # Transactions' markers have offsets too: going on after them doubles and skips nothing.
    sink = world.start_sink()
    world.produce("truth", world.records("truth", 6))
    world.wait_for_count("truth", 20)
    assert world.identities("truth") == 20
    sink.terminate()
    sink.wait()


def test_records_of_every_compression_land(open_world: World) -> None:
    world = open_world
    codecs = ("gzip", "snappy", "lz4", "zstd")
    for number, codec in enumerate(codecs):
        producer = Producer({"bootstrap.servers": world.bootstrap, "compression.type": codec})
        for value in world.records("requests", 50, first=2000 + 50 * number):
            producer.produce(f"{world.task}.requests", value=value)
        assert producer.flush(PATIENCE_S) == 0
    query = "SELECT request_id FROM requests WHERE request_id LIKE 'request_id-2___'"
    landed = world.wait_for_rows(query, 200)
    assert {row["request_id"] for row in landed} == {f"request_id-{n}" for n in range(2000, 2200)}
    assert len(landed) == 200


def test_a_trainer_waits_for_offsets_that_become_no_rows_until_they_are_passed(
    world: World,
) -> None:
    topic, values = f"{world.task}.outcomes", world.records("outcomes", 12)
    producer = Producer({"bootstrap.servers": world.bootstrap, "transactional.id": world.task})
    producer.init_transactions()
    # At the end of the partitions: a mark alone; a bad value and a mark; aborted records.
    for partition, (good, bad, aborted) in enumerate(((4, 0, 0), (4, 3, 0), (4, 0, 5))):
        some = values[4 * partition : 4 * partition + good]
        producer.begin_transaction()
        for value in [*some, *[b"junk"] * bad]:
            producer.produce(topic, value=value, partition=partition)
        producer.commit_transaction()
        producer.begin_transaction()
        for value in [some[0]] * aborted:
            producer.produce(topic, value=value, partition=partition)
        assert producer.flush(PATIENCE_S) == 0  # an abort drops what is not sent yet
        producer.abort_transaction()
    settings = Settings(bootstrap=world.bootstrap, home=world.home)
    task: Any = SimpleNamespace(name=world.task, partitions=3)
    group = SinkSettings().group_of(world.task)
    ends = [5, 8, 11]
    # The marks are written a moment after a transaction's end is acknowledged.
    wait_for(lambda: ends_at(settings, task, SENT_MS + 10**9) == ends, "the marks")
    assert passed_by_sink(settings, task, group) == [0, 0, 0]
    sink = world.start_sink()
    world.wait_for_count("outcomes", 12)
    held = {row["_partition"]: row["last"] for row in world.rows(_HELD)}
    assert held == {0: 3, 1: 3, 2: 3}
    assert missing(ends, held, ()) == 1 + 4 + 7
    wait_for(
        lambda: not missing(ends, held, passed_by_sink(settings, task, group)),
        "the sink to pass what becomes no row",
    )
    sink.terminate()
    assert sink.wait() == 0


_HELD = "SELECT _partition, max(_offset) AS last FROM outcomes GROUP BY _partition"


def test_a_deleted_consumer_group_repeats_nothing(world: World) -> None:
    world.fill(50)
    sink = world.start_sink()
    for topic in TOPICS:
        world.wait_for_count(topic.name, 50)
    sink.terminate()
    assert sink.wait() == 0
    admin = AdminClient({"bootstrap.servers": world.bootstrap})
    for deleted in admin.delete_consumer_groups([f"weir-sink-{world.task}"]).values():
        deleted.result(PATIENCE_S)
    sink = world.start_sink()
    world.fill(1, ["requests"], first=50)
    world.wait_for_count("requests", 51)
    sink.terminate()
    assert sink.wait() == 0
    assert world.counts() == {t.name: 51 if t.name == "requests" else 50 for t in TOPICS}


def test_kill_9_under_load_loses_and_doubles_nothing(world: World) -> None:
    topics = ["requests", "predictions", "outcomes"]
    done = 0
    for round_ in range(3):
        sink = world.start_sink()
        world.fill(3000, topics, first=round_ * 3000)
        wait_for(
            lambda before=done: world.count("outcomes") > before,  # type: ignore[misc]
            "some rows of this round",
        )
        sink.kill()
        sink.wait()
        done = world.count("outcomes")
    sink = world.start_sink()
    wait_for(lambda: "sink runs" in world.log.read_text(), "the sink to run")
    for topic in topics:
        world.wait_for_count(topic, 9000)
        assert world.count(topic) == world.identities(topic) == 9000
    sink.terminate()
    assert sink.wait() == 0


def test_sigterm_inserts_what_was_read(world: World) -> None:
    world._env["WEIR_SINK_BATCH_S"] = "3600"
    sink = world.start_sink()
    world.fill(100, ["requests"])
    wait_for(lambda: "sink runs" in world.log.read_text(), "the sink to run")

    def buffered() -> bool:
        import httpx

        page = httpx.get(f"http://127.0.0.1:{world.health_port}/metrics", timeout=PATIENCE_S).text
        return "weir_sink_buffered 100.0" in page

    wait_for(buffered, "100 records read")
    assert world.count("requests") == 0
    sink.terminate()
    assert sink.wait() == 0
    assert world.count("requests") == 100


def test_a_restarted_store_loses_and_doubles_nothing(broker: RunningBroker, tmp_path: Path) -> None:
    store = RunningStore(tmp_path / "store")
    world = World(broker.bootstrap, store, tmp_path, "a_restarted_store")
    sink = world.start_sink()
    for round_ in range(3):
        world.fill(2000, ["requests", "truth"], first=2000 * round_)
        before = world.count("requests")
        wait_for(lambda n=before: world.count("requests") >= n, "the store to answer")  # type: ignore[misc]
        if round_ % 2:
            store.stop()
        else:
            store.kill()
        # Records go on coming while it is away.
        world.fill(100, ["requests", "truth"], first=100_000 + 100 * round_)
        store.start()
    for topic in ("requests", "truth"):
        world.wait_for_count(topic, 6300)
        assert world.count(topic) == world.identities(topic) == 6300
    wait_for(lambda: world.health()[0] == 200, "the sink is well again")
    sink.terminate()
    assert sink.wait() == 0
    store.stop()


@pytest.mark.expect_error(BROKER_AWAY, why="that is what is tested")
def test_a_killed_broker_loses_and_doubles_nothing(
    own_broker: RunningBroker, store: RunningStore, tmp_path: Path
) -> None:
    world = World(own_broker.bootstrap, store, tmp_path, "a_killed_broker")
    sink = world.start_sink()
    world.fill(500, ["requests"])
    wait_for(lambda: world.count("requests") > 0, "some rows")
    own_broker.kill()
    own_broker.start()
    world.fill(500, ["requests"], first=500)
    world.wait_for_count("requests", 1000)
    assert world.count("requests") == world.identities("requests") == 1000
    sink.terminate()
    assert sink.wait() == 0


def test_a_store_that_starts_after_the_sink_is_waited_for(
    broker: RunningBroker, tmp_path: Path
) -> None:
    store = RunningStore(tmp_path / "store")
    world = World(broker.bootstrap, store, tmp_path, "a_store_that_starts_late")
    store.stop()
    world.fill(10, ["truth"])
    sink = world.start_sink()
    wait_for(lambda: "store" in world.log.read_text() or not sink.has_ended(), "the sink")
    store.start()
    world.wait_for_count("truth", 10)
    # And one that goes while the sink is told to stop does not hold it.
    store.kill()
    world.fill(10, ["truth"], first=10)
    wait_for(lambda: "insert failed" in world.log.read_text(), "an insert to fail")
    sink.terminate()
    assert sink.wait() == 0
    store.start()
    sink = world.start_sink()
    world.wait_for_count("truth", 20)
    assert world.count("truth") == 20
    sink.terminate()
    sink.wait()
    store.stop()


def test_a_frozen_sink_that_goes_on_is_refused(world: World, watched: Watch) -> None:
    world._env["WEIR_SINK_BATCH_S"] = "0"
    zombie = world.start_sink()
    watched.expect_end(zombie, why="that is what is tested")
    watched.expect_error("taken over", why="likewise")
    world.fill(200, ["requests"])
    world.wait_for_count("requests", 200)
    zombie_log = world.log
    os.kill(zombie.pid, signal.SIGSTOP)
    # These the frozen one would read and insert as soon as it goes on.
    world.fill(300, ["requests"], first=200)
    heir = world.start_sink()
    world.wait_for_count("requests", 500)
    os.kill(zombie.pid, signal.SIGCONT)
    world.fill(100, ["requests"], first=500)
    assert zombie.wait() == 3
    assert "another sink has taken over" in zombie_log.read_text()
    world.wait_for_count("requests", 600)
    heir.terminate()
    assert heir.wait() == 0
    assert world.count("requests") == world.identities("requests") == 600


def test_undecodable_bytes_are_kept_and_stop_nothing(world: World) -> None:
    good = world.records("requests", 4)
    other = world.records("truth", 1)[0]
    bad: list[bytes | None] = [
        b"",
        b"not avro at all",
        None,
        struct.pack(">bI", 0, 12345) + b"x",
        good[0][:7],
        good[0] + b"trailing",
        other,
        bytes(300_000),
    ]
    mixed = [value for pair in zip(bad, good * 2, strict=True) for value in pair]
    world.produce("requests", mixed)
    world.produce("predictions", bad)
    sink = world.start_sink()
    world.wait_for_count("requests", 8)
    query = (
        "SELECT _topic, reason, value, length(value) AS size FROM undecodable "
        "ORDER BY _topic, _partition, _offset"
    )
    found = wait_for(lambda: [r for r in world.rows(query) if len(world.rows(query)) == 16], "16")
    assert {(row["_topic"], row["reason"]) for row in found} == {
        (topic, reason)
        for topic in ("requests", "predictions")
        for reason in ("empty", "undecodable", "unknown-schema")
    }
    assert sorted(row["size"] or 0 for row in found) == sorted(
        2 * [len(value) if value else 0 for value in bad]
    )
    # Again and again, and after a kill: the same rows.
    sink.kill()
    sink.wait()
    sink = world.start_sink()
    world.fill(1, ["requests"], first=10)
    world.wait_for_count("requests", 9)
    assert len(world.rows(query)) == 16
    sink.terminate()
    assert sink.wait() == 0


def test_odd_times_and_numbers_land(open_world: World) -> None:
    world = open_world
    codec = world.codec("requests")
    values = []
    for number, time_ms in enumerate((0, -(2**63), 2**63 - 1, 10**13, -(10**13))):
        record = make_record(codec.schema, number)
        record["event_time"] = time_ms
        record["features"]["distance"] = (float("nan"), float("inf"), -0.0, 1e308, 5e-324)[number]
        record["features"]["hour"] = (2**63 - 1, -(2**63), 0, 1, 2)[number]
        record["features"]["carrier"] = ("", "é\0'\\`\t\n", "x" * 10_000, "☃", "a")[number]
        values.append(codec.write(record))
    world.produce("requests", values)
    query = "SELECT * FROM requests WHERE request_id LIKE 'request_id-_' ORDER BY event_time"
    found = world.wait_for_rows(query, 5)
    frame = world.store.reader(database=world.task).query_df(query)
    assert len(frame) == 5
    assert found[0]["event_time"].year == 1900
    assert found[-1]["event_time"].year == 2261
    assert {row["features.carrier"] for row in found} >= {"", "é\0'\\`\t\n"}


def test_a_new_feature_becomes_a_column(world: World) -> None:
    world.fill(5, ["requests", "outcomes"])
    sink = world.start_sink()
    for topic in ("requests", "outcomes"):
        world.wait_for_count(topic, 5)
    sink.terminate()
    sink.wait()
    new = (*FEATURES, Number("dew", nullable=True), Category("alliance", nullable=True))
    # A feature may also become nullable.
    world.set_features((Number("distance", unit="mi", nullable=True), *new[1:]))
    world.fill(5, ["requests", "outcomes"], first=5)
    sink = world.start_sink()
    for topic in ("requests", "outcomes"):
        world.wait_for_count(topic, 10)
    found = world.rows("SELECT features.dew, features.distance FROM requests ORDER BY request_id")
    assert [row["features.dew"] for row in found] == [None] * 5 + [5 / 8, None, 7 / 8, 1.0, None]
    assert [row["features.distance"] for row in found] == [
        *(n / 8 for n in range(6)),
        None,
        *(7 / 8, 8 / 8, None),
    ]
    # The view of what is learnt from has it too.
    assert "features.dew" in world.rows("SELECT * FROM labelled LIMIT 1")[0]
    sink.terminate()
    assert sink.wait() == 0


@pytest.mark.expect_error("sink cannot go on", why="that is what is tested")
@pytest.mark.expect_end(r"services\.sink", why="likewise")
def test_a_topic_that_was_made_again_is_told(world: World) -> None:
    world.fill(20, ["alerts"])
    sink = world.start_sink()
    world.wait_for_count("alerts", 20)
    sink.terminate()
    sink.wait()
    admin = AdminClient({"bootstrap.servers": world.bootstrap})
    name = f"{world.task}.alerts"
    admin.delete_topics([name])[name].result(PATIENCE_S)
    wait_for(lambda: name not in admin.list_topics(timeout=PATIENCE_S).topics, "the topic to go")
    from services.admin import create_topics

    create_topics(world.contract, {"bootstrap.servers": world.bootstrap})
    sink = world.start_sink()
    assert sink.wait() == 1
    assert "was deleted and made again" in world.log.read_text()


def test_the_views_answer(landed: World) -> None:
    world = landed
    (minute,) = world.rows("SELECT * FROM throughput")
    assert (minute["requests"], minute["answered"], minute["held_back"]) == (30, 10, 10)
    assert minute["share_deferred"] == 0.5
    (latency,) = world.rows("SELECT * FROM latency")
    assert latency["max_ms"] == 29 * 5 / 1000
    assert len(world.rows("SELECT * FROM metric_windows")) == 30
    assert len(world.rows("SELECT * FROM last_dead_letters")) == 30
    # Every second outcome is of a weak label.
    assert {row["label"] for row in world.rows("SELECT * FROM labelled")} == {"true"}
    assert {row["label"] for row in world.rows("SELECT * FROM weak_labelled")} == {"weak"}
    assert len(world.rows("SELECT * FROM labelled")) == 15
    assert len(world.rows("SELECT * FROM weak_labelled")) == 15
    assert sum(row["records"] for row in world.rows("SELECT * FROM set_aside")) == 30
    versions = world.rows("SELECT * FROM versions")
    assert {row["answers"] for row in versions} == {1}
    trace = world.rows("SELECT record FROM trace WHERE request_id = 'request_id-7'")
    assert sorted(row["record"] for row in trace) == sorted(
        ["request", "prediction", "deferred", "signal", "truth", "outcome", "dead letter"]
    )


def test_newer_revisions_replace_older_ones_in_the_views(open_world: World) -> None:
    world = open_world

    for topic in ("metrics", "outcomes"):
        codec = world.codec(topic)
        first = make_record(codec.schema, 1)
        if topic == "outcomes":
            first["label"] = "true"
        world.produce(
            topic,
            [
                codec.write(
                    first
                    | {
                        "revision": n,
                        "dataset_id" if topic == "outcomes" else "role": f"d{n}"
                        if topic == "outcomes"
                        else "champion",
                    }
                )
                for n in (1, 3, 2)
            ],
        )
    world.wait_for_count("metrics", 3)
    world.wait_for_count("outcomes", 3)
    assert [r["revision"] for r in world.rows("SELECT revision FROM metric_windows")] == [3]
    assert [r["dataset_id"] for r in world.rows("SELECT dataset_id FROM labelled")] == ["d3"]
