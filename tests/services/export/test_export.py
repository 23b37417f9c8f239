"""Exports: a folder that answers without Weir, and smaller forms with what they lose."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.export import edge
from services.export.forms import in_int8, rounded, taught, with_fewer_trees
from services.export.judge import Form, judge
from services.export.rows import of_history, of_source
from services.scoring.inputs import TableError
from services.scoring.sources import open_file
from streams.frame import columns_of
from streams.portable.convert import convert
from streams.portable.session import Session
from streams.training.data import Dataset, prepare
from streams.training.fitting import fit
from streams.training.gate import estimator as gate_estimator
from streams.version import Version
from tests.small_tasks import DIABETES, TUMOUR, WINE

TASKS = {"tumour": TUMOUR, "wine": WINE, "diabetes": DIABETES}
CANDIDATE = {"tumour": "trees", "wine": "linear", "diabetes": "forest"}

ALONE = """
import sys
ALLOWED = {"numpy", "onnxruntime"}
class Only:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and top not in sys.stdlib_module_names and top != "runner":
            raise ImportError(f"{name} is not allowed here")
sys.meta_path.insert(0, Only())
sys.path.insert(0, sys.argv[1])
import json, pathlib, runner
rows = json.load(sys.stdin)
print(json.dumps(runner.Runner(pathlib.Path(sys.argv[1])).answer(rows)))
assert not {"sklearn", "pandas", "streams"} & set(sys.modules)
"""


@lru_cache
def data(name: str) -> Dataset:
    history = TASKS[name].history
    assert history is not None
    return prepare(TASKS[name], history())


@lru_cache
def version(name: str) -> Version:
    """Of the first 60 % of the rows, with a gate that doubts every third."""
    task, rows = TASKS[name], data(name)
    n = int(len(rows) * 0.6)
    frame, target = rows.frame.iloc[:n], rows.target[:n]
    model = fit(task, task.candidates[CANDIDATE[name]], frame, target)
    gate = fit(task, gate_estimator(task), frame, np.arange(n) % 3 == 0)
    manifest: dict[str, Any] = {
        "id": f"{name}-1",
        "dataset": {"id": "d", "to": int(rows.times_ms[n - 1])},
        "vocabularies": rows.vocabularies,
        "decision_threshold": 0.4,
        "gate": {"threshold": 0.34},
    }
    return Version(task, manifest, model, gate, samples=rows.frame.head(16))


def exported(name: str) -> bytes:
    one = version(name)
    return convert(one.task, one.model, data(name).frame.head(16), one.gate)


@pytest.mark.parametrize("name", TASKS)
def test_the_folder_answers_alone_as_the_version_does(name: str, tmp_path: Path) -> None:
    one, task = version(name), TASKS[name]
    folder = tmp_path / "edge"
    classes = list(Session(exported(name)).classes_)
    sizes = edge.write(folder, exported(name), edge.facts(task, one, "onnx", classes))
    assert set(sizes) == {"model.json", "model.onnx", "runner.py"}
    assert len((folder / "runner.py").read_text().splitlines()) <= 50
    history = task.history() if task.history else None
    assert history is not None
    table = history[[f.name for f in task.inputs]].astype(object).where(history.notna(), None)
    rows = [dict(row) for row in table.to_dict("records")]
    for row in rows[:3]:  # a null may be left out, and a name that training never met is missing
        row.update({key: "never met" for key in ("shape",) if key in row})
        for key in [key for key, value in row.items() if value is None]:
            del row[key]
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(folder)],
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    full = [{feature.name: row.get(feature.name) for feature in task.inputs} for row in rows]
    frame = one.frame(columns_of(task.inputs, pd.DataFrame(full)))
    wanted, scores = one.predict(frame), one.gate_scores(frame)
    assert scores is not None
    assert one.threshold is not None
    held = scores >= one.threshold
    assert 0 < held.sum() < len(held)
    for at, answer in enumerate(answers):
        if held[at]:
            assert answer["status"] == "deferred"
            assert answer["answer"] == task.fallback
            assert answer["gate_score"] == pytest.approx(scores[at], abs=1e-12)
            continue
        assert answer["status"] == "answered"
        assert answer["answer"] == pytest.approx(wanted.answer[at])
        if wanted.probability is not None:
            assert answer["probability"] == pytest.approx(wanted.probability[at], abs=1e-12)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to-you.txt").touch()
    told = edge.facts(TUMOUR, version("tumour"), "onnx", [False, True])
    with pytest.raises(edge.EdgeError, match=r"holds to-you\.txt"):
        edge.write(tmp_path / "letters", b"", told)
    edge.write(tmp_path / "new", b"one", told)
    assert edge.write(tmp_path / "new", b"another", told)["model.onnx"] == len(b"another")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letters", "new"]


@pytest.mark.parametrize("name", TASKS)
def test_smaller_forms_are_smaller_and_told_with_what_they_lose(name: str) -> None:
    one, task = version(name), TASKS[name]
    rows = of_history(task, one)
    assert rows.held_out
    assert rows.truth is not None
    assert len(rows.taught) + len(rows.judged) == len(data(name))
    whole, few = exported(name), data(name).frame.head(16)
    student = taught(task, one, rows.taught)
    forms = [
        Form("scikit-learn", one),
        Form.onnx("onnx", one, whole),
        Form.onnx("float32", one, rounded(whole)),
        Form.onnx("distilled", one, convert(task, student, few, one.gate)),
    ]
    fewer = with_fewer_trees(one.model, 0.5)
    if fewer is not None:
        forms.append(Form.onnx("half", one, convert(task, fewer, few, one.gate)))
    lines = {line["form"]: line for line in judge(forms, rows.judged, rows.truth)}
    loss = "mae" if name == "diabetes" else "log_loss"
    exact = lines["scikit-learn"][loss]
    assert lines["onnx"][loss] == pytest.approx(exact, abs=1e-12)
    assert lines["onnx"]["changed"] == pytest.approx(0, abs=1e-9)
    assert lines["float32"]["bytes"] < lines["onnx"]["bytes"]
    assert lines["float32"][loss] == pytest.approx(exact, rel=1e-2)
    assert ("half" in lines) == (name != "wine")
    if fewer is not None:
        assert lines["half"]["bytes"] < lines["onnx"]["bytes"]
    # The student has learned something: it is nearer to its teacher than what ignores the input.
    if name == "diabetes":
        taught_by = one.predict(rows.judged).answer
        spread = np.abs(taught_by - taught_by.mean()).mean()
        assert lines["distilled"]["changed"] < spread
    else:
        assert lines["distilled"]["changed"] < 0.2
    # A student in ONNX answers as it does in scikit-learn.
    session = Session(convert(task, student, few))
    if name == "diabetes":
        assert session.predict(rows.judged) == pytest.approx(student.predict(rows.judged))
    else:
        assert session.predict_proba(rows.judged) == pytest.approx(
            student.predict_proba(rows.judged), abs=1e-12
        )


def test_products_of_matrices_get_smaller_still() -> None:
    small = rounded(exported("wine"))
    least = in_int8(small)
    assert least is not None
    one, rows = version("wine"), data("wine").frame
    found = Form.onnx("int8", one, least).version.predict(rows)
    assert (found.answer == one.predict(rows).answer).mean() > 0.9
    kinds = {tensor.data_type for tensor in onnx.load_from_string(least).graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    assert in_int8(rounded(convert(TUMOUR, version("tumour").model, data("tumour").frame))) is None


def test_rounding_leaves_no_number_of_float64_inside() -> None:
    small = onnx.load_from_string(rounded(exported("tumour")))
    assert all(t.data_type != onnx.TensorProto.DOUBLE for t in small.graph.initializer)
    held = [a.t for node in small.graph.node for a in node.attribute if a.name == "nodes_splits"]
    assert [tensor.data_type for tensor in held] == [onnx.TensorProto.FLOAT]


def test_rows_of_a_file_have_truths_where_they_are_named(tmp_path: Path) -> None:
    history = TUMOUR.history() if TUMOUR.history else None
    assert history is not None
    shuffled = history.sample(frac=1, random_state=1)
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pandas(shuffled, preserve_index=False), path)
    rows = of_source(TUMOUR, version("tumour"), open_file(path))
    same = of_history(TUMOUR, version("tumour"))
    assert rows.held_out
    assert rows.truth is not None
    assert same.truth is not None
    assert (rows.truth == same.truth).all()
    assert rows.judged.equals(same.judged)
    few = tmp_path / "few.parquet"
    pq.write_table(pa.Table.from_pandas(shuffled.head(9), preserve_index=False), few)
    with pytest.raises(TableError, match="9 rows are too few"):
        of_source(TUMOUR, version("tumour"), open_file(few))
