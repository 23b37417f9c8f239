"""The stage: records in, events and its state out; what was committed is where it goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from streams.codecs import codecs
from streams.task import Drifted, MetricBelow, Trigger
from streams.triggers.agent import Triggers
from streams.triggers.changelog import last_readable
from tests.streams.tasks import DAY_MS, START, batch_of, by_topic
from tests.streams.triggers.world import DAY, at, task

TRIGGERS = (
    Trigger(name="hurts", when=Drifted(), cooldown=2 * DAY),
    Trigger(name="red", when=MetricBelow("accuracy", 0.5, segment="colour", value="red")),
)
TASK = task(*TRIGGERS)
ENDS = [70, 80]


class Stage:
    """The stage with what it has committed."""

    def __init__(self) -> None:
        self.codecs = codecs(TASK)
        self.now = START
        self.committed: list[bytes] = []
        self.published: list[dict[str, Any]] = []
        self.offsets: dict[str, int] = {}
        self.begin()

    def begin(self) -> None:
        """As a worker that has just got the partition, of whatever folder."""
        self.triggers = Triggers(
            TASK,
            self.codecs,
            lambda: self.now,
            lambda: ENDS,
            lambda read: last_readable(self.committed, read),
        )
        self.triggers.open()

    def batch(self, topic: str, records: Sequence[dict[str, Any] | bytes | None]) -> Any:
        name = {"metrics": "metric", "drifts": "drift", "models": "model", "retrain": "retrain"}
        codec = self.codecs[name[topic]]
        values = [codec.write(r) if isinstance(r, dict) else r for r in records]
        keys = [key_of(r) if isinstance(r, dict) and topic == "metrics" else b"" for r in records]
        first = self.offsets.get(topic, 0)
        self.offsets[topic] = first + len(values)
        return batch_of(f"{TASK.name}.{topic}", values, first=first, keys=keys)

    def take(self, batch: Any, commit: bool = True) -> list[dict[str, Any]]:
        """Work on a batch; returns what is published."""
        outputs = by_topic(self.triggers(batch).outputs)
        found = [self.codecs["retrain"].read(v) for _, v, _ in outputs.get("retrain", [])]
        if commit:
            self.committed += [value for _, value, _ in outputs.get("triggers", [])]
            self.published += found
        self.dead = [
            self.codecs["dead_letter"].read(v) for _, v, _ in outputs.get("dead-letters", [])
        ]
        return found

    def feed(self, topic: str, *records: Any) -> list[dict[str, Any]]:
        return self.take(self.batch(topic, records))


def key_of(metric: dict[str, Any]) -> bytes:
    names = ("window", "window_start", "version", "role", "segment", "value")
    return "|".join(str(metric[name]) for name in names).encode()


def metric(number: int, outcomes: int = 1000, **more: Any) -> dict[str, Any]:
    start = START + number * DAY_MS
    return {
        "window": "tumbling_1d",
        "window_start": start,
        "window_end": start + DAY_MS,
        "version": "v1",
        "role": "champion",
        "segment": "",
        "value": "",
        "revision": 1,
        "computed_at": 0,
        "complete": True,
        "predictions": outcomes,
        "deferred": 0,
        "rejected": 0,
        "outcomes": outcomes,
        "scored": outcomes,
        "share_deferred": 0.0,
        "share_labelled": 1.0,
        "watermark": start + DAY_MS,
        "classes": {"true": outcomes // 2, "false": outcomes - outcomes // 2},
        **more,
    }


def drift(id_: str = "d1", **more: Any) -> dict[str, Any]:
    return {
        "drift_id": id_,
        "detected_at": 0,
        "kind": "concept",
        "version": "v1",
        "statistic": "errors",
        "value": 2.0,
        "threshold": 1.0,
        "window_from": START,
        "window_to": START + DAY_MS,
        "window_size": 500,
        "reference": "v1",
        "message": "errors went up",
        "effect": "12 % to 20 % wrong",
        "hurts": True,
        **more,
    }


def model(version: str, event_id: str, role: str = "champion") -> dict[str, Any]:
    return {
        "version": version,
        "role": role,
        "changed_at": 0,
        "reason": "",
        "event_id": event_id,
        "bundle": "",
        "sha256": "",
        "dataset_id": "",
        "rows": 0,
        "data_from": 0,
        "data_to": 0,
        "metrics": {"accuracy": 0.9},
    }


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.feed("models", model("v1", "first-1"))
    stage.feed("metrics", metric(0))
    return stage


def test_an_event_carries_evidence_and_points_at_its_data(stage: Stage) -> None:
    (event,) = stage.feed("drifts", drift())
    assert event["status"] == "asked"
    assert (event["policy"], event["trigger"], event["requested_by"]) == (
        *("hurts", "drift"),
        "triggers",
    )
    assert event["event_id"] == f"hurts-{event['episode']}"
    assert event["evidence_ids"] == ["d1"]
    assert "12 % to 20 % wrong" in event["evidence"]["drift"]
    assert (event["outcomes_from"], event["outcomes_to"]) == ([0, 0], ENDS)
    assert (event["data_from"], event["data_to"], event["event_time"]) == (None, at(1), at(1))
    assert stage.triggers.waiting == [event["event_id"]]


def test_what_is_no_state_of_weirs_is_left_out(stage: Stage) -> None:
    stage.take(stage.batch("models", [model("v1", "e1")]))
    codec = stage.codecs["trigger"]
    good = stage.committed[-1]
    states = ("", "[]", "5", "null", '{"state": 5}', '{"labels": [1]}', '{"series": "x"}')
    forged = [codec.write(codec.read(good) | {"state": state}) for state in states]
    stage.committed += [b"", b"junk", codec.header, good[:-3], *forged]

    stage.begin()
    assert stage.triggers._policies is not None
    assert stage.triggers._policies.champion == "v1"


def test_what_was_committed_is_where_the_next_worker_goes_on(stage: Stage) -> None:
    (event,) = stage.feed("drifts", drift())
    stage.begin()
    assert stage.triggers.waiting == [event["event_id"]]
    assert stage.feed("drifts", drift("d2")) == []
    assert stage.feed("retrain", event) == []
    stage.feed("models", model("v2", event["event_id"], "rejected"))
    stage.begin()
    assert stage.triggers.waiting == []
    (again,) = stage.feed("metrics", metric(3, watermark=at(4)))
    assert again["event_id"] != event["event_id"]


def test_a_batch_whose_commit_failed_gives_the_same_event_again(stage: Stage) -> None:
    batch = stage.batch("drifts", [drift()])
    (lost,) = stage.take(batch, commit=False)
    stage.begin()
    (event,) = stage.take(batch)
    assert event == lost


def test_a_batch_that_comes_again_after_its_outputs_changes_nothing(stage: Stage) -> None:
    """As at_least_once may do: outputs are stored, offsets are not."""
    batch = stage.batch("drifts", [drift()])
    (event,) = stage.take(batch)
    stage.begin()
    assert stage.take(batch) == []
    assert stage.triggers.waiting == [event["event_id"]]


def test_a_refusal_is_a_record_of_the_same_topic(stage: Stage) -> None:
    stage.feed("drifts", drift("s", kind="schema", hurts=None))
    (refusal,) = stage.feed("drifts", drift())
    assert (refusal["status"], refusal["why"], refusal["policy"]) == ("refused", "schema", "hurts")
    assert refusal["event_id"].startswith("refused-hurts-")
    assert refusal["outcomes_to"] == []
    assert stage.triggers.waiting == []


def test_segments_are_read_only_where_a_condition_looks_at_them(stage: Stage) -> None:
    low = {"accuracy": 0.2, "accuracy_high": 0.3}
    green = [metric(n, segment="colour", value="green", classes={}, **low) for n in (0, 1)]
    red = [metric(n, segment="colour", value="red", classes={}, **low) for n in (0, 1)]
    assert stage.feed("metrics", *green) == []
    (event,) = stage.feed("metrics", metric(1), *red)
    assert event["policy"] == "red"
    assert event["evidence_ids"] == [key_of(r).decode() for r in (red[1], red[0])]


def test_nothing_is_written_where_nothing_changed(stage: Stage) -> None:
    before = len(stage.committed)
    green = metric(0, segment="colour", value="green", classes={})
    stage.feed("metrics", green)
    stage.feed("models", None)
    assert len(stage.committed) == before


def test_what_is_not_weirs_is_set_aside_and_the_others_count(stage: Stage) -> None:
    (event,) = stage.feed("drifts", b"not avro", drift())
    assert event["evidence_ids"] == ["d1"]
    ((letter),) = stage.dead
    assert (letter["reason"], letter["stage"]) == ("undecodable", "triggers")
    assert letter["value"] == b"not avro"


def test_an_event_of_a_person_is_waited_for(stage: Stage) -> None:
    asked = {
        "event_id": "manual-1",
        "requested_at": 0,
        "trigger": "manual",
        "reason": "",
        "requested_by": "me",
    }
    stage.feed("retrain", asked)
    assert stage.feed("drifts", drift()) == []
    failed = {**asked, "status": "failed"}
    assert [each["why"] for each in stage.feed("retrain", failed)] == ["cool-down"]


def test_the_state_is_small_after_a_year(stage: Stage) -> None:
    for number in range(365):
        records = [metric(number, version=f"v{number // 60}")]
        low = {"segment": "colour", "value": "red", "classes": {}, "accuracy": 0.9}
        stage.feed("metrics", *records, metric(number, **low))
        stage.feed("drifts", drift(f"d{number}", hurts=False))
    state = stage.codecs["trigger"].read(stage.committed[-1])["state"]
    assert len(state) < 30_000
    assert json.loads(state)["labels"]["folded"][""] > 300_000
