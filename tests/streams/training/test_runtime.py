"""What serves a version's model: chosen as it is registered, and checked as it is loaded."""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression

from streams.bundle import MANIFEST, ONNX, BundleError, load_bundle, save_bundle
from streams.manifest import Contents
from streams.task import Task
from streams.training import runtime
from streams.training.data import prepare
from streams.training.runtime import with_runtime
from streams.training.train import train
from tests.small_tasks import TUMOUR, tumour_task, tumours

KEY = b"a test's key"


@lru_cache
def contents(task_name: str = "trees") -> tuple[Task, Contents]:
    task = tumour_task(candidates={task_name: TUMOUR.candidates[task_name]})
    return task, train(task, tumours(), "first").contents


class Own(LogisticRegression):  # type: ignore[misc]
    """An estimator that nobody knows how to convert."""


def timed(onnx: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if ONNX took this many microseconds, and scikit-learn ten."""

    def measure(versions: Any, rows: Any) -> dict[str, dict[str, float]]:
        assert set(versions) == {"scikit-learn", "onnx"}
        return {"20": {"scikit-learn": 10.0, "onnx": onnx}}

    monkeypatch.setattr(runtime, "measure", measure)


@pytest.mark.parametrize(("micros", "chosen"), [(5.0, "onnx"), (9.5, "scikit-learn")])
def test_the_faster_form_serves_and_answers_the_same(
    micros: float, chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(micros, monkeypatch)
    task, plain = contents()
    made = with_runtime(task, plain, tumours())
    assert made.runtime["chosen"] == chosen
    assert made.runtime["parity"]["largest"] < 1e-12
    info = save_bundle(tmp_path, task, made, KEY)
    assert ONNX in info.manifest["files"]
    assert info.manifest["runtime"]["share_of_time"] == pytest.approx(micros / 10)
    version = load_bundle(info.folder, task, KEY)
    assert version.runtime == chosen
    rows = prepare(task, tumours()).frame
    bare = load_bundle(save_bundle(tmp_path / "bare", task, plain, KEY).folder, task, KEY)
    assert bare.runtime == "scikit-learn"
    one, other = version.predict(rows), bare.predict(rows)
    assert (one.answer == other.answer).all()
    assert one.probability == pytest.approx(other.probability, abs=1e-12)


def test_both_forms_are_measured() -> None:
    task, plain = contents()
    made = with_runtime(task, plain, tumours())
    assert set(made.runtime["microseconds"]) == {"20", "500"}
    assert all(us > 0 for one in made.runtime["microseconds"].values() for us in one.values())
    assert made.onnx == with_runtime(task, plain, tumours()).onnx


def test_what_has_no_onnx_form_is_served_by_scikit_learn_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, plain = contents("linear")
    model, own = deepcopy(plain.model), Own()
    vars(own).update(vars(model.steps[-1][1]))
    model.steps[-1] = ("own", own)
    made = with_runtime(task, replace(plain, model=model), tumours())
    assert made.onnx is None
    assert made.runtime["why"].startswith("no ONNX form: ")
    monkeypatch.setattr(runtime, "_libraries", lambda: None)
    made = with_runtime(task, plain, tumours())
    assert made.runtime == {
        "chosen": "scikit-learn",
        "why": "the packages of weir[onnx] are not installed",
    }


def test_a_worker_without_onnxruntime_serves_by_scikit_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(1.0, monkeypatch)
    task, plain = contents()
    folder = save_bundle(tmp_path, task, with_runtime(task, plain, tumours()), KEY).folder
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "streams.portable.session", raising=False)
    assert load_bundle(folder, task, KEY).runtime == "scikit-learn"


def test_an_onnx_file_that_was_changed_or_is_another_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(1.0, monkeypatch)
    task, plain = contents()
    made = with_runtime(task, plain, tumours())
    folder = save_bundle(tmp_path, task, made, KEY).folder
    data = (folder / ONNX).read_bytes()
    (folder / ONNX).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BundleError, match="SHA-256"):
        load_bundle(folder, task, KEY)
    (folder / ONNX).unlink()
    with pytest.raises(BundleError, match="missing"):
        load_bundle(folder, task, KEY)
    # Signed, but of another model: the sample rows tell.
    half = train(task, tumours().head(300), "second").contents
    other = with_runtime(task, half, tumours())
    wrong = save_bundle(tmp_path / "wrong", task, replace(made, onnx=other.onnx), KEY).folder
    with pytest.raises(BundleError, match="sample rows give another"):
        load_bundle(wrong, task, KEY)
    broken = save_bundle(tmp_path / "broken", task, replace(made, onnx=b"no ONNX"), KEY).folder
    with pytest.raises(BundleError, match=r"model\.onnx: it does not load"):
        load_bundle(broken, task, KEY)
    assert json.loads((broken / MANIFEST).read_text())["runtime"]["chosen"] == "onnx"
