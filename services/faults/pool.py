"""Versions that the harness swaps, and bundles of them that no worker may take."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from services.registry import model_record
from streams.bundle import MANIFEST, MODEL, SIGNATURE, save_bundle, sign
from streams.declaration import json_text
from streams.roles import ModelRecord
from streams.task import Task
from streams.training.train import train
from streams.windowed.history import with_windowed

BY = "weir faults"
"""Who changed the roles."""


def make_pool(task: Task, artifacts: Path, key: bytes, count: int) -> list[ModelRecord]:
    """Train so many different versions, each without a last stretch of the task's history, and
    save them; the records that put them in service."""
    assert task.history is not None
    history = with_windowed(task, task.history())
    records = []
    for number in range(count):
        rows = len(history) - (number + 1) * len(history) // (4 * count)
        contents = train(task, history.iloc[:rows], f"swap-{number}").contents
        info = save_bundle(artifacts, task, contents, key)
        records.append(model_record(contents, info, "champion", "a swap under load", BY))
    return records


def _flip(folder: Path, key: bytes) -> None:
    file = folder / MODEL
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data))


def _remove(folder: Path, key: bytes) -> None:
    (folder / MODEL).unlink()


def _other_library(folder: Path, key: bytes) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["libraries"]["scikit-learn"] = "0.1.0"
    data = json_text(manifest).encode()
    (folder / MANIFEST).write_bytes(data)
    (folder / SIGNATURE).write_text(sign(data, key))


def _other_key(folder: Path, key: bytes) -> None:
    (folder / SIGNATURE).write_text(sign((folder / MANIFEST).read_bytes(), key + b"?"))


DAMAGES: Mapping[str, Callable[[Path, bytes], None]] = {
    "corrupt": _flip,
    "missing": _remove,
    "other_library": _other_library,
    "other_key": _other_key,
}
"""What is done to a bundle, given its folder and the deployment's key."""


def damaged(artifacts: Path, good: ModelRecord, how: str, key: bytes) -> ModelRecord:
    """Damage a bundle, from its first state each time; the record that names it."""
    folder, pristine = artifacts / good.bundle, artifacts.with_name("pristine") / good.bundle
    if pristine.exists():
        shutil.rmtree(folder)
        shutil.copytree(pristine, folder)
    else:
        shutil.copytree(folder, pristine)
    DAMAGES[how](folder, key)
    known = {**good.record(), "sha256": ""}
    return ModelRecord.of({**known, "reason": f"a bundle that is to be refused: {how}"})
