"""A folder that answers without Weir: the model, what prepares its inputs, and a small runner.

model.onnx   the model and, where the version has one, its gate
model.json   inputs in order, vocabularies, classes, thresholds, the fallback
runner.py    reads rows as JSON lines, answers with them; needs onnxruntime and numpy
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from schemas.features import Category
from streams.declaration import describe_features
from streams.task import Task
from streams.version import Version

RUNNER = Path(__file__).with_name("runner.py.txt")
MODEL, FACTS, SCRIPT = "model.onnx", "model.json", "runner.py"


class EdgeError(ValueError):
    """The folder cannot be made; the message says why."""


def facts(task: Task, version: Version, form: str, classes: list[Any]) -> dict[str, Any]:
    """What the runner must know beside the model, as JSON data. classes: the model's own order."""
    return {
        "version": version.id,
        "form": form,
        "task": task.name,
        "kind": task.kind,
        "features": describe_features(task),
        "numbers": [f.name for f in task.inputs if not isinstance(f, Category)],
        "codes": [f.name for f in task.inputs if isinstance(f, Category)],
        "vocabularies": {name: list(words) for name, words in version.vocabularies.items()},
        "classes": task.classes,
        "model_classes": classes,
        "threshold": version.decision_threshold,
        "gate_threshold": version.threshold,
        "fallback": task.fallback,
    }


def write(folder: Path, model: bytes, told: dict[str, Any]) -> dict[str, int]:
    """The folder, whole or not at all; bytes by file.

    An export that is there already is replaced. Raises EdgeError where the folder holds something
    else.
    """
    if folder.exists():
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
        if there - {MODEL, FACTS, SCRIPT}:
            raise EdgeError(f"{folder} holds {sorted(there)[0]}: give a new folder, or an export's")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (draft / MODEL).write_bytes(model)
        (draft / FACTS).write_text(json.dumps(told, ensure_ascii=False) + "\n", "utf-8")
        shutil.copyfile(RUNNER, draft / SCRIPT)
        draft.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
