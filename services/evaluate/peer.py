"""NannyML in an environment of its own: made on demand, spoken to by files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from services.evaluate.sets import Predicted

PROJECT = Path(__file__).parent / "nannyml"
ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-nannyml"


class PeerError(RuntimeError):
    """NannyML cannot be set up or does not answer; the message says why and what to do."""


def environment() -> Path:
    """The Python of NannyML's environment, installed from its lock where it is not there yet."""
    locked = b"".join((PROJECT / name).read_bytes() for name in ("uv.lock", "pyproject.toml"))
    stamp, wanted = ENVIRONMENT / ".weir-evaluate", hashlib.sha256(locked).hexdigest()
    python = ENVIRONMENT / "bin" / "python"
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    uv = _uv()
    settings = {"UV_PROJECT_ENVIRONMENT": str(ENVIRONMENT), "UV_PYTHON_DOWNLOADS": "never"}
    _run(
        [uv, "sync", "--quiet", "--frozen", "--project", str(PROJECT), "--python", sys.executable],
        "its environment cannot be installed: is the package index reachable?",
        settings,
    )
    stamp.write_text(wanted)
    return python


def export(python: Path, folder: Path) -> None:
    """NannyML's bundled data sets, as CSV files below ``folder``."""
    _run([str(python), str(PROJECT / "peer.py"), "export", str(folder)], "it cannot export")


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
    _run([str(python), str(PROJECT / "peer.py"), "estimate", str(folder)], "it cannot estimate")
    found: dict[str, dict[str, Any]] = json.loads((folder / "estimates.json").read_text())
    return found


def _uv() -> str:
    own = ROOT / ".uv" / "bin" / "uv"
    found = str(own) if own.is_file() else shutil.which("uv")
    if found is None:
        raise PeerError("NannyML's environment is made with uv, and there is none: pip install uv")
    return found


def _run(command: list[str], what: str, settings: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, env=os.environ | (settings or {}), capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise PeerError(f"NannyML: {what}\n{said}")
