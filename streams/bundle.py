"""Bundles: model versions as folders of data that are checked before they are used.

    <root>/<version id>/
        model.skops     the main pipeline
        gate.skops      the gate, where there is one
        profile.json    what the training data looked like
        manifest.json   everything else, and the SHA-256 of the files above
        manifest.sig    HMAC-SHA256 (hex) of manifest.json's bytes with the deployment's key

Nothing in a bundle is code. A bundle that fails a check raises BundleError and changes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from streams import skops_files
from streams.declaration import declaration, describe_features, json_text, sha256_of
from streams.frame import columns_of, frame
from streams.task import Task
from streams.version import Version

SCHEMA_VERSION = 1
"""Of the manifest; a reader refuses every other."""
MODEL, GATE, PROFILE = "model.skops", "gate.skops", "profile.json"
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
PARITY = 1e-9
"""How far a loaded version's answers to the sample rows may be from those at training."""
SAMPLES = 16
"""Sample rows kept in a manifest."""


class BundleError(ValueError):
    """A bundle that is refused; the message names the folder and file, the reason, what to do."""

    def __init__(self, folder: Path, file: str, reason: str, remedy: str) -> None:
        self.file = file
        self.reason = reason
        where = folder / file if file else folder
        super().__init__(f"bundle {where}: {reason}; {remedy}")


_RETRAIN = "train a new version (weir retrain) or put an intact copy of the bundle there"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What training hands over to be saved.

    id: the version's; dataset: ``id``, ``rows``, ``from``, ``to`` (milliseconds since 1970);
    model, gate: fitted estimators; vocabularies: per Category feature;
    threshold: of the gate's score; metrics: on held-out time, by name; gate_metrics, profile:
    JSON data; samples: a few rows with the task's features as columns; seeds, libraries, event_id.
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
    gate_metrics: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BundleInfo:
    """A saved bundle: ``sha256`` is the manifest's, in hex."""

    id: str
    folder: Path
    sha256: str
    manifest: Mapping[str, Any]


def save_bundle(folder_root: Path, task: Task, contents: Contents, key: bytes) -> BundleInfo:
    """Write a bundle to ``folder_root/<id>``; it is there whole or not at all.

    A bundle of that id that is there already is kept if it loads, and replaced if it does not:
    its content is decided by its id. Raises skops_files.UnsafeFile where an estimator holds what
    `load_bundle` would refuse.
    """
    folder = folder_root / contents.id
    if folder.exists():
        try:
            load_bundle(folder, task, key)
        except BundleError:
            shutil.rmtree(folder)
        else:
            return bundle_info(folder)
    files = {
        MODEL: skops_files.dump(contents.model),
        PROFILE: json_text(contents.profile).encode(),
    }
    if contents.gate is not None:
        files[GATE] = skops_files.dump(contents.gate)
    manifest = _manifest(task, contents, files)
    files[MANIFEST] = json_text(manifest).encode()
    files[SIGNATURE] = sign(files[MANIFEST], key).encode()

    # 1. All files under a name that no reader looks for. 2. On disk. 3. The final name, at once:
    # a crash before it leaves a folder `.partial-…` that nothing reads.
    folder_root.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder_root))
    try:
        for name, data in files.items():
            with (partial / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        partial.chmod(0o755)
        _sync_folder(partial)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _sync_folder(folder_root)
    return bundle_info(folder)


def load_bundle(folder: Path, task: Task, key: bytes) -> Version:
    """The version in a bundle, checked from the signature to the answers it gives.

    Raises BundleError naming file, reason and what to do.
    """
    # 1. What is signed: nothing else of the folder is looked at before the signature holds.
    manifest_bytes = _read(folder, MANIFEST)
    signature = _read(folder, SIGNATURE)
    if not hmac.compare_digest(signature.strip(), sign(manifest_bytes, key).encode()):
        reason = "its signature is not by this deployment's key: it was changed or is another's"
        raise BundleError(
            folder, MANIFEST, reason, "check WEIR_SIGNING_KEY, or train a new version"
        )
    # 2. What the manifest says of itself and of this task.
    manifest = _parse(folder, manifest_bytes)
    _check_manifest(folder, manifest, task)
    # 3. Exactly the files that it lists, each with its hash.
    files = _checked_files(folder, manifest)
    # 4. Estimators, from types that are known to be harmless.
    try:
        model = skops_files.load(files[MODEL])
    except skops_files.UnsafeFile as error:
        raise BundleError(folder, MODEL, str(error), _RETRAIN) from error
    gate = None
    if GATE in files:
        try:
            gate = skops_files.load(files[GATE])
        except skops_files.UnsafeFile as error:
            raise BundleError(folder, GATE, str(error), _RETRAIN) from error
    # 5. The same answers as at training; the first call is also what warms the estimators up.
    try:
        table = _table(task, manifest["samples"]["rows"])
        sample = frame(task, columns_of(task.features, table), manifest["vocabularies"])
        version = Version(task, manifest, model, gate, json.loads(files[PROFILE]), sample)
        differs = _parity(version, manifest["samples"])
    except Exception as error:
        reason = f"it does not answer its sample rows: {type(error).__name__}: {error}"
        raise BundleError(folder, MODEL, reason, _RETRAIN) from error
    if differs:
        raise BundleError(folder, MODEL, differs, _RETRAIN)
    return version


def bundle_info(folder: Path) -> BundleInfo:
    """The name, hash and manifest of a bundle, unchecked. BundleError where it has no manifest."""
    data = _read(folder, MANIFEST)
    manifest = _parse(folder, data)
    return BundleInfo(manifest["id"], folder, hashlib.sha256(data).hexdigest(), manifest)


def sign(data: bytes, key: bytes) -> str:
    """HMAC-SHA256 of ``data`` in hex. ValueError for an empty key."""
    if not key:
        raise ValueError("the key that signs bundles is empty: set WEIR_SIGNING_KEY")
    return hmac.new(key, data, hashlib.sha256).hexdigest()


def _manifest(task: Task, contents: Contents, files: Mapping[str, bytes]) -> dict[str, Any]:
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
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "samples": {"rows": _rows(task, contents.samples)},
        **contents.extra,
    }
    version = Version(task, manifest, contents.model, contents.gate)
    manifest["samples"]["expected"] = _expected(version, manifest["samples"]["rows"])
    return manifest


def _check_manifest(folder: Path, manifest: Mapping[str, Any], task: Task) -> None:
    def refuse(reason: str, remedy: str = _RETRAIN) -> None:
        raise BundleError(folder, MANIFEST, reason, remedy)

    if manifest.get("schema_version") != SCHEMA_VERSION:
        refuse(f"its schema version is {manifest.get('schema_version')}, not {SCHEMA_VERSION}")
    if manifest["id"] != folder.name:
        refuse(f"it is of version {manifest['id']}, in a folder named {folder.name}")
    trained = manifest["task"]
    if (trained["name"], trained["kind"]) != (task.name, task.kind):
        refuse(f"it is for {trained['kind']} task {trained['name']}, not {task.kind} {task.name}")
    if trained["classes"] != task.classes:
        refuse(f"its classes are {trained['classes']}, the task's are {task.classes}")
    theirs = [(f["name"], f["type"]) for f in trained["features"]]
    ours = [(f["name"], f["type"]) for f in describe_features(task)]
    if theirs != ours:
        changed = sorted({f"{name} ({kind})" for name, kind in set(theirs) ^ set(ours)})
        what = f"these differ: {', '.join(changed)}" if changed else "their order differs"
        refuse(f"its features are not the task's: {what}")
    import sklearn

    theirs_minor = manifest["libraries"]["scikit-learn"].split(".")[:2]
    if theirs_minor != sklearn.__version__.split(".")[:2]:
        refuse(
            f"it was trained with scikit-learn {manifest['libraries']['scikit-learn']}, here is "
            f"{sklearn.__version__}: the same estimator may answer differently",
            "install that version, or train a new version",
        )


def _checked_files(folder: Path, manifest: Mapping[str, Any]) -> dict[str, bytes]:
    listed: Mapping[str, str] = manifest["files"]
    strange = set(listed) - {MODEL, GATE, PROFILE}
    if strange or not {MODEL, PROFILE} <= set(listed):
        raise BundleError(folder, MANIFEST, f"it lists the files {sorted(listed)}", _RETRAIN)
    if (manifest["gate"]["threshold"] is None) == (GATE in listed):
        raise BundleError(folder, MANIFEST, "gate and threshold go together", _RETRAIN)
    present = {entry.name for entry in folder.iterdir()}
    extra = present - set(listed) - {MANIFEST, SIGNATURE}
    if extra:
        name = sorted(extra)[0]
        raise BundleError(folder, name, "the manifest does not list it", "remove it")
    files = {name: _read(folder, name) for name in listed}
    for name, data in files.items():
        if not hmac.compare_digest(hashlib.sha256(data).hexdigest(), listed[name]):
            raise BundleError(
                folder, name, "its SHA-256 is not what the manifest says: it was changed", _RETRAIN
            )
    return files


def _read(folder: Path, name: str) -> bytes:
    """The bytes of a file right in ``folder``; links are refused, wherever they lead."""
    if folder.is_symlink():
        raise BundleError(folder, "", "it is a link", "put the folder itself there")
    try:
        # Not blocking: a pipe of that name would otherwise be waited for.
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise BundleError(folder, name, "it is missing", _RETRAIN) from error
    except OSError as error:
        raise BundleError(
            folder, name, f"it cannot be read: {error.strerror}", "put a plain file there"
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleError(folder, name, "it is not a plain file", "put a plain file there")
        return file.read()


def _parse(folder: Path, data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(data)
        if not isinstance(manifest, dict):
            raise ValueError("not a JSON object")
    except ValueError as error:
        raise BundleError(folder, MANIFEST, f"it is not JSON: {error}", _RETRAIN) from error
    return manifest


def _rows(task: Task, samples: pd.DataFrame) -> list[list[Any]]:
    """Sample rows as JSON data in the task's order of features, null for missing."""
    columns = columns_of(task.features, samples.head(SAMPLES), prefix="")
    rows = []
    for i in range(len(samples.head(SAMPLES))):
        row = []
        for feature in task.features:
            column = columns[feature.name]
            null = column.valid is not None and not column.valid[i]
            row.append(None if null else column.values[i : i + 1].tolist()[0])
        rows.append(row)
    return rows


def _table(task: Task, rows: list[list[Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[f.name for f in task.features], dtype=object)


def _expected(version: Version, rows: list[list[Any]]) -> dict[str, Any]:
    columns = columns_of(version.task.features, _table(version.task, rows))
    frame = version.frame(columns)
    answers, scores = version.predict(frame), version.gate_scores(frame)
    return {
        "answer": answers.answer.tolist(),
        "probability": None if answers.probability is None else answers.probability.tolist(),
        "gate_score": None if scores is None else scores.tolist(),
    }


def _parity(version: Version, samples: Mapping[str, Any]) -> str:
    """How the version's answers to the sample rows differ from those at training; "" if not."""
    now, then = _expected(version, samples["rows"]), samples["expected"]
    for name, was in then.items():
        is_ = now[name]
        if was is None or is_ is None or isinstance(was[0], bool | str):
            same = was == is_
        else:
            same = bool(np.allclose(is_, was, rtol=PARITY, atol=PARITY))
        if not same:
            return f"its sample rows give another {name} than at training: {is_}, not {was}"
    return ""


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
