"""Environments of their own, made on demand from a lock: for what does not go with Weir's parts."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


class EnvironmentFailed(RuntimeError):
    """An environment cannot be made, or what runs in it fails; the message says what to do."""


def python_of(project: Path, folder: Path) -> Path:
    """The Python of a project's environment in ``folder``, installed from its lock if need be."""
    locked = b"".join((project / name).read_bytes() for name in ("uv.lock", "pyproject.toml"))
    stamp, wanted = folder / ".weir-evaluate", hashlib.sha256(locked).hexdigest()
    python = folder / "bin" / "python"
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    uv = _uv()
    settings = {"UV_PROJECT_ENVIRONMENT": str(folder), "UV_PYTHON_DOWNLOADS": "never"}
    run(
        [uv, "sync", "--quiet", "--frozen", "--project", str(project), "--python", sys.executable],
        f"{folder.name} cannot be installed: is the package index reachable?",
        settings=settings,
    )
    stamp.write_text(wanted)
    return python


def run(
    command: list[str], what: str, given: str | None = None, settings: dict[str, str] | None = None
) -> None:
    """Run a command. given: its standard input. Raises EnvironmentFailed with what it said."""
    done = subprocess.run(
        command,
        input=given,
        env=os.environ | (settings or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise EnvironmentFailed(f"{what}\n{said}")


def _uv() -> str:
    own = ROOT / ".uv" / "bin" / "uv"
    found = str(own) if own.is_file() else shutil.which("uv")
    if found is None:
        raise EnvironmentFailed("environments are made with uv, and there is none: pip install uv")
    return found
