"""What a version must pass before it answers, and what becomes of one that does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.columns import Columns
from streams.bundle import BundleError, save_bundle
from streams.cache import CachedVersion
from streams.frame import columns_of
from streams.loading import KEPT, WARM_ROWS, Loader, warm_up
from streams.manifest import Contents
from streams.refusals import FIRST_S, LONGEST_S, Refusals
from streams.roles import ModelRecord
from streams.training.train import train
from tests.small_tasks import TUMOUR
from tests.streams.tasks import task_of
from tests.streams.test_roles import record
from tests.streams.versions import Odd, Raises, TooFew, _data, version_of

KEY = b"the key of these tests"


@pytest.fixture(scope="module")
def contents() -> Contents:
    assert TUMOUR.history is not None
    return train(TUMOUR, TUMOUR.history(), "event-1").contents


@pytest.fixture
def saved(contents: Contents, tmp_path: Path) -> ModelRecord:
    """The record of a good bundle in `tmp_path`."""
    info = save_bundle(tmp_path, TUMOUR, contents, KEY)
    return replace(record(info.id), bundle=info.folder.name, sha256=info.sha256)


def recent() -> tuple[Columns, int]:
    assert TUMOUR.history is not None
    table = TUMOUR.history().head(300)
    return columns_of(TUMOUR.features, table), len(table)


def test_a_bundle_is_loaded_once_and_kept(saved: ModelRecord, tmp_path: Path) -> None:
    load = Loader(TUMOUR, tmp_path, KEY, recent)
    version = load(saved)
    assert version.id == saved.version
    shutil.rmtree(tmp_path / saved.bundle)
    assert load(saved) is version  # going back to it needs no store
    with pytest.raises(BundleError, match="missing"):
        load(replace(saved, bundle="elsewhere"))


def test_only_the_last_few_versions_are_kept(
    saved: ModelRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Loader(TUMOUR, tmp_path, KEY, lambda: None, cache_entries=10)
    first = load(saved)
    assert isinstance(first, CachedVersion)
    with monkeypatch.context() as patched:
        patched.setattr(load, "_load", lambda _: first)
        for number in range(KEPT):
            load(replace(saved, version=f"version-{number}"))
    assert load(saved) is not first


def test_a_record_names_the_bundle_by_its_hash(saved: ModelRecord, tmp_path: Path) -> None:
    load = Loader(TUMOUR, tmp_path, KEY, recent)
    with pytest.raises(BundleError, match="and the record names 00"):
        load(replace(saved, sha256="00"))
    with pytest.raises(BundleError, match="and the record names another"):
        load(replace(saved, version="another"))


def test_requests_that_a_version_cannot_take_keep_it_out(
    saved: ModelRecord, tmp_path: Path
) -> None:
    columns, n = recent()
    gone = next(iter(columns))
    few = {name: column for name, column in columns.items() if name != gone}
    with pytest.raises(BundleError, match="newest requests.*" + gone):
        Loader(TUMOUR, tmp_path, KEY, lambda: (few, n))(saved)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Raises(), "columns are missing"),
        (TooFew(), "1 answers to"),
        (Odd(above=20.0), "it has an answer to"),
    ],
)
def test_a_version_that_does_not_answer_is_not_warm(model: Any, said: str) -> None:
    task, table = task_of("binary"), _data()
    with pytest.raises(ValueError, match=said):
        warm_up(version_of(task, model=model), columns_of(task.features, table), len(table))


def test_the_newest_requests_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    version, asked = version_of(task_of("binary")), []
    predict = version.predict
    monkeypatch.setattr(
        version, "predict", lambda frame: (asked.append(len(frame)), predict(frame))[1]
    )
    table = _data(WARM_ROWS + 44)
    warm_up(version, columns_of(version.task.features, table), len(table))
    assert asked == [WARM_ROWS]


def refusals(clock: Callable[[], int] = lambda: 7) -> tuple[Refusals, Codec]:
    codec = Codec(TUMOUR.schemas()["alert"])
    return Refusals("tumour", codec, "w0", clock), codec


def look(of: Refusals, now: float, *refused: tuple[ModelRecord, str]) -> list[bool]:
    of.begin()
    new = [of.refuse(one, "the other goes on", why) for one, why in refused]
    of.end(now)
    return new


def test_a_refusal_is_told_once() -> None:
    of, codec = refusals()
    v1 = record("v1")
    assert look(of, 0.0, (v1, "broken")) == [True]
    assert look(of, 1.0, (v1, "broken")) == [False]
    told = of.tell()
    assert told is not None
    (output,) = told.outputs
    (alert,) = map(codec.read, output.values)
    assert output.topic == "tumour.alerts"
    assert (alert["kind"], alert["severity"], alert["raised_at"]) == ("refused", "critical", 7)
    assert "worker w0 refuses version v1 as champion, the other goes on: broken" in alert["message"]
    assert of.tell() is None
    # For another reason, or asked for again: told again.
    assert look(of, 2.0, (v1, "gone")) == [True]
    assert look(of, 2.0, (replace(v1, changed_at=1), "gone")) == [True]
    assert of.versions == ["v1"]
    assert look(of, 3.0) == []
    assert (of.versions, of.due(1e9)) == ([], False)
    assert look(of, 4.0, (v1, "gone")) == [True]


@given(looks=st.integers(1, 12))
def test_what_is_refused_is_tried_again_after_growing_pauses(looks: int) -> None:
    of, _ = refusals()
    now, pause = 100.0, FIRST_S
    for number in range(looks):
        look(of, now, (record("v1"), "broken"))
        if number:
            pause = min(2 * pause, LONGEST_S)
        assert not of.due(now + 0.99 * pause)
        assert of.due(now + pause)
        now += pause
    look(of, now, (record("v2"), "another one"))
    assert of.due(now + FIRST_S)
