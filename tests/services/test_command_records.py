"""tail, send, trace and topics against a real broker."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from schemas.topics import BY_NAME
from services.command.lag import MOST_READ, lags, waiting
from services.command.reading import partition_of
from services.command.trace import REROUTED as MOVED
from services.command.trace import Event, remark
from streams.feedback import REROUTED
from tests.conftest import PATIENCE_S, RunningBroker
from tests.services.command_line import Deployment, command, deploy

pytestmark = pytest.mark.system

PATIENTLY = ("--timeout", str(PATIENCE_S))


@pytest.fixture
def deployment(broker: RunningBroker, tmp_path: Path) -> Deployment:
    return deploy(tmp_path, broker.bootstrap)


def truth(request_id: str, known_at: int = 1_700_000_000_000) -> dict[str, Any]:
    return {"request_id": request_id, "known_at": known_at, "truth": True, "source": "system"}


def request(request_id: str) -> dict[str, Any]:
    features = {"price": 1.0, "visits": 2, "member": None, "colour": "red"}
    return {
        "request_id": request_id,
        "event_time": 1_700_000_000_000,
        "entity": None,
        "features": features,
    }


def prediction(asked: dict[str, Any]) -> dict[str, Any]:
    stages = ("wait", "decode", "validate", "gate", "infer")
    return {
        "request_id": asked["request_id"],
        "event_time": asked["event_time"],
        "predicted_at": asked["event_time"],
        "entity": None,
        "status": "answered",
        "reason": None,
        "answer": True,
        "probability": 0.75,
        "probabilities": [],
        "gate_decision": "admit",
        "gate_score": 0.1,
        "version": "v1",
        "role": "champion",
        "dataset_id": "d1",
        "app_version": "0",
        "timings": {"batch_size": 1} | {f"{stage}_us": 1 for stage in stages},
        "features": asked["features"],
    }


def test_a_topics_records_are_decoded_from_its_beginning(deployment: Deployment) -> None:
    codec = deployment.codec("truth")
    for n in range(3):
        deployment.produce("truth", f"r{n}", codec.write(truth(f"r{n}")))
    rows = deployment.weir_json("tail", "truth", "--from-beginning", "-n", "3")
    assert sorted(row["key"] for row in rows) == ["r0", "r1", "r2"]
    assert rows[0]["value"]["known_at"] == "2023-11-14T22:13:20.000Z"
    text = deployment.weir("tail", deployment.topic("truth"), "--from-beginning", "-n", "3").stdout
    assert "request_id=r1" in text
    assert "truth=true" in text


def test_bytes_that_are_no_record_are_shown_as_that(deployment: Deployment) -> None:
    deployment.produce("truth", "bad", b"\x01nonsense")
    (row,) = deployment.weir_json("tail", "truth", "--from-beginning", "-n", "1")
    assert "not with Confluent framing" in row["value"]["undecodable"]


def test_only_new_records_of_one_request_are_followed(deployment: Deployment) -> None:
    codec = deployment.codec("truth")
    deployment.produce("truth", "wanted", codec.write(truth("wanted", 1)))
    arguments = command("tail", "truth", "--request-id", "wanted", "-n", "1", "--json")
    with subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        text=True,
        env={"WEIR_HOME": str(deployment.home), "PATH": "/usr/bin:/bin"},
    ) as process:
        known_at = 2
        # Whenever it begins to follow, one of these comes after that.
        while process.poll() is None:
            deployment.produce("truth", "other", codec.write(truth("other")))
            deployment.produce("truth", "wanted", codec.write(truth("wanted", known_at)))
            known_at += 1
        assert process.stdout is not None
        (row,) = [json.loads(line) for line in process.stdout]
    assert row["key"] == "wanted"
    assert row["value"]["known_at"] != "1970-01-01T00:00:00.001Z"


def test_aborted_records_are_never_shown(deployment: Deployment) -> None:
    codec = deployment.codec("truth")
    producer = Producer({"bootstrap.servers": deployment.bootstrap, "transactional.id": "abort"})
    producer.init_transactions(PATIENCE_S)
    producer.begin_transaction()
    producer.produce(deployment.topic("truth"), codec.write(truth("aborted")), key="aborted")
    producer.flush(PATIENCE_S)
    producer.abort_transaction(PATIENCE_S)
    deployment.produce("truth", "kept", codec.write(truth("kept")))
    (row,) = deployment.weir_json("tail", "truth", "--from-beginning", "-n", "1")
    assert row["key"] == "kept"


@pytest.fixture
def answering(deployment: Deployment) -> Iterator[Deployment]:
    """Somebody who answers every request: what a worker looks like to a producer."""
    over = threading.Event()

    def answer() -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": deployment.bootstrap,
                "group.id": deployment.contract.task,
                "auto.offset.reset": "earliest",
            }
        )
        consumer.subscribe([deployment.topic("requests")])
        requests, predictions = deployment.codec("request"), deployment.codec("prediction")
        while not over.is_set():
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                asked = requests.read(message.value())
                value = predictions.write(prediction(asked))
                deployment.produce("predictions", asked["request_id"], value)
        consumer.close()

    thread = threading.Thread(target=answer)
    thread.start()
    yield deployment
    over.set()
    thread.join()


def test_each_request_sent_gets_its_prediction_printed(answering: Deployment) -> None:
    lines = "".join(f'{{"request_id": "s{n}", "price": {n}, "visits": 1}}\n' for n in range(5))
    done = answering.weir("send", *PATIENTLY, "--json", input=lines)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(row["request_id"] for row in rows) == [f"s{n}" for n in range(5)]
    assert all(row["features"]["price"] == float(row["request_id"][1:]) for row in rows)


def test_one_request_may_be_given_as_an_argument_without_an_id(answering: Deployment) -> None:
    done = answering.weir("send", '{"price": 1, "visits": 1}', *PATIENTLY)
    assert done.returncode == 0, done.stderr
    assert "true  (probability 0.750)  gate 0.100  v1" in done.stdout


def test_a_csv_file_is_sent_and_bad_lines_are_told(answering: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("request_id,price,visits\nc1,1.5,1\nc2,cheap,1\nc1,2,2\nc3,2,2\n")
    done = answering.weir("send", "--file", str(path), *PATIENTLY)
    assert done.returncode == 1
    assert [line.split()[0] for line in sorted(done.stdout.splitlines())] == ["c1", "c3"]
    assert "line 3 was not sent: price: 'cheap' is not a number" in done.stderr
    assert "line 4 was not sent: the request id c1 was sent already" in done.stderr
    assert "2 of the requests were not sent" in done.stderr


def test_requests_that_nobody_answers_are_told_after_the_time_limit(deployment: Deployment) -> None:
    done = deployment.weir(
        "send", '{"request_id": "alone", "price": 1, "visits": 1}', "--timeout", "0.2"
    )
    assert done.returncode == 1
    assert "1 of the requests had no prediction after 0.2 s: alone" in done.stderr


def test_a_request_is_traced_through_all_topics_by_time(deployment: Deployment) -> None:
    asked = request("traced")
    # Of the last minutes: what is older than a topic's retention may be deleted at any moment.
    begin = int(time.time()) * 1000 - 60_000
    for topic, record, value, at in (
        ("truth", "truth", truth("traced"), begin + 3000),
        ("predictions", "prediction", prediction(asked), begin + 2000),
        ("requests", "request", asked, begin + 1000),
        ("requests", "request", request("another"), begin + 1000),
    ):
        deployment.produce(
            topic, value["request_id"], deployment.codec(record).write(value), timestamp=at
        )
    dead = {
        "topic": deployment.topic("truth"),
        "partition": 0,
        "offset": 7,
        "record_time": 3500,
        "failed_at": 4000,
        "stage": "feedback",
        "reason": "late-truth",
        "message": "a second truth",
        "request_id": "traced",
        "key": b"traced",
        "value": b"\x00",
    }
    dead_letter = deployment.codec("dead_letter").write(dead)
    deployment.produce("dead-letters", "truth/0/7", dead_letter, timestamp=begin + 4000)

    (found,) = deployment.weir_json("trace", "traced")
    assert [(event["record"], event["time"]) for event in found["events"]] == [
        (record, datetime.fromtimestamp(begin / 1000 + n, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"))
        for n, record in enumerate(("request", "prediction", "truth", "dead_letter"), start=1)
    ]
    assert found["read"][deployment.topic("requests")] == [partition_of(b"traced", 3)]
    assert found["clickhouse"].startswith("not read")

    text = deployment.weir("trace", "traced")
    assert text.stdout.index("prediction") < text.stdout.index("late-truth")
    assert f"{deployment.topic('signals')} (partitions 0, 1, 2)" in text.stderr


def test_a_request_in_another_producers_partition_is_found(deployment: Deployment) -> None:
    expected = partition_of(b"foreign", 3)
    value = deployment.codec("request").write(request("foreign"))
    deployment.produce("requests", "foreign", value, partition=(expected + 1) % 3)
    deployment.produce("truth", None, deployment.codec("truth").write(truth("foreign")))
    (found,) = deployment.weir_json("trace", "foreign")
    assert sorted(event["record"] for event in found["events"]) == ["request", "truth"]


def test_a_truth_that_was_moved_is_shown_where_it_was_and_as_moved(deployment: Deployment) -> None:
    """A producer by CRC-32 puts a truth elsewhere, and Weir sends it on to its request."""
    home = partition_of(b"moved", 3)
    theirs = (home + 1) % 3
    value = deployment.codec("truth").write(truth("moved"))
    deployment.produce("truth", "moved", value, partition=theirs)
    mark = [(MOVED, str(theirs).encode())]
    deployment.produce("truth", "moved", value, partition=home, headers=mark)

    (found,) = deployment.weir_json("trace", "moved")
    shown = [(event["partition"], event["moved_from"]) for event in found["events"]]
    assert sorted(shown, key=str) == sorted([(theirs, None), (home, theirs)], key=str)
    text = deployment.weir("trace", "moved").stdout
    assert text.count(f"moved by Weir from partition {theirs}") == 1
    assert "only in ClickHouse" not in text


def test_only_what_was_looked_for_in_vain_is_said_to_be_in_clickhouse_alone() -> None:
    topic = BY_NAME["truth"]
    event = Event(1, topic, 2, 7, {}, "ClickHouse")
    assert "only in ClickHouse" in remark(event, [0, 2])
    assert remark(event, [0, 1]) == ""
    assert remark(replace(event, kept_in="both"), [0, 2]) == ""


def test_the_header_of_moved_truths_is_the_one_that_feedback_gives() -> None:
    assert MOVED == REROUTED


def test_an_unknown_request_is_an_error(deployment: Deployment) -> None:
    done = deployment.weir("trace", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing is known of the request nobody" in done.stderr


def transaction(deployment: Deployment, records: list[str]) -> None:
    """Truths in one transaction, all in partition 0."""
    producer = Producer(
        {"bootstrap.servers": deployment.bootstrap, "transactional.id": uuid.uuid4().hex}
    )
    producer.init_transactions(PATIENCE_S)
    producer.begin_transaction()
    codec = deployment.codec("truth")
    for id_ in records:
        producer.produce(deployment.topic("truth"), codec.write(truth(id_)), id_, 0)
    producer.commit_transaction(PATIENCE_S)


def test_markers_of_transactions_are_nothing_to_be_behind_with(deployment: Deployment) -> None:
    for _ in range(3):
        transaction(deployment, ["a"])
    task, topic = deployment.contract.task, deployment.topic("truth")
    consumer = Consumer({"bootstrap.servers": deployment.bootstrap, "group.id": f"{task}-reads"})

    def behind(committed: int) -> dict[str, Any]:
        consumer.commit(offsets=[TopicPartition(topic, 0, committed)], asynchronous=False)
        return lags({"bootstrap.servers": deployment.bootstrap}, task)[f"{task}-reads"]

    # Offsets: record, marker, record, marker, record, marker.
    expected = {0: 3, 1: 2, 2: 2, 4: 1, 5: 0, 6: 0}
    assert {committed: behind(committed)["lag"]["truth"] for committed in expected} == expected
    assert behind(0)["at_most"] == []
    transaction(deployment, [f"r{n}" for n in range(MOST_READ)])
    # Too many to be looked at: 203 records and four markers.
    assert behind(0) == {"members": 0, "lag": {"truth": 207}, "at_most": ["truth"]}
    assert behind(6) | {"members": 0} == {"members": 0, "lag": {"truth": 201}, "at_most": ["truth"]}
    assert behind(7) == {"members": 0, "lag": {"truth": 199}, "at_most": []}
    consumer.close()


def test_topics_show_how_far_they_have_got(deployment: Deployment) -> None:
    codec = deployment.codec("truth")
    for n in range(4):
        deployment.produce("truth", f"r{n}", codec.write(truth(f"r{n}")))
    (rows,) = deployment.weir_json("topics")
    found = next(row for row in rows if row["topic"] == deployment.topic("truth"))
    assert (found["offsets"], sum(found["next_offsets"].values())) == (4, 4)


def test_a_partition_that_waits_for_an_open_transaction_is_told_of(deployment: Deployment) -> None:
    assert waiting({"bootstrap.servers": deployment.bootstrap}, deployment.contract.task) == []
    producer = Producer(
        {
            "bootstrap.servers": deployment.bootstrap,
            "transactional.id": f"open-{uuid.uuid4()}",
            "transaction.timeout.ms": 60_000,
        }
    )
    producer.init_transactions(PATIENCE_S)
    producer.begin_transaction()
    producer.produce(deployment.topic("requests"), b"?", partition=1)
    producer.flush(PATIENCE_S)

    found = json.loads(deployment.weir("status", "--json").stdout)["waiting"]
    topic = deployment.topic("requests")
    assert found == [{"topic": topic, "partition": 1, "offset": 0, "held": 1}]
    shown = " ".join(deployment.weir("status").stdout.split())
    assert f"{topic}[1] waits for a producer's open transaction at offset 0" in shown
    producer.abort_transaction(PATIENCE_S)


def test_no_broker_of_weirs_lets_a_transaction_be_open_for_minutes(broker: RunningBroker) -> None:
    producer = Producer(
        {
            "bootstrap.servers": broker.bootstrap,
            "transactional.id": f"long-{uuid.uuid4()}",
            "transaction.timeout.ms": 120_000,
        }
    )
    with pytest.raises(KafkaException, match="timeout"):
        producer.init_transactions(PATIENCE_S)
