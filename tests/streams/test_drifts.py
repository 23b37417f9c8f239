"""The stages of drift without Kafka: what is counted, what is found, and that a restart is none."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import drifts as drifts_module
from streams.alerts.decide import Decider
from streams.alerts.policy import Alerts
from streams.bundle import BundleError, load_profile, save_bundle
from streams.codecs import codecs
from streams.drift.counts import Counts
from streams.drifts import Drifts
from streams.profiles import Profiles
from streams.references import RETRY_MS, References
from streams.restore import _before
from streams.store import Stores
from streams.task import Task
from streams.training.train import train
from streams.transport.batch import Output, RecordBatch
from streams.triggers.policies import Policies
from streams.triggers.records import read as triggered
from tests.streams.orders import Row, histories, lives
from tests.streams.tasks import DAY_MS, START, batch_of, by_topic
from tests.tasks.springs import Springs, draw

KEY = b"a test's key"
STEP_MS = 1_000
SIZE = 200
"""Predictions of a batch."""


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    assert Springs.history is not None
    save_bundle(folder, Springs, train(Springs, Springs.history(), "first").contents, KEY)
    return folder


@pytest.fixture
def version(artifacts: Path) -> str:
    (folder,) = artifacts.iterdir()
    return folder.name


class Looking:
    """Both stages, from predictions to drifts."""

    def __init__(self, folder: Path, artifacts: Path, task: Task = Springs) -> None:
        self.codecs = codecs(task)
        self.now = START
        self.folder = folder
        self.task = task
        self.references = References(task, artifacts, KEY, lambda: self.now)
        self.profiles = Profiles(task, self.codecs, self.references, lambda: self.now)
        self.begin()

    def begin(self) -> None:
        self.stores = Stores(self.folder)
        clock = lambda: self.now  # noqa: E731
        self.drifts = Drifts(self.task, self.codecs, self.references, self.stores, clock)

    def profiled(self, predictions: Sequence[dict[str, Any]], topic: str = "predictions") -> Any:
        """The profiles of predictions, in batches."""
        values = [self.codecs["prediction"].write(one) for one in predictions]
        found: list[bytes] = []
        for first in range(0, len(values), SIZE):
            part = batch_of(f"{self.task.name}.{topic}", values[first : first + SIZE], first=first)
            outputs = self.profiles(part).outputs
            found += [value for _, value, _ in by_topic(outputs).get("profiles", [])]
        return found

    def look(self, batch: RecordBatch, save: bool = False) -> list[dict[str, Any]]:
        """What is found in a batch of profiles; save: the state goes to disk with it."""
        self.now += drifts_module.SAVE_EVERY_MS if save else 1
        result = self.drifts(batch)
        assert (result.after_commit is not None) == save
        if result.after_commit is not None:
            result.after_commit()
        return self.read(result.outputs)

    def read(self, outputs: Sequence[Output]) -> list[dict[str, Any]]:
        return [self.codecs["drift"].read(v) for _, v, _ in by_topic(outputs).get("drifts", [])]

    def restart(self, batch: RecordBatch) -> None:
        """As after a kill: the state on disk, and what came since replayed."""
        self.drifts.close()
        self.stores.close()
        self.begin()
        start = self.stores.get(self.drifts.stage, 0).offsets.get(self.drifts.topic, 0)
        rest = part_of(batch, start, len(batch))
        if len(rest):
            self.look(rest)
        self.drifts.open()


def part_of(batch: RecordBatch, first: int, last: int) -> RecordBatch:
    """Records of a batch whose offsets are places."""
    whole = _before(batch, last)
    return batch_of(batch.topic, whole.values[first:], first=first)


def predictions(
    version: str, n: int, seed: int, wider: float = 0.0, first: int = 0, **changes: Any
) -> list[dict[str, Any]]:
    """What a version answers: of load alone."""
    table = draw(n, seed, wider)
    return [
        {
            "request_id": f"{seed}-{i}",
            "event_time": START + (first + i) * STEP_MS,
            "predicted_at": START,
            "status": "answered",
            "answer": bool(row.load > 55),
            "probability": float(1 / (1 + np.exp(-(row.load - 55) / 3))),
            "gate_decision": "admit",
            "version": version,
            "role": "champion",
            "dataset_id": "d",
            "app_version": "test",
            "timings": dict.fromkeys(TIMINGS, 1),
            "features": {"load": row.load, "width": row.width, "maker": row.maker},
            **changes,
        }
        for i, row in enumerate(table.itertuples())
    ]


TIMINGS = ("wait_us", "decode_us", "validate_us", "gate_us", "infer_us", "batch_size")


@pytest.fixture
def looking(tmp_path: Path, artifacts: Path) -> Looking:
    return Looking(tmp_path / "state", artifacts)


def test_a_profile_counts_every_record_of_a_version_once(looking: Looking, version: str) -> None:
    asked = predictions(version, 450, seed=2)
    rejected = predictions("", 3, seed=3, status="rejected", features=None)
    unknown = predictions("springs-000000000000", 5, seed=4)
    nobody = predictions("", 7, seed=5, status="deferred")
    read = looking.codecs["profile"].read
    found = [read(value) for value in looking.profiled(asked + rejected + unknown + nobody)]
    assert sum(one["rejected"] for one in found) == 3
    found = [one for one in found if one["version"]]
    assert {one["version"] for one in found} == {version}
    assert {one["source"] for one in found} == {"springs.predictions/0"}
    assert sum(one["records"] for one in found) == 450
    counts = [Counts.of(json.loads(one["counts"])) for one in found]
    assert sum(one.records for one in counts) == 450
    assert found[0]["event_from"] == START
    assert max(one["event_to"] or 0 for one in found) == START + 449 * STEP_MS


def test_shadows_are_counted_and_what_is_unreadable_is_set_aside(
    looking: Looking, version: str
) -> None:
    (value,) = looking.profiled(predictions(version, 10, seed=2, role="shadow"), "shadows")
    assert looking.codecs["profile"].read(value)["role"] == "shadow"
    outputs = by_topic(looking.profiles(batch_of("springs.shadows", [b"?"])).outputs)
    ((_, letter, _),) = outputs["dead-letters"]
    assert looking.codecs["dead_letter"].read(letter)["stage"] == "profile"
    # Of predictions the tally tells.
    assert looking.profiles(batch_of("springs.predictions", [b"?"])).outputs == []


def shift(looking: Looking, version: str) -> RecordBatch:
    """Profiles of springs as in training, and of wider ones after them."""
    refused = {"status": "rejected", "reason": "undecodable: ?", "features": None, "version": ""}
    asked = predictions(version, 4_000, seed=2)
    asked[::100] = [{**one, **refused} for one in asked[::100]]
    values = looking.profiled(asked)
    values += looking.profiled(predictions(version, 2_000, seed=3, wider=1.5, first=4_000))
    return batch_of(looking.drifts.topic, values)


def test_what_shifted_is_found_once_and_told_with_its_evidence(
    looking: Looking, version: str
) -> None:
    (found,) = looking.look(shift(looking, version))
    assert (found["kind"], found["subject"], found["feature"]) == ("data", "width", "width")
    assert (found["version"], found["role"]) == (version, "champion")
    assert found["value"] >= found["threshold"]
    assert abs(found["since"] - (START + 4_000 * STEP_MS)) < 500 * STEP_MS
    assert found["reference_size"] > 1_000
    assert found["effect"] in found["message"]
    evidence = json.loads(found["evidence"])
    assert len(evidence["reference"]) == len(evidence["window"]) == len(evidence["edges"]) + 1
    assert evidence["window"][-1] > evidence["reference"][-1]


def test_refused_requests_are_found_by_the_field_that_is_wrong(
    looking: Looking, version: str
) -> None:
    asked = predictions(version, 3_000, seed=2)
    bad = {
        "status": "rejected",
        "reason": "invalid: width is -3.0, below 0 mm",
        "features": None,
        "version": "",
        "role": "none",
    }
    for i in range(1_500, 3_000, 5):
        asked[i] |= bad
    values = looking.profiled(asked)
    told = [looking.codecs["profile"].read(value) for value in values]
    assert sum(one["rejected"] for one in told) == 300
    assert sum(one["rejected_by"].get("width", 0) for one in told) == 300
    (found,) = looking.look(batch_of(looking.drifts.topic, values))
    assert (found["kind"], found["subject"], found["version"]) == ("schema", "width", version)
    assert (found["role"], found["alerting"]) == ("champion", True)
    assert "refused for width" in found["message"]


def test_a_restart_anywhere_finds_the_same(tmp_path: Path, artifacts: Path, version: str) -> None:
    whole = Looking(tmp_path / "whole", artifacts)
    batch = shift(whole, version)
    expected = whole.look(batch)
    assert len(expected) == 1
    drawn = np.random.default_rng(0)
    for attempt in range(6):
        looking = Looking(tmp_path / str(attempt), artifacts)
        cuts = np.sort(drawn.choice(np.arange(1, len(batch)), 4, replace=False)).tolist()
        found = []
        for first, last in zip([0, *cuts], [*cuts, len(batch)], strict=True):
            found += looking.look(part_of(batch, first, last), save=bool(drawn.random() < 0.5))
            looking.restart(_before(batch, last))
        assert [{**one, "detected_at": 0} for one in found] == [
            {**one, "detected_at": 0} for one in expected
        ]
        looking.stores.close()


def test_what_weir_did_not_write_stops_nothing(looking: Looking, version: str) -> None:
    (good,) = looking.profiled(predictions(version, 10, seed=2))
    codec = looking.codecs["profile"]
    profile = codec.read(good)
    counts = json.loads(profile["counts"])
    strange = [
        {**profile, "counts": "no JSON"},
        {**profile, "counts": "{}"},
        {**profile, "version": "another"},
    ]
    other_shape = {**profile, "counts": json.dumps({**counts, "cells": [1, 2]})}
    values = [b"?", None, *map(codec.write, strange), codec.write(other_shape), good]
    outputs = by_topic(looking.drifts(batch_of(looking.drifts.topic, values)).outputs)
    assert len(outputs["dead-letters"]) == 5
    assert set(outputs) == {"dead-letters"}


def test_only_so_many_versions_are_looked_at_the_least_recent_goes(
    looking: Looking, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = looking.references.of(version)
    names = [f"springs-{i}" for i in range(drifts_module.MOST_VERSIONS + 2)]
    for name in names:
        looking.references._known[name] = type(reference)(
            Springs, name, load_profile(looking.references._artifacts / version, KEY)
        )
        values = looking.profiled(predictions(name, 300, seed=2))
        looking.look(batch_of(looking.drifts.topic, values), save=True)
    assert list(looking.drifts._families) == names[2:]
    looking.drifts.close()
    looking.drifts.open()
    assert list(looking.drifts._families) == names[2:]


def test_a_profile_that_was_changed_is_refused(tmp_path: Path, artifacts: Path) -> None:
    assert Springs.history is not None
    info = save_bundle(tmp_path, Springs, train(Springs, Springs.history(), "first").contents, KEY)
    assert load_profile(info.folder, KEY)["rows"] > 0
    with pytest.raises(BundleError, match="signature"):
        load_profile(info.folder, b"another key")
    path = info.folder / "profile.json"
    path.write_text(path.read_text().replace("0", "1", 1))
    with pytest.raises(BundleError, match="SHA-256"):
        load_profile(info.folder, KEY)
    now = [0]
    references = References(Springs, tmp_path, KEY, lambda: now[0])
    assert references.of(info.id) is None
    path.write_bytes((artifacts / info.id / "profile.json").read_bytes())
    assert references.of(info.id) is None  # not looked at again yet
    now[0] += RETRY_MS
    assert references.of(info.id) is references.of(info.id) is not None


REFUSED = {
    "status": "rejected",
    "reason": "invalid: width is -3.0, below 0 mm",
    "features": None,
    "version": "",
    "role": "none",
}


@pytest.mark.parametrize("at", [-(2**62), -1, START + 10**12, 2**62])
def test_requests_that_are_all_refused_from_the_first_one_on_alert_and_tell_no_event_time(
    looking: Looking, version: str, at: int
) -> None:
    """One that is refused for its event time has its record's, which a producer sets."""
    bad = [one | REFUSED | {"event_time": at} for one in predictions(version, 600, seed=2)]
    batch = batch_of(looking.drifts.topic, looking.profiled(bad))
    (found,) = looking.look(batch)
    assert (found["kind"], found["subject"], found["since"]) == ("schema", "width", None)
    assert found["window_from"] == found["window_to"] == START
    assert "before any event time is known" in found["message"]
    read = looking.codecs["drift"]
    assert triggered("drifts", b"", read.write(found), read, Policies(Springs)) is None
    decider = Decider("springs", Alerts(), ["tumbling_1d"], START, 0)
    told = decider.see("drifts", found, START, "drifts/0/0") + decider.tick(START + 7 * DAY_MS)
    assert told
    assert {notice.kind for notice in told} == {"drift"}


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory, artifacts: Path) -> list[Row]:
    """Of springs as in training and of wider ones, of those with truths, and of refused ones."""
    looking = Looking(tmp_path_factory.mktemp("profiles"), artifacts)
    (folder,) = artifacts.iterdir()
    usual = predictions(folder.name, 600, seed=2)
    refused = [one | REFUSED for one in usual]
    values = looking.profiled(usual)
    values += looking.profiled(predictions(folder.name, 600, seed=3, wider=2.0))
    values += looking.profiled(refused)
    values += looking.profiled([{**one, "event_time": 2**62} for one in refused])
    known = ("request_id", "event_time", "status", "answer", "probability", "gate_decision")
    known += ("version", "role", "dataset_id", "features", "predicted_at")
    more = {"known_at": START, "joined_at": START, "source": "system", "revision": 0}
    outcomes = [{name: one[name] for name in known} | more for one in usual]
    written = [
        looking.codecs["outcome"].write({**one, "truth": at % 3 == 0})
        for at, one in enumerate(outcomes)
    ]
    counted = looking.profiles(batch_of("springs.outcomes", written)).outputs
    values += [value for _, value, _ in by_topic(counted)["profiles"]]
    looking.stores.close()
    return [Row(value) for value in values]


@settings(max_examples=30)
@given(st.data())
def test_whatever_comes_first_a_restart_finds_the_same(
    artifacts: Path, profiles: list[Row], data: st.DataObject
) -> None:
    history = data.draw(histories({"profiles": st.sampled_from(profiles)}, least=10, most=40))
    clock = itertools.count(START, drifts_module.SAVE_EVERY_MS // 3)
    names = codecs(Springs)
    references = References(Springs, artifacts, KEY, lambda: START)
    make = lambda stores: Drifts(Springs, names, references, stores, lambda: next(clock))  # noqa: E731
    found = [
        [{**names["drift"].read(value), "detected_at": 0} for value in play.of("drifts")]
        for play in lives(
            history, Springs.name, names["dead_letter"], make, make(Stores(Path())).stage
        )
    ]
    assert found[0] == found[1]
    ids = [one["drift_id"] for one in found[0]]
    assert len(set(ids)) == len(ids)
    assert all(one["window_to"] < START + 10**9 for one in found[0])
