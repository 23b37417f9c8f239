"""MLflow says what the topic says, whatever crashes: the plan in memory, and MLflow's own store."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.projection.converge import converge
from services.projection.facts import Found, run, wanted
from services.projection.places import found, open_store
from services.projection.plan import (
    Describe,
    DropRun,
    DropVersion,
    Finish,
    LogData,
    MakeExperiment,
    MakeModel,
    MakeVersion,
    Seen,
    SeenRun,
    SeenVersion,
    SetAlias,
    SetDescribed,
    SetMark,
    SetTag,
    StartRun,
    Upload,
    Wanted,
    Write,
    differences,
    plan,
)
from services.projection.store import Store
from streams.bundle import sign
from streams.roles import ModelRecord, Role, Roles, fold
from streams.settings import Settings

ROLES: Sequence[Role] = ("champion", "canary", "shadow", "candidate", "archived", "rejected")


KINDS = (
    *(MakeExperiment, MakeModel, StartRun, MakeVersion, SetAlias, SetTag, SetMark),
    *(Describe, LogData, Upload, Finish, SetDescribed),
)
"""All that a projection writes where nobody else does."""


class Stopped(Exception):
    """The process was killed here."""


def record(version: str, role: Role = "champion", **changes: object) -> ModelRecord:
    made = ModelRecord(
        version=version,
        role=role,
        changed_at=1_700_000_000_000,
        reason=f"it is {role}",
        event_id=f"e-{version}",
        bundle=version,
        sha256="0" * 64,
        dataset_id="ds-0123456789ab",
        rows=100,
        data_from=0,
        data_to=1_600_000_000_000,
        metrics={"log_loss": 0.5},
        changed_by="trainer",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def means(records: Sequence[ModelRecord]) -> Wanted:
    return wanted(fold(records), len(records), lambda one: run(one, Found({"candidate": "trees"})))


@dataclass
class Memory:
    """What MLflow would say after some writes: numbers and run ids never come again."""

    seen: Seen = field(default_factory=Seen)
    made: int = 0

    def see(self) -> Seen:
        return self.seen

    def apply(self, write: Write, wanted: Wanted) -> None:
        seen = self.seen
        runs, versions = dict(seen.runs), dict(seen.versions)
        aliases = dict(seen.aliases)
        match write:
            case MakeExperiment():
                seen = replace(seen, experiment=True)
            case MakeModel():
                seen = replace(seen, model=True)
            case StartRun(version):
                self.made += 1
                runs[version] = (*runs.get(version, ()), SeenRun(f"run{self.made:03}"))
            case DropRun(version, gone):
                runs[version] = tuple(each for each in runs[version] if each.id != gone)
            case MakeVersion(version, of):
                self.made += 1
                one = SeenVersion(self.made, of, dict(wanted.entries[version].tags))
                versions[version] = (*versions.get(version, ()), one)
            case DropVersion(version, number):
                versions[version] = tuple(v for v in versions[version] if v.number != number)
                aliases = {a: n for a, n in aliases.items() if n != number}
            case SetTag(version, number, key, value):
                versions[version] = tuple(
                    replace(v, tags=_with(v.tags, key, value)) if v.number == number else v
                    for v in versions[version]
                )
            case SetAlias(alias, at):
                aliases = {**aliases, alias: at} if at is not None else _without(aliases, alias)
            case SetMark(as_of):
                seen = replace(seen, as_of=as_of)
            case SetDescribed(version, of, digest):
                runs[version] = tuple(
                    replace(each, described=digest) if each.id == of else each
                    for each in runs[version]
                )
        self.seen = replace(seen, runs=runs, versions=versions, aliases=aliases)


def _with(tags: object, key: str, value: str | None) -> dict[str, str]:
    found = {**tags, key: value}  # type: ignore[dict-item]
    return {name: text for name, text in found.items() if text is not None}


def _without(aliases: dict[str, int], alias: str) -> dict[str, int]:
    return {name: number for name, number in aliases.items() if name != alias}


def stop_after(writes: int) -> object:
    """Something to call after each write: the process is killed after so many."""
    left = writes

    def after(write: Write) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise Stopped

    return after


moves = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(ROLES), st.integers(1, 30)), max_size=8
)


@given(moves)
def test_wherever_it_is_stopped_and_whatever_the_topic_says_by_then_it_ends_the_same(
    moved: list[tuple[str, Role, int]],
) -> None:
    mlflow = Memory()
    records = []
    for version, role, writes in moved:
        records.append(record(version, role, reason=f"move {len(records)}"))
        try:
            converge(mlflow, means(records), stop_after(writes))  # type: ignore[arg-type]
        except Stopped:
            continue
    said = means(records)
    assert converge(mlflow, said) == {}
    assert plan(said, mlflow.see()) == []
    assert differences(said, mlflow.see()) == []
    roles = fold(records)
    assert {v: len(ones) for v, ones in mlflow.seen.versions.items()} == dict.fromkeys(
        roles.records, 1
    )
    numbers = {v: ones[0].number for v, ones in mlflow.seen.versions.items()}
    champion = roles.champion
    assert mlflow.seen.aliases.get("champion") == (champion and numbers[champion.version])
    for version, (one,) in mlflow.seen.versions.items():
        assert one.tags["weir.role"] == roles.role(version)


def test_a_second_run_or_model_version_is_taken_away() -> None:
    mlflow, said = Memory(), means([record("a")])
    converge(mlflow, said)
    mlflow.apply(StartRun("a"), said)
    mlflow.apply(MakeVersion("a", "run003"), said)
    assert len(differences(said, mlflow.see())) == 2
    converge(mlflow, said)
    assert differences(said, mlflow.see()) == []
    assert [one.number for one in mlflow.seen.versions["a"]] == [2]


def test_what_the_topic_holds_no_more_has_no_role_and_no_alias() -> None:
    mlflow = Memory()
    converge(mlflow, means([record("a"), record("b", "shadow")]))
    left = means([record("a")])
    assert differences(left, mlflow.see()) == [
        "the alias b is model version 4 in MLflow; in the topic it is no version",
        "the alias shadow is model version 4 in MLflow; in the topic it is no version",
        "b: its weir.role is 'shadow' in MLflow and 'none' in the topic",
    ]
    converge(mlflow, left)
    assert mlflow.seen.aliases.keys() == {"a", "champion"}


def test_a_bundle_that_cannot_be_brought_there_keeps_no_role_back() -> None:
    class Refusing(Memory):
        def apply(self, write: Write, wanted: Wanted) -> None:
            if isinstance(write, SetDescribed) and write.version == "a":
                raise OSError("no space left")
            super().apply(write, wanted)

    mlflow, said = Refusing(), means([record("a"), record("b")])
    assert converge(mlflow, said) == {"a": "OSError: no space left"}
    assert mlflow.seen.as_of == 2
    assert mlflow.seen.aliases["champion"] == mlflow.seen.versions["b"][0].number
    assert mlflow.seen.runs["b"][0].described


def test_a_run_tells_what_manifest_and_journal_say() -> None:
    manifest = {
        "candidate": "trees",
        "recipe": "3",
        "seeds": {"task": 7},
        "gate": {"threshold": 0.3, "test": {"auc": 0.7}, "why_none": ""},
        "verdict": {"accepted": True, "reason": "better", "p": 0.01},
        "task": {"kind": "binary", "features": [{"name": "x", "type": "Number"}]},
        "libraries": {"numpy": "2.4.6"},
    }
    steps = [{"step": "rows", "began_at": 5, "seconds": 1.5, "facts": {}}]
    told = run(record("a"), Found(manifest, "folder", "journal", steps))
    assert told.params["seeds.task"] == "7"
    assert told.metrics == {
        "log_loss": 0.5,
        "gate.threshold": 0.3,
        "gate.test.auc": 0.7,
        "verdict.p": 0.01,
        "seconds.rows": 1.5,
    }
    assert told.tags["weir.verdict"] == "better"
    assert told.started_at == 5
    assert json.loads(told.data.schema)["mlflow_colspec"][0]["type"] == "double"


KEY = b"a key of tests"


@pytest.fixture
def task() -> str:
    return f"t_{uuid.uuid4().hex[:8]}"


def bundle(folder: Path, version: str) -> Found:
    place = folder / version
    place.mkdir(exist_ok=True)
    files = {"model.skops": b"a model", "profile.json": b"{}"}
    manifest = {
        "id": version,
        "candidate": "trees",
        "task": {"kind": "binary", "features": []},
        "gate": {"threshold": None},
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    files["manifest.json"] = json.dumps(manifest).encode()
    files["manifest.sig"] = sign(files["manifest.json"], KEY).encode()
    for name, data in files.items():
        (place / name).write_bytes(data)
    return Found(manifest, str(place))


def assert_says(store: Store, task: str, roles: Roles) -> None:
    """Asked as any client of MLflow asks, not as the projection does."""
    client = store._client
    assert len(client.search_model_versions(f"name = '{task}'")) == len(roles.records)
    experiment = client.get_experiment_by_name(task)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == len(roles.records)
    for version in roles.records:
        found = client.get_model_version_by_alias(task, version)
        assert found.tags["weir.role"] == roles.role(version)
        assert found.tags["weir.reason"] == roles.records[version].reason
        told = client.get_run(found.run_id)
        assert told.data.params["candidate"] == "trees"
        assert told.data.metrics["log_loss"] == 0.5
        assert told.inputs.dataset_inputs[0].dataset.digest == "ds-0123456789ab"
        assert [f.path for f in client.list_artifacts(found.run_id, "bundle")] == [
            "bundle/manifest.json",
            "bundle/manifest.sig",
            "bundle/model.skops",
            "bundle/profile.json",
        ]
    for role in ("champion", "shadow"):
        with_role = [v for v in roles.records if roles.role(v) == role]
        aliases = client.get_registered_model(task).aliases
        assert (role in aliases) == bool(with_role)
        if with_role:
            named = client.get_model_version_by_alias(task, role)
            assert named.tags["weir.version"] == with_role[-1]


def test_killed_after_each_of_its_writes_the_projection_ends_with_what_the_topic_says(
    mlflow_home: Path, task: str, tmp_path: Path
) -> None:
    """After each write, the first time it is made, the process is gone; the next looks again."""
    topic: list[ModelRecord] = []
    stopped: set[Write] = set()

    def stop_once_after(write: Write) -> None:
        if write not in stopped:
            stopped.add(write)
            raise Stopped

    for moved in (
        [record("a")],
        [record("b", replaces="a", reason="better"), record("c", "shadow")],
        [record("a", reason="b was worse", changed_by="ada"), record("b", "archived")],
    ):
        topic += moved
        roles = fold(topic)
        said = wanted(roles, len(topic), lambda one: run(one, bundle(tmp_path, one.version)))
        while True:
            store = open_store(Settings(home=mlflow_home, signing_key=KEY.decode()), task)
            try:
                converge(store, said, stop_once_after)
            except Stopped:
                continue
            break
        assert differences(said, store.see()) == []
        assert_says(store, task, roles)
    assert {type(write) for write in stopped} >= {*KINDS}


def test_stopped_anywhere_in_a_move_it_follows_the_next_move(
    mlflow_home: Path, task: str, tmp_path: Path
) -> None:
    store = open_store(Settings(home=mlflow_home, signing_key=KEY.decode()), task)
    topic = [record("a"), record("b")]
    for writes in range(1, 9):
        topic.append(record("ab"[writes % 2], reason=f"move {writes}"))
        said = wanted(fold(topic), len(topic), lambda one: run(one, bundle(tmp_path, one.version)))
        with pytest.raises(Stopped):
            converge(store, said, stop_after(writes if writes < 5 else 1))  # type: ignore[arg-type]
    converge(store, said)
    assert_says(store, task, fold(topic))


def test_what_a_record_names_is_told_of_only_as_it_was_signed(tmp_path: Path) -> None:
    """A record of anybody's names a folder of keys, a link to it, and a bundle of another key."""
    settings = Settings(home=tmp_path, signing_key=KEY.decode())
    settings.artifacts.mkdir()
    good = bundle(settings.artifacts, "a")
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "manifest.json").write_text("{}")
    (keys / "signing").write_text("secret")
    (settings.artifacts / "linked").symlink_to(keys)
    (settings.artifacts / "..b").symlink_to(keys)
    bundle(settings.artifacts, "extra")
    (settings.artifacts / "extra" / "signing").symlink_to(keys / "signing")

    def told(version: str, folder: str) -> str:
        return found(settings, replace(record(version), bundle=folder)).bundle

    assert told("a", "a") == good.bundle
    for folder in (str(keys), "../keys", "linked", "..b", "", ".", "..", "extra", "a/../a"):
        assert told("a", folder) == told(folder, folder) == ""
