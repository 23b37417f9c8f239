"""NannyML in an environment of its own: made on demand, spoken to by files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from services.evaluate.environments import ROOT, python_of, run
from services.evaluate.sets import Predicted

PROJECT = Path(__file__).parent / "nannyml"


def environment() -> Path:
    """The Python of NannyML's environment, installed from its lock where it is not there yet."""
    return python_of(PROJECT, ROOT / ".venv-nannyml")


def export(python: Path, folder: Path) -> None:
    """NannyML's bundled data sets, as CSV files below ``folder``."""
    run([str(python), str(PROJECT / "peer.py"), "export", str(folder)], "NannyML cannot export")


def estimate(python: Path, data: Predicted, folder: Path) -> dict[str, dict[str, float | None]]:
    """NannyML's estimates of each chunk, by chunk and metric; ``folder`` is for the hand-over."""
    folder.mkdir(parents=True, exist_ok=True)
    task = {
        "kind": data.kind,
        "classes": data.classes,
        "features": data.features,
        "categories": data.categories,
    }
    (folder / "task.json").write_text(json.dumps(task))
    data.reference.to_csv(folder / "reference.csv", index=False)
    data.analysis.drop(columns="truth").to_csv(folder / "analysis.csv", index=False)
    run([str(python), str(PROJECT / "peer.py"), "estimate", str(folder)], "NannyML cannot estimate")
    found: dict[str, dict[str, Any]] = json.loads((folder / "estimates.json").read_text())
    return found
