"""Whatever producers send: every record is accounted for, and those around it are answered."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from schemas.registry import header
from tests.conftest import RunningBroker
from tests.system.worker import ROOT, Bench, Worker, wait_for

pytestmark = pytest.mark.system

EVENT_TIME = 1_370_000_000_000  # in May 2013
DAY_MS = 86_400_000
GOOD = {
    "carrier": "UA",
    "origin": "EWR",
    "dest": "ORD",
    "departure": 600,
    "weekday": 3,
    "duration": 150,
    "distance": 719.0,
    "temperature": 60.1,
    "humidity": 50.0,
    "wind": 10.0,
    "precipitation": 0.0,
    "pressure": 1013.0,
    "visibility": 10.0,
}
# How many malformed messages Hypothesis makes; they travel in examples of this many.
EXAMPLES, MESSAGES = 100, 100


@pytest.fixture(scope="module")
def bench(broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    reference = f"{ROOT}/services/demo/flight_delay.py:FlightDelay"
    bench = Bench(reference, broker.bootstrap, tmp_path_factory.mktemp("bad-input"))
    bench.train(every=10)
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def worker(bench: Bench) -> Worker:
    worker = bench.worker()
    worker.wait_until_ready()
    return worker


def request(id_: str, features: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "request_id": id_,
        "event_time": EVENT_TIME,
        "features": {**GOOD, **(features or {})},
        **more,
    }


def answered(bench: Bench, ids: set[str]) -> dict[str, list[dict[str, Any]]]:
    """The predictions of these requests, once each has one."""

    def find() -> dict[str, list[dict[str, Any]]] | None:
        found: dict[str, list[dict[str, Any]]] = {}
        for prediction in bench.records("predictions"):
            if prediction["request_id"] in ids:
                found.setdefault(prediction["request_id"], []).append(prediction)
        return found if set(found) == ids else None

    answers: dict[str, list[dict[str, Any]]] = wait_for(find, f"predictions of {len(ids)} requests")
    return answers


def dead(bench: Bench, reason: str, request_id: str | None = None) -> list[dict[str, Any]]:
    """The dead letters, once there is one: a transaction's records become visible in one
    partition after the other, so that the answer may be seen before it."""

    def find() -> list[dict[str, Any]]:
        return [
            letter
            for letter in bench.records("dead-letters")
            if letter["reason"] == reason
            and (request_id is None or letter["request_id"] == request_id)
        ]

    letters: list[dict[str, Any]] = wait_for(find, f"a dead letter: {reason}")
    return letters


def sandwiched(bench: Bench, name: str, send: Any) -> dict[str, Any]:
    """Send a good request, something bad, a good request, all in one partition's order; returns
    the answers to the good ones, which must be there."""
    before, after = f"{name}-before", f"{name}-after"
    for id_ in (before, after):
        if id_ == after:
            send()
        value = bench.codec("requests").write(request(id_))
        bench.send_raw("requests", value, key=id_.encode(), partition=0)
    bench.flush()
    answers = answered(bench, {before, after})
    assert all(len(a) == 1 and a[0]["status"] != "rejected" for a in answers.values())
    return answers


FEATURES: dict[str, tuple[dict[str, Any], str]] = {
    "nan": ({"distance": math.nan}, "distance is nan; it must be finite"),
    "infinity": ({"distance": math.inf}, "distance is inf; it must be finite"),
    "below": ({"distance": 1.0}, "distance is 1.0, below 10 mi"),
    "above": ({"weekday": 8}, "weekday is 8, above 7"),
    "unknown-category": ({"origin": "BOS"}, "origin is 'BOS'; known are EWR, JFK, LGA"),
    "long-category": ({"carrier": "x" * 5000}, "carrier has 5000 bytes; at most 1024"),
}


@pytest.mark.parametrize("case", sorted(FEATURES))
def test_a_feature_out_of_its_rules_is_rejected_with_the_reason(
    case: str, bench: Bench, worker: Worker
) -> None:
    features, message = FEATURES[case]
    sandwiched(bench, case, lambda: bench.send("requests", request(case, features)))

    (prediction,) = answered(bench, {case})[case]
    assert prediction["status"] == "rejected"
    assert message in prediction["reason"]
    assert prediction["answer"] is None
    assert prediction["features"] is None
    (letter,) = dead(bench, "invalid", case)
    assert message in letter["message"]
    assert letter["topic"] == "flight_delay.requests"
    assert letter["stage"] == "serving"


TIMES = {"future": int(time.time() * 1000) + 30 * DAY_MS, "ancient": -(10**15)}


@pytest.mark.parametrize("case", sorted(TIMES))
def test_an_event_time_that_cannot_be_right_is_rejected(
    case: str, bench: Bench, worker: Worker
) -> None:
    bad = request(f"time-{case}", event_time=TIMES[case])
    sandwiched(bench, f"time-{case}", lambda: bench.send("requests", bad))

    (prediction,) = answered(bench, {f"time-{case}"})[f"time-{case}"]
    assert prediction["status"] == "rejected"
    assert "event_time" in prediction["reason"]


def truncated(bench: Bench) -> bytes:
    value: bytes = bench.codec("requests").write(request("truncated"))
    return value[:-20]


BYTES = {
    "garbage": (lambda bench: b"\x07not avro at all", "undecodable"),
    "unknown-schema": (lambda bench: header(12345) + b"\x02a", "unknown-schema"),
    "null": (lambda bench: None, "empty"),
    "framing-only": (lambda bench: header(bench.codec("requests").id), "undecodable"),
    "trailing": (
        lambda bench: bench.codec("requests").write(request("trailing")) + b"x",
        "undecodable",
    ),
    "truncated": (truncated, "undecodable"),
    "another-record": (
        lambda bench: bench.codec("truth").write({"request_id": "t", "known_at": 0, "truth": True}),
        "unknown-schema",
    ),
}


@pytest.mark.parametrize("case", sorted(BYTES))
def test_bytes_that_are_no_request_are_kept_and_told_of(
    case: str, bench: Bench, worker: Worker
) -> None:
    make, reason = BYTES[case]
    value = make(bench)
    sandwiched(
        bench,
        f"bytes-{case}",
        lambda: bench.send_raw("requests", value, f"key-{case}".encode(), partition=0),
    )

    # The id at the start of a request's body where that reads, else the record's key.
    id_ = case if case in ("trailing", "truncated") else f"key-{case}"
    (prediction,) = answered(bench, {id_})[id_]
    assert prediction["status"] == "rejected"
    assert prediction["reason"].startswith(reason)
    (letter,) = dead(bench, reason, id_)
    assert letter["value"] == value
    assert letter["key"] == f"key-{case}".encode()


@pytest.mark.parametrize("id_", ["", "x" * 129, "ü" * 65], ids=["empty", "long", "long-in-bytes"])
def test_a_request_whose_id_is_not_valid_is_kept_and_not_answered(
    id_: str, bench: Bench, worker: Worker
) -> None:
    sandwiched(bench, f"id-{len(id_)}", lambda: bench.send("requests", request(id_)))

    def find() -> list[dict[str, Any]]:
        codec, letters = bench.codec("requests"), dead(bench, "invalid-id")
        return [one for one in letters if codec.read(one["value"])["request_id"] == id_]

    letters = wait_for(find, "its dead letter")
    assert len(letters) == 1
    assert f"{len(id_.encode())} bytes" in letters[0]["message"]
    assert id_ not in {p["request_id"] for p in bench.records("predictions")}


def test_a_record_near_the_brokers_limit_is_kept_whole(bench: Bench, worker: Worker) -> None:
    huge = b"\x00" + random.Random(0).randbytes(990_000)
    sandwiched(bench, "huge", lambda: bench.send_raw("requests", huge, b"huge", partition=0))

    (letter,) = dead(bench, "unknown-schema", "huge")
    assert letter["value"] == huge


def test_dead_letters_have_the_headers_of_kafka_streams(bench: Bench, worker: Worker) -> None:
    bench.send_raw("requests", b"?", b"headers", headers=[("traceparent", b"00-aa-bb-01")])
    bench.flush()

    def find() -> Any:
        for message in bench.read("dead-letters"):
            if bench.codec("dead-letters").read(message.value())["request_id"] == "headers":
                return message
        return None

    headers = dict(wait_for(find, "the dead letter").headers())
    assert headers["traceparent"] == b"00-aa-bb-01"
    assert headers["__streams.errors.topic"] == b"flight_delay.requests"
    assert headers["__streams.errors.exception"] == b"undecodable"
    assert int(headers["__streams.errors.offset"]) >= 0


def test_a_second_different_truth_corrects_and_a_repeated_one_does_nothing(
    bench: Bench, worker: Worker
) -> None:
    bench.send("requests", request("corrected"))
    bench.flush()
    answered(bench, {"corrected"})
    truth = {"request_id": "corrected", "source": "system"}

    def say(known_at: int, late: bool) -> None:
        bench.send("truth", {**truth, "known_at": EVENT_TIME + known_at, "truth": late})

    def find(n: int) -> Any:
        found = [o for o in bench.records("outcomes") if o["request_id"] == "corrected"]
        return found if len(found) == n else None

    # Truths that came before their prediction are judged together: one outcome. Once there is
    # one, each further truth is judged by itself.
    say(1, True)
    bench.flush()
    wait_for(lambda: find(1), "the outcome of the first truth")
    for known_at, late in ((1, True), (2, False), (1, True)):
        say(known_at, late)
    bench.send("requests", request("after-corrected"))
    bench.send(
        "truth", {"request_id": "after-corrected", "known_at": EVENT_TIME + 9, "truth": True}
    )
    bench.flush()

    first, second = wait_for(lambda: find(2), "two outcomes of one request")
    assert (first["revision"], first["truth"], first["previous_truth"]) == (0, True, None)
    assert (second["revision"], second["truth"], second["previous_truth"]) == (1, False, True)


def test_truths_and_signals_that_make_no_sense_are_set_aside(bench: Bench, worker: Worker) -> None:
    bench.send("requests", request("judged"))
    bench.send(
        "truth",
        {"request_id": "judged", "known_at": EVENT_TIME + bench.task.horizon_ms + 1, "truth": True},
    )
    bench.send("truth", {"request_id": "", "known_at": EVENT_TIME, "truth": True})
    bench.send("truth", {"request_id": "from-the-future", "known_at": 10**15, "truth": True})
    bench.send_raw("truth", b"\x00junk-junk", b"judged")
    bench.send("signals", {"request_id": "judged", "event_time": EVENT_TIME, "kind": "shouted"})
    bench.send("signals", {"request_id": "judged", "event_time": EVENT_TIME, "kind": "rebooked"})
    bench.flush()

    def reasons() -> Any:
        found = Counter(
            (letter["topic"].partition(".")[2], letter["reason"])
            for letter in bench.records("dead-letters")
            if letter["stage"] == "feedback"
        )
        wanted = {
            ("truth", "late-truth"): 1,
            ("truth", "invalid-id"): 1,
            ("truth", "invalid"): 1,
            ("truth", "unknown-schema"): 1,
            ("signals", "unknown-signal"): 1,
        }
        return all(found[key] == count for key, count in wanted.items())

    wait_for(reasons, "a dead letter for each")


def test_a_truth_of_an_unknown_request_is_told_of_at_the_horizon(
    bench: Bench, worker: Worker
) -> None:
    bench.send("truth", {"request_id": "nobody", "known_at": EVENT_TIME, "truth": True})
    bench.flush()
    partitions = range(bench.task.partitions)

    # Event time moves on past the horizon in every partition.
    later = EVENT_TIME + bench.task.horizon_ms + 2 * 3_600_000
    for p in partitions:
        value = bench.codec("requests").write(request(f"later-{p}", event_time=later))
        bench.send_raw("requests", value, partition=p)
    for i in range(40):  # enough ids that some fall to each partition of the predictions
        bench.send("requests", request(f"later-still-{i}", event_time=later))
    bench.flush()

    (letter,) = dead(bench, "unknown-request", "nobody")
    assert bench.codec("truth").read(letter["value"])["request_id"] == "nobody"


def test_ten_thousand_malformed_messages_are_each_accounted_for(
    bench: Bench, worker: Worker
) -> None:
    sent: dict[bytes, bytes | None] = {}
    before = worker.metric('weir_consumed_records_total{topic="flight_delay.requests"}')

    mutations = st.one_of(
        st.binary(max_size=200).map(lambda junk: ("junk", junk)),
        st.tuples(st.integers(0, 400), st.integers(1, 255)).map(lambda x: ("flip", x)),
        st.integers(0, 400).map(lambda cut: ("cut", cut)),
        st.binary(min_size=1, max_size=20).map(lambda tail: ("append", tail)),
        st.integers(0, 2**32 - 1).map(lambda id_: ("schema", id_)),
        st.just(("null", None)),
        st.fixed_dictionaries(
            {"distance": st.floats(), "departure": st.integers(-(2**63), 2**63 - 1)}
        ).map(lambda f: ("features", f)),
        st.text(max_size=300).map(lambda text: ("carrier", text)),
    )

    @seed(20261121)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(mutations, min_size=MESSAGES, max_size=MESSAGES))
    def send(examples: list[tuple[str, Any]]) -> None:
        for how, what in examples:
            key = f"malformed-{len(sent)}"
            value = malformed(bench, key, how, what)
            sent[key.encode()] = value
            bench.send_raw("requests", value, key.encode())

    send()
    bench.flush()
    assert len(sent) >= 10_000
    wait_for(
        lambda: (
            worker.metric('weir_consumed_records_total{topic="flight_delay.requests"}') - before
            >= len(sent)
        ),
        "all are consumed",
    )
    worker.health()
    sandwiched(bench, "after-ten-thousand", lambda: None)
    # A mutation may leave a good request, perhaps with another id: it is then answered.
    codec = bench.codec("requests")
    readable: dict[bytes, bytes] = {}
    for key, value in sent.items():
        if len(decoded := codec.decode([value])):
            readable[key] = decoded.columns["request_id"].values[0].encode()

    def unaccounted() -> list[bytes]:
        told = {p["request_id"].encode() for p in bench.records("predictions")}
        kept = {letter["key"] for letter in bench.records("dead-letters")}
        return [key for key in sent if key not in kept and readable.get(key) not in told]

    # Consumed is not yet committed, in whatever partition.
    wait_for(lambda: not unaccounted(), "each is set aside, or readable and answered")
    kept = {letter["key"]: letter["value"] for letter in bench.records("dead-letters")}
    assert {key: kept[key] for key in sent if key in kept} == {
        key: value for key, value in sent.items() if key in kept
    }
    assert len([key for key in sent if key in kept]) > 5_000
    assert worker.process.poll() is None


def malformed(bench: Bench, id_: str, how: str, what: Any) -> bytes | None:
    codec = bench.codec("requests")
    if how == "features":
        return bytes(codec.write(request(id_, what)))
    if how == "carrier":
        return bytes(codec.write(request(id_, {"carrier": what})))
    value = bytes(codec.write(request(id_)))
    if how == "junk":
        return bytes(what)
    if how == "null":
        return None
    if how == "cut":
        return value[: what % len(value)]
    if how == "append":
        return value + bytes(what)
    if how == "schema":
        return b"\0" + int(what).to_bytes(4, "big") + value[5:]
    position, flip = what
    changed = bytearray(value)
    changed[position % len(value)] ^= flip
    return bytes(changed)
