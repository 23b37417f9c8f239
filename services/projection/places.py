"""Where the projection finds what it tells: bundles, journals, and MLflow itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from services.projection.facts import Found, run
from services.projection.plan import Run
from services.trainer.journal import JOURNAL, folder_of, read_journal
from streams.bundle_folder import bundle_folder
from streams.roles import ModelRecord
from streams.settings import Settings

if TYPE_CHECKING:
    from services.projection.store import Store

log = structlog.get_logger("projection")

NONE = "none"
"""The setting that tells nobody."""


def open_store(settings: Settings, task: str, code: Path | None = None) -> Store:
    """MLflow as the settings say; code: folder of the code that trains, for its commit."""
    from services.projection.store import Store, commit_of, local_uri

    commit = "" if code is None else commit_of(code)
    uri, files = settings.mlflow_uri, None
    if not uri:
        uri, files = local_uri(settings.home), settings.home / "mlflow" / "artifacts"
    return Store(uri, task, files, commit, settings.signing_key.get_secret_value().encode())


def store_exists(settings: Settings) -> bool:
    """Whether there is a store to look at; a server is taken to be there."""
    return bool(settings.mlflow_uri) or (settings.home / "mlflow" / "mlflow.db").exists()


def found(settings: Settings, record: ModelRecord) -> Found:
    """What is on disk of a version; what is missing, broken or not as it was signed is left out.

    Whoever may write to ``models`` names the folder: nothing of it is told before it is checked.
    """
    from streams.bundle import checked_files  # scikit-learn

    manifest: dict[str, Any] = {}
    folder = settings.artifacts
    try:
        folder = bundle_folder(settings.artifacts, record.bundle)
        if record.bundle == record.version:
            key = settings.signing_key.get_secret_value().encode()
            manifest = checked_files(folder, key)[0]
    except ValueError as error:
        log.debug("a bundle is not told of", version=record.version, error=str(error))
    steps = read_journal(settings.home, record.event_id)
    journal = folder_of(settings.home, record.event_id) / JOURNAL
    return Found(
        manifest,
        bundle=str(folder) if manifest else "",
        journal=str(journal) if steps else "",
        steps=steps,
    )


LAST_STEP = "register"
"""The step of a journal after which no other comes."""


class Describer:
    """What MLflow is told of each version's training; what is whole is read from disk once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._whole: dict[tuple[str, str, str], Run] = {}

    def __call__(self, record: ModelRecord) -> Run:
        """The run of a version."""
        key = (record.version, record.event_id, record.sha256)
        if key in self._whole:
            return self._whole[key]
        seen = found(self._settings, record)
        made = run(record, seen)
        if seen.bundle and seen.steps and seen.steps[-1]["step"] == LAST_STEP:
            self._whole[key] = made
        return made


def read_manifest(artifacts: Path, bundle: str) -> dict[str, Any]:
    """The manifest of a bundle, unchecked; {} where there is none that can be read."""
    try:
        manifest = json.loads((bundle_folder(artifacts, bundle) / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}
