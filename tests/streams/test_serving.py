"""Serving: every request gets one prediction or, where nobody can be told, a dead letter."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.registry import HEADER_BYTES, header
from schemas.topics import INPUT_MAX_BYTES, OUTPUT_MAX_BYTES
from streams.codecs import codecs
from streams.dead_letters import MOST_HEADER_BYTES, MOST_WORDS
from streams.routing import Served
from streams.serving import Serving
from streams.task import Task
from streams.transport.batch import Result
from streams.version import Version
from tests.streams.tasks import KINDS, START, batch_of, by_topic, task_of
from tests.streams.versions import Odd, OddRegressor, Raises, TooFew, truth_of, version_of

NOW = START + 5000
CLASSES = {"binary": (False, True), "multiclass": ("a", "b", "c"), "regression": (False, True)}


class Bench:
    """A serving stage of one kind of task, with its codecs."""

    def __init__(self, kind: str, version: Callable[[Task], Version] | None = version_of) -> None:
        self.task = task_of(kind)
        self.codecs = codecs(self.task)
        served = None if version is None else Served(version(self.task), "champion")
        self.serving = Serving(self.task, self.codecs, lambda: served, "1.2.3", lambda: NOW)
        self.topic = f"{self.task.name}.requests"

    def request(self, id_: str, size: float = 1.0, **more: Any) -> bytes:
        features = {"size": size, "age": 3, "fresh": None, "colour": "red", "shop": "x"}
        features |= more.pop("features", {})
        return self.codecs["request"].write(
            {"request_id": id_, "event_time": START, "features": features, **more}
        )

    def serve(self, values: list[bytes | None], **more: Any) -> Result:
        return self.serving(batch_of(self.topic, values, **more))

    def read(self, result: Result) -> dict[str, list[dict[str, Any]]]:
        records = {"predictions": "prediction", "deferred": "deferred"}
        records["dead-letters"] = "dead_letter"
        return {
            name: [self.codecs[records[name]].read(value) for _, value, _ in rows]
            for name, rows in by_topic(result.outputs).items()
        }


@pytest.fixture(scope="module", params=KINDS)
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


@pytest.mark.parametrize("n", [1, 2, 100])
def test_every_input_is_answered_by_the_model_or_the_fallback(bench: Bench, n: int) -> None:
    sizes = [100.0 * i / n for i in range(n)]
    result = bench.serve([bench.request(f"r{i}", size) for i, size in enumerate(sizes)])
    found = bench.read(result)
    predictions = found["predictions"]
    assert [p["request_id"] for p in predictions] == [f"r{i}" for i in range(n)]
    assert [key for key, _, _ in by_topic(result.outputs)["predictions"]] == [
        f"r{i}".encode() for i in range(n)
    ]
    for prediction, size in zip(predictions, sizes, strict=True):
        held = prediction["gate_score"] >= 0.5
        assert prediction["status"] == ("deferred" if held else "answered")
        assert prediction["gate_decision"] == ("defer" if held else "admit")
        assert (prediction["version"], prediction["role"]) == ("v1", "champion")
        assert (prediction["dataset_id"], prediction["app_version"]) == ("data-1", "1.2.3")
        assert prediction["features"]["size"] == size
        assert prediction["timings"]["batch_size"] == n
        assert prediction["timings"]["wait_us"] == 5_000_000
        if held:
            assert prediction["reason"] == "the gate's score is 0.5000 or more"
            assert prediction["answer"] == bench.task.fallback
            assert prediction["probability"] is None
            assert prediction["probabilities"] == []
            continue
        assert prediction["reason"] is None
        if bench.task.kind == "regression":
            assert prediction["answer"] == pytest.approx(truth_of("regression", size), abs=30)
            assert prediction["probability"] is None
        elif bench.task.kind == "binary":
            assert prediction["answer"] == (prediction["probability"] >= 0.5)
            assert prediction["probabilities"] == []
        else:
            k = bench.task.classes.index(prediction["answer"])
            assert prediction["probabilities"][k] == max(prediction["probabilities"])
            assert prediction["probability"] == prediction["probabilities"][k]
    held_back = [p["request_id"] for p in predictions if p["status"] == "deferred"]
    deferred = found.get("deferred", [])
    assert [d["request_id"] for d in deferred] == held_back
    assert all(d["fallback"] == bench.task.fallback for d in deferred)
    assert all(d["version"] == "v1" and d["gate_score"] >= 0.5 for d in deferred)
    assert "dead-letters" not in found


def test_shadows_say_what_they_would_answer_and_change_no_answer(bench: Bench) -> None:
    task, codecs_ = bench.task, bench.codecs
    champion = Served(version_of(task), "champion")
    looking_on = [
        Served(version_of(task, id_="v2", gated=False), "shadow"),
        Served(version_of(task, id_="v3"), "shadow"),
    ]
    with_shadows = Serving(
        task, codecs_, lambda: champion, "1.2.3", lambda: NOW, shadows=lambda: looking_on
    )
    values = [bench.request("a", 1.0), b"?", bench.request("b", 99.0)]
    alone = bench.serve(list(values), keys=[b"k"] * 3)
    result = with_shadows(batch_of(bench.topic, list(values), keys=[b"k"] * 3))
    found = by_topic(result.outputs)
    said = ("request_id", "status", "answer", "probability", "version", "role")

    def read(rows: list[Any]) -> list[tuple[Any, ...]]:
        records = [codecs_["prediction"].read(value) for _, value, _ in rows]
        return [tuple(record[name] for name in said) for record in records]

    assert read(found["predictions"]) == read(by_topic(alone.outputs)["predictions"])
    assert [key for key, _, _ in found["shadows"]] == [b"a", b"b"] * 2
    shadows = read(found["shadows"])
    assert [(id_, *row[-2:]) for id_, *row in shadows] == [
        (id_, version, "shadow") for version in ("v2", "v3") for id_ in ("a", "b")
    ]
    # Without a gate the model answers what the others' gate holds back.
    assert [row[1] for row in shadows] == ["answered", "answered", "answered", "deferred"]
    assert shadows[1][2] is not None


def test_answers_do_not_hang_on_the_batch(bench: Bench) -> None:
    sizes = [3.0, 55.0, 79.0, 90.0, 99.0, 20.0]
    values = [bench.request(f"r{i}", size) for i, size in enumerate(sizes)]
    together = bench.read(bench.serve(list(values)))["predictions"]
    alone = [bench.read(bench.serve([value]))["predictions"][0] for value in values]
    said = ("answer", "probability", "probabilities", "status", "reason", "gate_decision")
    for one, other in zip(together, alone, strict=True):
        assert {name: one[name] for name in said} == {name: other[name] for name in said}


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_gate_all_are_admitted(kind: str) -> None:
    bench = Bench(kind, lambda task: version_of(task, gated=False))
    (prediction,) = bench.read(bench.serve([bench.request("r", 99.0)]))["predictions"]
    assert (prediction["status"], prediction["gate_decision"]) == ("answered", "none")
    assert prediction["gate_score"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_version_all_are_deferred(kind: str) -> None:
    bench = Bench(kind, None)
    found = bench.read(bench.serve([bench.request("a"), bench.request("b"), b"?"], keys=[b"k"] * 3))
    for prediction in found["predictions"][:2]:
        assert prediction["status"] == "deferred"
        assert prediction["reason"] == "no model version is in service yet"
        assert prediction["answer"] == bench.task.fallback
        assert (prediction["version"], prediction["role"]) == ("", "none")
        assert prediction["gate_decision"] == "none"
    assert [d["request_id"] for d in found["deferred"]] == ["a", "b"]
    assert len(found["dead-letters"]) == 1


def broken(kind: str, what: str) -> Callable[[Task], Version]:
    """A version whose model or gate goes wrong."""

    def make(task: Task) -> Version:
        odd: Any = {"model": {}, "gate": {}}
        odd["model raises"] = {"model": Raises(CLASSES[kind])}
        odd["gate raises"] = {"gate": Raises()}
        odd["model gives NaN"] = {
            "model": OddRegressor() if kind == "regression" else Odd(CLASSES[kind])
        }
        odd["gate gives NaN"] = {"gate": Odd(above=50.0)}
        odd["model gives too few"] = {"model": TooFew(CLASSES[kind])}
        odd["gate gives too few"] = {"gate": TooFew()}
        return version_of(task, **odd[what])

    return make


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("model raises", "the version's model failed: ValueError: columns are missing: {'height'}"),
        ("gate raises", "the version's gate failed: ValueError: columns are missing: {'height'}"),
        ("gate gives too few", "the version's gate failed: ValueError: 1 answers to 3 inputs"),
    ],
)
def test_a_version_that_fails_defers_the_batch_and_says_why(
    kind: str, what: str, said: str
) -> None:
    bench = Bench(kind, broken(kind, what))
    found = bench.read(bench.serve([bench.request(f"r{i}", 10.0 * i) for i in range(3)]))
    assert [p["request_id"] for p in found["predictions"]] == ["r0", "r1", "r2"]
    for prediction in found["predictions"]:
        assert (prediction["status"], prediction["reason"]) == ("deferred", said)
        assert prediction["answer"] == bench.task.fallback
        assert prediction["version"] == "v1"
        decision = "admit" if what == "model raises" else "none"
        assert prediction["gate_decision"] == decision
        assert (prediction["gate_score"] is None) == (decision == "none")
    assert [d["request_id"] for d in found["deferred"]] == ["r0", "r1", "r2"]


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_a_model_that_gives_too_few_answers_defers_the_batch(kind: str) -> None:
    bench = Bench(kind, broken(kind, "model gives too few"))
    found = bench.read(bench.serve([bench.request(f"r{i}") for i in range(3)]))
    assert {p["status"] for p in found["predictions"]} == {"deferred"}
    assert "the version's model failed" in found["predictions"][0]["reason"]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_the_model_has_no_answer_to_are_deferred_alone(kind: str) -> None:
    bench = Bench(kind, broken(kind, "model gives NaN"))
    sizes = [10.0, 60.0, 20.0, 99.0]  # answered, NaN, answered, held back by the gate
    found = bench.read(bench.serve([bench.request(f"r{s:.0f}", s) for s in sizes]))
    status = {p["request_id"]: (p["status"], p["reason"]) for p in found["predictions"]}
    noun = "number" if kind == "regression" else "probability"
    assert status == {
        "r10": ("answered", None),
        "r60": ("deferred", f"the model's answer is not a {noun}"),
        "r20": ("answered", None),
        "r99": ("deferred", "the gate's score is 0.5000 or more"),
    }
    by_id = {p["request_id"]: p for p in found["predictions"]}
    assert by_id["r60"]["answer"] == bench.task.fallback
    assert by_id["r60"]["probability"] is None
    assert by_id["r60"]["probabilities"] == []
    assert by_id["r60"]["gate_decision"] == "admit"
    if kind == "regression":
        assert by_id["r10"]["answer"] == 1.5
    assert [d["request_id"] for d in found["deferred"]] == ["r60", "r99"]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_the_model_has_no_answer_to_may_be_all(kind: str) -> None:
    bench = Bench(kind, broken(kind, "model gives NaN"))
    (prediction,) = bench.read(bench.serve([bench.request("r", 60.0)]))["predictions"]
    assert (prediction["status"], prediction["answer"]) == ("deferred", bench.task.fallback)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_the_gate_cannot_score_are_deferred_alone(kind: str) -> None:
    bench = Bench(kind, broken(kind, "gate gives NaN"))
    values = [bench.request("sure", 10.0), bench.request("unsure", 60.0)]
    sure, unsure = bench.read(bench.serve(values))["predictions"]
    # The odd gate gives one half to all others, which is its threshold.
    assert (sure["gate_decision"], sure["gate_score"]) == ("defer", 0.5)
    assert (unsure["gate_decision"], unsure["gate_score"]) == ("none", None)
    assert unsure["reason"] == "the gate's score is not a number"


def test_a_number_that_is_no_probability_is_not_an_answer() -> None:
    for gives in (1.5, -0.1):
        bench = Bench("binary", lambda task, g=gives: version_of(task, model=Odd(gives=g)))
        (prediction,) = bench.read(bench.serve([bench.request("r", 60.0)]))["predictions"]
        assert prediction["reason"] == "the model's answer is not a probability"


def test_refused_inputs_leave_the_others_answered_in_order(bench: Bench) -> None:
    values: list[bytes | None] = [
        bench.request("good-1"),
        b"not avro",
        bench.request("nan", math.nan),
        bench.request(""),
        None,
        bench.request("good-2"),
        bench.request("cut")[:-3],
    ]
    result = bench.serve(
        values, keys=[b"k%d" % i for i in range(7)], timestamps=[START + i for i in range(7)]
    )
    found = bench.read(result)
    told = {p["request_id"]: p for p in found["predictions"]}
    assert list(told) == ["good-1", "good-2", "k1", "nan", "k4", "cut"]
    rejected = [p for p in found["predictions"] if p["status"] == "rejected"]
    assert [p["reason"].partition(":")[0] for p in rejected] == [
        "undecodable",
        "invalid",
        "empty",
        "undecodable",
    ]
    for prediction in rejected:
        assert prediction["answer"] is None
        assert prediction["features"] is None
        assert (prediction["version"], prediction["role"]) == ("", "none")
    # An event time that was read stands; where none was, the record's own time does.
    assert [p["event_time"] for p in rejected] == [START + 1, START, START + 4, START + 6]
    letters = found["dead-letters"]
    assert [(letter["offset"], letter["reason"]) for letter in letters] == [
        (1, "undecodable"),
        (2, "invalid"),
        (3, "invalid-id"),
        (4, "empty"),
        (6, "undecodable"),
    ]
    for letter in letters:
        assert letter["value"] == values[letter["offset"]]
        assert letter["key"] == b"k%d" % letter["offset"]
        assert (letter["topic"], letter["stage"]) == (bench.topic, "serving")
        assert letter["record_time"] == START + letter["offset"]
        assert letter["failed_at"] == NOW


def test_an_event_time_that_cannot_be_right_is_not_passed_on(bench: Bench) -> None:
    bad = bench.codecs["request"].write(
        {
            "request_id": "event_time",
            "event_time": -1,
            "features": {"size": 1.0, "shop": "x", "age": None, "fresh": None, "colour": None},
        }
    )
    (prediction,) = bench.read(bench.serve([bad], timestamps=[START + 7]))["predictions"]
    assert prediction["event_time"] == START + 7
    # The words alone do not make it one.
    named = bench.request("event_time", math.nan, features={"shop": "event_time" * 200})
    (prediction,) = bench.read(bench.serve([named], timestamps=[START + 7]))["predictions"]
    assert prediction["event_time"] == START


WRONG: dict[str, tuple[Any, Any]] = {
    "null where the task allows none": (["null", "double"], None),
    "text where a number is meant": ("string", "1.0"),
}


@pytest.mark.parametrize("case", sorted(WRONG))
@pytest.mark.parametrize("own_id", [True, False], ids=["schema of its own", "id of ours"])
def test_a_producer_that_writes_another_type_is_told(bench: Bench, case: str, own_id: bool) -> None:
    """Avro's bytes name no types: a producer needs a schema of its own to write a wrong one."""
    type_, value = WRONG[case]
    theirs = json.loads(json.dumps(bench.codecs["request"].schema))
    features = next(f["type"] for f in theirs["fields"] if f["name"] == "features")
    next(f for f in features["fields"] if f["name"] == "size")["type"] = type_
    codec = Codec(theirs)
    written = codec.write(
        {
            "request_id": "wrong",
            "event_time": START,
            "features": {"size": value, "age": 3, "fresh": None, "colour": "red", "shop": "x"},
        }
    )
    if not own_id:
        written = header(bench.codecs["request"].id) + written[HEADER_BYTES:]
    values: list[bytes | None] = [bench.request("a"), written, bench.request("b")]
    found = bench.read(bench.serve(values, keys=[b"a", b"key", b"b"]))
    statuses = {p["request_id"]: p["status"] for p in found["predictions"]}
    assert statuses["a"] == statuses["b"] == "answered"
    (letter,) = found["dead-letters"]
    if own_id:
        assert (letter["reason"], letter["request_id"]) == ("unknown-schema", "key")
        assert statuses["key"] == "rejected"
    else:
        assert (letter["reason"], letter["request_id"]) == ("undecodable", "wrong")
        assert statuses["wrong"] == "rejected"


def test_traces_go_on_to_answers_deferred_inputs_and_dead_letters(bench: Bench) -> None:
    trace = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    values = [bench.request("a"), bench.request("b", 99.0), bench.request("c", -1.0)]
    headers = {
        1: [trace, ("tracestate", b"x=1"), ("other", b"dropped")],
        2: [trace, ("tracestate", b"x" * 2000), ("traceparent", None), ("other", b"kept")],
    }
    outputs = by_topic(bench.serve(values, headers=headers).outputs)  # type: ignore[arg-type]
    kept = {key: found for key, _, found in outputs["predictions"]}
    assert kept == {b"a": [], b"b": [trace, ("tracestate", b"x=1")], b"c": [trace]}
    assert [found for _, _, found in outputs["deferred"]] == [[trace, ("tracestate", b"x=1")]]
    ((_, _, found),) = outputs["dead-letters"]
    names = [name for name, _ in found]
    assert names[:4] == ["traceparent", "tracestate", "traceparent", "other"]
    assert dict(found)["__streams.errors.offset"] == b"2"
    assert dict(found)["__streams.errors.topic"] == bench.topic.encode()
    assert dict(found)["__streams.errors.exception"] == b"invalid"
    assert b"below 0 m" in (dict(found)["__streams.errors.message"])


def size_of(bench: Bench, result: Result) -> int:
    """The largest record that was made, with its headers."""
    return max(
        len(value) + len(key or b"") + sum(len(name) + len(text or b"") for name, text in headers)
        for rows in by_topic(result.outputs).values()
        for key, value, headers in rows
    )


@pytest.mark.parametrize("size", [INPUT_MAX_BYTES - 200, INPUT_MAX_BYTES + 1, 5 * INPUT_MAX_BYTES])
def test_what_becomes_of_a_huge_request_fits_into_its_topic(bench: Bench, size: int) -> None:
    huge = bench.request("huge", features={"shop": "x" * (size - 100)})
    huge += b"\0" * (size - len(huge))
    result = bench.serve([bench.request("small"), huge, bench.request("small-too")])
    found = bench.read(result)
    assert size_of(bench, result) < OUTPUT_MAX_BYTES
    statuses = {p["request_id"]: p["status"] for p in found["predictions"]}
    assert statuses == {"small": "answered", "small-too": "answered", "huge": "rejected"}
    (letter,) = found["dead-letters"]
    assert letter["reason"] == ("undecodable" if size < INPUT_MAX_BYTES else "too-large")
    if size < 3 * INPUT_MAX_BYTES - MOST_HEADER_BYTES:
        assert letter["value"] == huge
    else:
        assert letter["value"] is None
        assert f"the value of {len(huge)} bytes (SHA-256 " in letter["message"]


def test_huge_keys_and_headers_fit_as_well(bench: Bench) -> None:
    key = b"k" * (4 * INPUT_MAX_BYTES)
    headers = {0: [("a", b"1"), ("b", b"x" * MOST_HEADER_BYTES), ("c", b"3")]}
    result = bench.serve([b"?"], keys=[key], headers=headers)  # type: ignore[arg-type]
    assert size_of(bench, result) < OUTPUT_MAX_BYTES
    found = bench.read(result)
    (letter,) = found["dead-letters"]
    assert (letter["key"], letter["value"]) == (None, b"?")
    assert f"the key of {len(key)} bytes" in letter["message"]
    assert "predictions" not in found


def test_long_words_are_cut(bench: Bench) -> None:
    wide = [f"f{i}" for i in range(300)]
    from schemas.features import Number

    task = task_of(features=[Number(name, high=0) for name in wide], segments=[])
    serving = Serving(task, codecs(task), lambda: None, "1", lambda: NOW)
    value = Codec(task.schemas()["request"]).write(
        {"request_id": "r", "event_time": START, "features": dict.fromkeys(wide, 1e300)}
    )
    outputs = by_topic(serving(batch_of(f"{task.name}.requests", [value])).outputs)
    ((_, raw, headers),) = outputs["dead-letters"]
    letter = Codec(task.schemas()["dead_letter"]).read(raw)
    assert letter["message"].startswith("f0 is 1e+300, above 0; f1 is")
    assert len(letter["message"]) < MOST_WORDS + 40
    assert dict(headers)["__streams.errors.message"] == letter["message"].encode()
    prediction = Codec(task.schemas()["prediction"]).read(outputs["predictions"][0][1])
    assert len(prediction["reason"]) < MOST_WORDS + 40


def test_a_strange_clock_gives_no_strange_wait(bench: Bench) -> None:
    times = [NOW + 10**6, -1, -(2**63) + NOW + 1, 0]
    values = [bench.request(f"r{i}") for i in range(4)]
    for prediction in bench.read(bench.serve(values, timestamps=times))["predictions"]:
        assert 0 <= prediction["timings"]["wait_us"] < 2**53


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.sampled_from(["good", "deferred", "invalid", "bad-id", "junk", "null", "cut", "no-key"]),
        min_size=1,
        max_size=40,
    )
)
def test_every_input_is_accounted_for_exactly_once(bench: Bench, kinds: list[str]) -> None:
    make: dict[str, Callable[[str], bytes | None]] = {
        "good": bench.request,
        "deferred": lambda id_: bench.request(id_, 99.0),
        "invalid": lambda id_: bench.request(id_, -1.0),
        "bad-id": lambda id_: bench.request("x" * 200),
        "junk": lambda id_: b"\x01junk",
        "null": lambda id_: None,
        "cut": lambda id_: bench.request(id_)[:-2],
        "no-key": lambda id_: b"junk",
    }
    values = [make[kind](f"r{i}") for i, kind in enumerate(kinds)]
    keys = [None if kind == "no-key" else b"r%d" % i for i, kind in enumerate(kinds)]
    found = bench.read(bench.serve(values, keys=keys))
    told = {p["request_id"]: p["status"] for p in found.get("predictions", [])}
    assert len(told) == len(found.get("predictions", []))
    dead = [letter["offset"] for letter in found.get("dead-letters", [])]
    assert dead == [i for i, kind in enumerate(kinds) if kind not in ("good", "deferred")]
    wanted = {"good": "answered", "deferred": "deferred"}
    for i, kind in enumerate(kinds):
        untold = kind in ("bad-id", "no-key")
        assert told.get(f"r{i}") == (None if untold else wanted.get(kind, "rejected"))
    assert [d["request_id"] for d in found.get("deferred", [])] == [
        f"r{i}" for i, kind in enumerate(kinds) if kind == "deferred"
    ]


def test_numbers_of_a_batch_of_one_are_those_of_a_big_one(bench: Bench) -> None:
    """A batch of one takes other paths in the codec than a big one."""
    one = bench.read(bench.serve([bench.request("r", 12.5)]))["predictions"][0]
    many = bench.read(bench.serve([bench.request("r", 12.5)] * 64))["predictions"]
    for prediction in many:
        assert prediction["answer"] == one["answer"]
        assert np.array_equal(prediction["probabilities"], one["probabilities"])
