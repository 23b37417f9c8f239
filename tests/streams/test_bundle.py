"""Bundles that load, and each kind that is refused, by the real loader on real files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from streams import skops_files
from streams.bundle import (
    ESTIMATOR,
    GATE,
    MANIFEST,
    MODEL,
    PROFILE,
    SIGNATURE,
    BundleError,
    folder_of,
    load_bundle,
    remove_learned,
    save_bundle,
    sign,
)
from streams.frame import columns_of
from streams.manifest import Contents
from streams.task import Number, Task
from streams.training.train import train
from tests.small_tasks import DIABETES, TUMOUR, WINE, tumour_task

KEY = b"the key of these tests"


@pytest.fixture(scope="session")
def contents() -> Contents:
    """One trained version with a gate."""
    assert TUMOUR.history is not None
    return train(TUMOUR, TUMOUR.history(), "event-1").contents


@pytest.fixture
def folder(contents: Contents, tmp_path: Path) -> Path:
    """A good bundle, to be damaged."""
    return save_bundle(tmp_path, TUMOUR, contents, KEY).folder


def edit(folder: Path, change: Callable[[dict[str, Any]], object], key: bytes = KEY) -> None:
    """Change the manifest and sign it again."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    change(manifest)
    data = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(data)
    (folder / SIGNATURE).write_text(sign(data, key))


def replace(folder: Path, name: str, data: bytes) -> None:
    """Put another file there, with a manifest that lists it rightly."""
    (folder / name).write_bytes(data)
    edit(folder, lambda m: m["files"].update({name: hashlib.sha256(data).hexdigest()}))


def refused(folder: Path, says: str, task: Task = TUMOUR, key: bytes = KEY) -> BundleError:
    with pytest.raises(BundleError, match=says) as caught:
        load_bundle(folder, task, key)
    assert "; " in str(caught.value)  # what to do stands after the reason
    return caught.value


@pytest.mark.parametrize("task", [TUMOUR, WINE, DIABETES], ids=lambda task: task.kind)
def test_a_saved_version_answers_as_it_did_at_training(task: Task, tmp_path: Path) -> None:
    assert task.history is not None
    trained = train(task, task.history(), "event-1").contents
    version = load_bundle(save_bundle(tmp_path, task, trained, KEY).folder, task, KEY)
    frame = version.frame(columns_of(task.features, task.history()))
    answers = version.predict(frame)
    if task.kind == "regression":
        np.testing.assert_allclose(answers.answer, trained.model.predict(frame), rtol=1e-9)
    else:
        raw = trained.model.predict_proba(frame)
        assert answers.probability is not None
        np.testing.assert_allclose(np.sort(answers.probability), np.sort(_best(task, raw)))
    if trained.gate is not None:
        expected = trained.gate.predict_proba(frame)[:, 1]
        np.testing.assert_allclose(version.gate_scores(frame), expected, rtol=1e-9)
    assert version.threshold == trained.threshold
    assert (version.id, version.dataset_id) == (trained.id, trained.dataset["id"])


def _best(task: Task, raw: Any) -> Any:
    return raw[:, 1] if task.kind == "binary" else raw.max(axis=1)


def test_a_bundle_is_there_whole_or_not_at_all(contents: Contents, tmp_path: Path) -> None:
    info = save_bundle(tmp_path, TUMOUR, contents, KEY)
    assert [entry.name for entry in tmp_path.iterdir()] == [contents.id]
    names = {entry.name for entry in info.folder.iterdir()}
    assert names == {MODEL, GATE, ESTIMATOR, PROFILE, MANIFEST, SIGNATURE}


def test_an_estimator_that_could_not_be_loaded_leaves_nothing(
    contents: Contents, tmp_path: Path
) -> None:
    model = LogisticRegression()
    model.extra_ = Path  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="no bundle may hold"):
        save_bundle(tmp_path, TUMOUR, dataclasses.replace(contents, model=model), KEY)
    assert list(tmp_path.iterdir()) == []


def test_saving_again_keeps_a_good_bundle_and_replaces_a_bad_one(
    contents: Contents, tmp_path: Path
) -> None:
    first = save_bundle(tmp_path, TUMOUR, contents, KEY)
    again = save_bundle(tmp_path, TUMOUR, dataclasses.replace(contents, event_id="other"), KEY)
    assert again == first
    (first.folder / MODEL).unlink()
    assert save_bundle(tmp_path, TUMOUR, contents, KEY).sha256 == first.sha256
    load_bundle(first.folder, TUMOUR, KEY)


def test_the_same_contents_give_the_same_bytes(contents: Contents, tmp_path: Path) -> None:
    one = save_bundle(tmp_path / "one", TUMOUR, contents, KEY).folder
    other = save_bundle(tmp_path / "other", TUMOUR, contents, KEY).folder
    for file in one.iterdir():
        assert file.read_bytes() == (other / file.name).read_bytes(), file.name


@pytest.mark.parametrize("name", [MODEL, GATE, PROFILE])
def test_a_changed_file_is_refused(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    assert refused(folder, "SHA-256 is not what the manifest says").file == name


@pytest.mark.parametrize("name", [MODEL, GATE, PROFILE, MANIFEST, SIGNATURE])
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert refused(folder, "it is missing").file == name


@pytest.mark.parametrize("name", [MODEL, GATE, PROFILE, MANIFEST, SIGNATURE])
def test_a_truncated_file_is_refused(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    refused(folder, "SHA-256|signature")


def test_a_changed_manifest_is_refused(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(
        text.replace('"decision_threshold": 0.5', '"decision_threshold": 0.4')
    )
    refused(folder, "not by this deployment's key")


def test_a_bundle_of_another_key_is_refused(folder: Path) -> None:
    refused(folder, "not by this deployment's key", key=b"another")


def test_a_file_that_the_manifest_does_not_list_is_refused(folder: Path) -> None:
    (folder / "sitecustomize.py").write_text("print('run me')")
    assert refused(folder, "does not list it").file == "sitecustomize.py"


@pytest.mark.parametrize("name", ["../secrets.json", "/etc/passwd", "sub/model.skops"])
def test_a_manifest_that_names_files_elsewhere_is_refused(folder: Path, name: str) -> None:
    edit(folder, lambda m: m["files"].update({name: "0" * 64}))
    refused(folder, "it lists the files")


def test_a_link_is_refused_even_to_the_right_file(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / MODEL, tmp_path / "moved")
    (folder / MODEL).symlink_to(tmp_path / "moved")
    assert refused(folder, "cannot be read").file == MODEL
    (tmp_path / "link").mkdir()
    link = tmp_path / "link" / folder.name
    link.symlink_to(folder)
    refused(link, "it is a link")


def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(folder: Path) -> None:
    (folder / MODEL).unlink()
    os.mkfifo(folder / MODEL)
    assert refused(folder, "not a plain file").file == MODEL


def test_a_signed_bundle_with_an_unknown_type_is_refused(folder: Path) -> None:
    model = LogisticRegression()
    model.extra_ = Intruder()  # type: ignore[attr-defined]
    replace(folder, MODEL, skops.io.dumps(model))
    assert refused(folder, r"no bundle may hold: .*Intruder").file == MODEL
    assert not Intruder.made


class Intruder:
    made = False

    def __setstate__(self, state: object) -> None:
        Intruder.made = True


def test_a_signed_file_that_is_no_skops_file_is_refused(folder: Path) -> None:
    replace(folder, GATE, b"not a zip")
    assert refused(folder, "not a skops file").file == GATE


def test_a_model_that_answers_otherwise_than_at_training_is_refused(folder: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["samples"]["expected"]["probability"][0] += 1e-6

    edit(folder, change)
    refused(folder, "another probability than at training")


def test_a_model_that_does_not_answer_is_refused(folder: Path, contents: Contents) -> None:
    other = LogisticRegression().fit([[0.0], [1.0]], [False, True])
    replace(folder, MODEL, skops_files.dump(other))
    refused(folder, "does not answer its sample rows")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"features": [Number("radius")], "segments": []}, "features are not the task's"),
        ({"features": [*TUMOUR.features[1:], TUMOUR.features[0]]}, "their order differs"),
        ({"name": "other"}, "for binary task tumour, not binary other"),
        ({"target": WINE.target, "fallback": "cultivar-0"}, "not multiclass tumour"),
    ],
)
def test_a_bundle_of_another_task_is_refused(
    folder: Path, changes: dict[str, object], says: str
) -> None:
    refused(folder, says, task=tumour_task(**changes))


def test_a_task_may_change_what_does_not_concern_the_model(folder: Path) -> None:
    changed = tumour_task(segments=[], defer_budget=0.2, fallback=True)
    assert load_bundle(folder, changed, KEY).id == folder.name


def test_a_bundle_of_another_scikit_learn_is_refused_with_both_versions(folder: Path) -> None:
    edit(folder, lambda m: m["libraries"].update({"scikit-learn": "1.2.0"}))
    refused(folder, r"trained with scikit-learn 1\.2\.0, here is .* install that version")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(schema_version=99), "schema version is 99"),
        (lambda m: m.update(id="tumour-000000000000"), "in a folder named"),
        (lambda m: m.pop("task"), "not a manifest: KeyError"),
        (lambda m: m["gate"].update(threshold=None), "gate and threshold go together"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    edit(folder, change)
    refused(folder, says)


def test_an_empty_key_signs_and_checks_nothing(folder: Path) -> None:
    with pytest.raises(ValueError, match="set WEIR_SIGNING_KEY"):
        load_bundle(folder, TUMOUR, b"")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/etc", "a/b", "../a", "a\0", ".partial-x", "-", "a\n", "x" * 300]
)
def test_no_name_of_a_record_leads_out_of_the_artifacts(name: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no name of a version"):
        folder_of(tmp_path, name)


def test_only_what_was_learned_in_the_stream_is_removed(folder: Path) -> None:
    with pytest.raises(BundleError, match="no version that the learner made"):
        remove_learned(folder, KEY)
    edit(folder, lambda m: m.update(continual={"base": "x"}), b"another key")
    with pytest.raises(BundleError, match="signature"):
        remove_learned(folder, KEY)
    edit(folder, lambda m: m.update(continual={"base": "x"}))
    (folder / "somebody's").write_text("kept")

    remove_learned(folder, KEY)
    assert [path.name for path in folder.iterdir()] == ["somebody's"]
