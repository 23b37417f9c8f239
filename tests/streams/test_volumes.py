"""From predictions to findings and throttles, without Kafka: the same after any crash."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codecs import codecs
from streams.event_time import to_number
from streams.store import Stores
from streams.task import Volume
from streams.transport.batch import Output, Result
from streams.usage import Usage
from streams.volume.counts import BUCKET_MS
from streams.volumes import LATE, RENEW_MS, SAVE_EVERY_MS, Volumes
from tests.streams.joining import prediction
from tests.streams.orders import Row, Step, histories, lives
from tests.streams.tasks import START, batch_of, by_topic, task_of

BEGIN = START // BUCKET_MS
POLICY = Volume(action="dead-letter", settle=timedelta(minutes=1))


class World:
    """The two stages of a task of one partition, and the topic between them."""

    def __init__(self, folder: Path, volume: Volume = POLICY) -> None:
        self.task = task_of(volume=volume, partitions=1)
        self.codecs = codecs(self.task)
        self.usage = Usage(self.task, self.codecs)
        self.folder = folder
        self.topic: list[tuple[bytes, int]] = []
        self.outputs: list[Output] = []
        self.begin()

    def begin(self) -> None:
        self.stores = Stores(self.folder)
        self.volumes = Volumes(self.task, self.codecs, self.stores, lambda: START)
        self.volumes.open()

    def crash(self) -> None:
        """The worker dies; the next one has what was saved, and what came since once more."""
        self.volumes.close()
        self.stores.close()
        self.begin()
        offset = self.stores.get(self.volumes.stage, 0).offsets.get(self.volumes.topic, 0)
        for at in range(offset, len(self.topic)):
            self._look(at)  # its outputs are there already

    def predict(self, bucket: int, *clients: str | None, **more: Any) -> None:
        """Predictions of one bucket of event time, looked at as they come."""
        at = (BEGIN + bucket) * BUCKET_MS
        rows = [
            prediction(f"{bucket}-{i}", event_time=at, entity=client, **more)
            for i, client in enumerate(clients)
        ]
        values = [self.codecs["prediction"].write(row) for row in rows]
        made = self.usage(batch_of(self.usage.topic, values))
        (((_, value, _),),) = by_topic(made.outputs).values()
        self.topic.append((value, at))
        result = self._look(len(self.topic) - 1)
        self.outputs += result.outputs

    def _look(self, offset: int) -> Result:
        value, at = self.topic[offset]
        batch = batch_of(self.volumes.topic, [value], first=offset, timestamps=[at])
        result = self.volumes(batch)
        if result.after_commit is not None:
            result.after_commit()
        return result

    def records(self, topic: str) -> list[dict[str, Any]]:
        record = {"drifts": "drift", "throttles": "throttle"}[topic]
        found = by_topic(self.outputs).get(topic, [])
        return [self.codecs[record].read(value) for _, value, _ in found]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.stores.close()


def usual(world: World, buckets: range) -> None:
    for bucket in buckets:
        world.predict(bucket, "a", "a", "b", None)


def test_a_client_that_jumps_is_told_of_and_throttled_until_it_is_calm(world: World) -> None:
    usual(world, range(60))
    world.predict(60, *["b"] * 60, version="v1", role="champion")
    usual(world, range(61, 90))
    begun, over = (d for d in world.records("drifts") if d["subject"] == "b")
    assert (begun["kind"], begun["alerting"], begun["version"]) == ("volume", True, "v1")
    assert (over["alerting"], over["window_to"]) == (False, (BEGIN + 67) * BUCKET_MS)
    assert begun["since"] == (BEGIN + 60) * BUCKET_MS
    assert begun["window_size"] == 60
    assert begun["message"].startswith("client b: 6 requests a second for 10 s, ")
    throttles = [(t["client"], t["action"]) for t in world.records("throttles")]
    assert throttles[0] == ("b", "dead-letter")
    assert throttles[-1] == ("b", "none")
    assert world.records("throttles")[0]["drift_id"] == begun["drift_id"]


def test_a_throttle_is_renewed_while_it_lasts(world: World) -> None:
    usual(world, range(60))
    for bucket in range(60, 60 + 4 * RENEW_MS // BUCKET_MS):
        world.predict(bucket, *["b"] * 60)
    assert {t["action"] for t in world.records("throttles")} == {"dead-letter"}
    assert len(world.records("throttles")) >= 4


def test_the_whole_stream_is_told_of_and_not_throttled(world: World) -> None:
    usual(world, range(60))
    world.predict(60, *[None] * 200)
    usual(world, range(61, 64))
    (drift,) = world.records("drifts")
    assert (drift["subject"], drift["message"][:13]) == ("", "all requests:")
    assert world.records("throttles") == []


def test_without_an_action_nobody_is_throttled(tmp_path: Path) -> None:
    world = World(tmp_path, Volume(settle=timedelta(minutes=1)))
    usual(world, range(60))
    world.predict(60, *["b"] * 60)
    usual(world, range(61, 64))
    assert [d["subject"] for d in world.records("drifts")] == ["b"]
    assert world.records("throttles") == []
    world.stores.close()


def test_refused_requests_count_for_their_client(world: World) -> None:
    usual(world, range(60))
    for bucket in range(60, 75):
        world.predict(bucket, *["b"] * 60, status="rejected", reason="throttled: send again later")
    assert [t["action"] for t in world.records("throttles")][-1] == "dead-letter"


@pytest.mark.parametrize("years", [-10, 0, 10])
def test_refused_requests_count_at_the_streams_time_and_not_at_their_own(
    world: World, years: int
) -> None:
    other = years * 365 * 24 * 3600 * 1000 // BUCKET_MS
    late = LATE._value.get()
    world.predict(0, *[None] * 3, status="rejected")  # before any time is known
    for bucket in range(60):
        world.predict(bucket, "a", "a", "b", None)
        world.predict(bucket + other, None, status="rejected", reason="invalid: size is nan")
    assert world.records("drifts") == []
    world.predict(60 + other, *[None] * 200, status="rejected", reason="invalid: size is nan")
    usual(world, range(60, 64))
    (drift,) = world.records("drifts")
    assert (drift["subject"], drift["since"]) == ("", (BEGIN + 59) * BUCKET_MS)
    assert LATE._value.get() == late


@pytest.mark.parametrize("every", [1, 7])
def test_crashes_change_nothing_of_what_is_told(tmp_path: Path, every: int) -> None:
    chance = np.random.default_rng(1)
    drawn = [["a", "b", "c", None][i] for i in chance.integers(0, 4, 400)]
    calm, dying = World(tmp_path / "calm"), World(tmp_path / "dying")
    for bucket in range(80):
        clients = drawn[5 * bucket : 5 * bucket + 5] + ["b"] * (
            40 if bucket in range(60, 64) else 0
        )
        for world in (calm, dying):
            world.predict(bucket, *clients)
        if bucket % every == 0:
            dying.crash()
    assert calm.records("drifts")
    assert dying.records("drifts") == calm.records("drifts")
    assert dying.records("throttles") == calm.records("throttles")
    assert SAVE_EVERY_MS < 80 * BUCKET_MS  # it was saved in between
    calm.stores.close()
    dying.stores.close()


def test_what_comes_after_its_bucket_was_looked_at_is_counted_as_late(world: World) -> None:
    usual(world, range(20))
    before = LATE._value.get()
    world.predict(3, "a", "a")
    assert LATE._value.get() == before + 2
    assert world.records("drifts") == []


def test_records_of_others_are_set_aside(world: World) -> None:
    batch = batch_of(world.volumes.topic, [b"not avro", None])
    dead = by_topic(world.volumes(batch).outputs)["dead-letters"]
    assert len(dead) == 2


JUMPING = task_of(volume=POLICY, partitions=2)
JUMPING_CODECS = codecs(JUMPING)
NAME = Volumes(JUMPING, JUMPING_CODECS, Stores(Path()), lambda: START).stage


def used(source: int, bucket: int, clients: dict[str, int], version: str, told: bool = True) -> Row:
    """Usage of one source and bucket. told: whether it tells the time."""
    made = {
        "source": f"{JUMPING.name}.predictions/{source}",
        "newest": to_number((BEGIN + bucket) * BUCKET_MS if told else None),
        "version": version,
        "clients": list(clients),
        "buckets": [BEGIN + bucket if told else to_number(None)] * len(clients),
        "requests": list(clients.values()),
        "held": [n // 2 for n in clients.values()],
    }
    at = (BEGIN + bucket) * BUCKET_MS
    return Row(JUMPING_CODECS["usage"].write(made), at=at)


USED = {
    "usage": st.builds(
        used,
        st.integers(0, 1),
        st.integers(0, 2_000),
        st.dictionaries(st.sampled_from(["", "a", "b"]), st.integers(1, 5_000)),
        st.sampled_from(["", "v1", "v2"]),
        st.booleans(),
    )
}


@settings(max_examples=30)
@given(histories(USED, most=40))
def test_whatever_comes_first_a_restart_changes_nothing(history: list[Step]) -> None:
    whole, once = lives(
        history,
        JUMPING.name,
        JUMPING_CODECS["dead_letter"],
        lambda stores: Volumes(JUMPING, JUMPING_CODECS, stores, lambda: START),
        NAME,
    )
    for topic in ("drifts", "throttles"):
        assert whole.of(topic) == once.of(topic)
