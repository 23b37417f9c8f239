"""The manifest of a bundle: what it says, and whether a version may be made of it here."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import sklearn

from streams.declaration import declaration, describe_features, sha256_of
from streams.estimates.saved import Saved
from streams.frame import columns_of, frame
from streams.task import Task
from streams.version import Version

SCHEMA_VERSION = 1
"""Of the manifest; a reader refuses every other."""
PARITY = 1e-9
"""How far a loaded version's answers to the sample rows may be from those at training."""
SAMPLES = 16
"""Sample rows kept in a manifest."""
RETRAIN = "train a new version (weir retrain) or put an intact copy of the bundle there"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What training hands over to be saved.

    id: the version's; dataset: ``id``, ``rows``, ``from``, ``to`` (milliseconds since 1970);
    model, gate: fitted estimators; vocabularies: per Category feature;
    threshold: of the gate's score; calibration: of the estimator's probabilities
    (`streams.calibration`), None: none; metrics: on held-out time, by name; gate_metrics, profile:
    JSON data; samples: a few rows with the task's features as columns; seeds, libraries, event_id.
    onnx: the model's ONNX form; runtime: what serving is to ask, ``chosen`` ``scikit-learn`` or
    ``onnx``, and the measurement behind it (`streams.training.runtime`).
    """

    id: str
    dataset: Mapping[str, Any]
    candidate: str
    model: Any
    vocabularies: Mapping[str, Sequence[str]]
    samples: pd.DataFrame
    metrics: Mapping[str, float]
    profile: Mapping[str, Any]
    seeds: Mapping[str, int]
    libraries: Mapping[str, str]
    event_id: str
    decision_threshold: float = 0.5
    gate: Any | None = None
    threshold: float | None = None
    calibration: Mapping[str, Any] | None = None
    estimates: Saved | None = None
    gate_metrics: Mapping[str, Any] = field(default_factory=dict)
    onnx: bytes | None = None
    runtime: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


def build(task: Task, contents: Contents, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The manifest of a version as JSON data; ``files`` are all others of the bundle."""
    manifest: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "id": contents.id,
        "task": {
            "name": task.name,
            "kind": task.kind,
            "classes": task.classes,
            "features": describe_features(task),
            "declaration_sha256": sha256_of(declaration(task)),
        },
        "dataset": dict(contents.dataset),
        "candidate": contents.candidate,
        "decision_threshold": contents.decision_threshold,
        "calibration": None if contents.calibration is None else dict(contents.calibration),
        "vocabularies": {name: list(words) for name, words in contents.vocabularies.items()},
        "gate": {
            "threshold": contents.threshold,
            "defer_budget": task.defer_budget,
            **contents.gate_metrics,
        },
        "metrics": dict(contents.metrics),
        "seeds": dict(contents.seeds),
        "libraries": dict(contents.libraries),
        "created_from": contents.event_id,
        "runtime": dict(contents.runtime),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "samples": {"rows": _rows(task, contents.samples)},
        **contents.extra,
    }
    version = Version(task, manifest, contents.model, contents.gate, estimates=contents.estimates)
    manifest["samples"]["expected"] = _expected(version)
    return manifest


def refusal(manifest: Mapping[str, Any], task: Task) -> tuple[str, str] | None:
    """Why a version of ``task`` cannot be made of it here, and what to do; None if it can.

    Compared are names, types and order of the features: a task may change ranges and nulls, which
    serving checks, without a new version.
    """
    if manifest.get("schema_version") != SCHEMA_VERSION:
        found = manifest.get("schema_version")
        return f"its schema version is {found}, not {SCHEMA_VERSION}", RETRAIN
    trained = manifest["task"]
    if (trained["name"], trained["kind"]) != (task.name, task.kind):
        found = f"{trained['kind']} task {trained['name']}"
        return f"it is for {found}, not {task.kind} {task.name}", RETRAIN
    if trained["classes"] != task.classes:
        return f"its classes are {trained['classes']}, the task's are {task.classes}", RETRAIN
    theirs = [(f["name"], f["type"]) for f in trained["features"]]
    ours = [(f["name"], f["type"]) for f in describe_features(task)]
    if theirs != ours:
        changed = sorted({f"{name} ({kind})" for name, kind in set(theirs) ^ set(ours)})
        what = f"these differ: {', '.join(changed)}" if changed else "their order differs"
        return f"its features are not the task's: {what}", RETRAIN
    library = manifest["libraries"]["scikit-learn"]
    if library.split(".")[:2] != sklearn.__version__.split(".")[:2]:
        return (
            f"it was trained with scikit-learn {library}, here is {sklearn.__version__}: the same "
            "estimator may answer differently",
            "install that version, or train a new version (weir retrain)",
        )
    if "continual" in manifest:
        made_with, here = manifest["libraries"]["river"], importlib.metadata.version("river")
        if made_with.split(".")[:2] != here.split(".")[:2]:
            return f"it learned with river {made_with}, here is {here}", RETRAIN
    return None


def samples(manifest: Mapping[str, Any], task: Task) -> pd.DataFrame:
    """The frame of the sample rows."""
    table = _table(task, manifest["samples"]["rows"])
    return frame(task, columns_of(task.inputs, table), manifest["vocabularies"])


def difference(version: Version) -> str:
    """How the version's answers to its sample rows differ from those at training; "" if not."""
    now, then = _expected(version), version.manifest["samples"]["expected"]
    for name, was in then.items():
        found = now[name]
        if was is None or found is None or isinstance(was[0], bool | str):
            same = was == found
        else:
            same = bool(np.allclose(found, was, rtol=PARITY, atol=PARITY))
        if not same:
            return f"its sample rows give another {name} than at training: {found}, not {was}"
    return ""


def _rows(task: Task, samples: pd.DataFrame) -> list[list[Any]]:
    """Sample rows as JSON data in the task's order of features, null for missing."""
    columns = columns_of(task.inputs, samples.head(SAMPLES), prefix="")
    rows = []
    for i in range(len(samples.head(SAMPLES))):
        row = []
        for feature in task.inputs:
            column = columns[feature.name]
            null = column.valid is not None and not column.valid[i]
            row.append(None if null else column.values[i : i + 1].tolist()[0])
        rows.append(row)
    return rows


def _table(task: Task, rows: list[list[Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[f.name for f in task.inputs], dtype=object)


def _expected(version: Version) -> dict[str, Any]:
    rows = samples(version.manifest, version.task)
    answers, scores = version.predict(rows), version.gate_scores(rows)
    expected = version.estimates.expect(rows, answers).values if version.estimates else None
    return {
        "answer": answers.answer.tolist(),
        "probability": None if answers.probability is None else answers.probability.tolist(),
        "gate_score": None if scores is None else scores.tolist(),
        "expected": None if expected is None else expected.tolist(),
    }
