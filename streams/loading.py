"""Model versions from bundles, checked and warm before they answer.

A version is loaded off the stream, by the thread that follows the roles. What it must pass:

1. the bundle is the one that its record names: its manifest has the record's SHA-256 and version;
2. signature, hashes, types, library versions, and the same answers to the sample rows as at
   training (`streams.bundle`);
3. a warm-up: it frames, scores and answers the newest real requests of this worker.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from prometheus_client import Histogram

from schemas.columns import Columns
from streams.bundle import MANIFEST, BundleError, bundle_info, folder_of, load_bundle
from streams.cache import CachedVersion
from streams.inference import usable
from streams.manifest import RETRAIN
from streams.roles import ModelRecord
from streams.task import Task
from streams.version import Version

LOADED = Histogram(
    "weir_bundle_load_seconds",
    "Time in which a bundle was loaded, checked and warmed up, off the stream",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
KEPT = 4
"""Loaded versions that are kept when they go out of service: going back to one takes no time."""
WARM_ROWS = 256
"""Real requests, at most, that a version answers before it is put in service."""
FEWEST_ANSWERED = 0.5
"""Share of them that it must have an answer to; one that answers less is broken."""

Recent = Callable[[], tuple[Columns, int] | None]
"""The inputs of the newest batch with a good request, and how many; None before there is one."""


class Loader:
    """Loads the version that a record names, or says why not.

    artifacts: the folder of bundles; key: their signature's. recent: what versions are warmed up
    with. cache_entries: answers that a version remembers (`streams.cache`); 0: none.
    Not for several threads.
    """

    def __init__(
        self, task: Task, artifacts: Path, key: bytes, recent: Recent, cache_entries: int = 0
    ) -> None:
        self._task = task
        self._artifacts = artifacts
        self._key = key
        self._recent = recent
        self._cache_entries = cache_entries
        self._loaded: OrderedDict[tuple[str, str, str], Version] = OrderedDict()

    def __call__(self, record: ModelRecord) -> Version:
        """The version, ready to answer. Raises BundleError."""
        known = (record.version, record.bundle, record.sha256)
        version = self._loaded.pop(known, None)
        if version is None:
            with LOADED.time():
                version = self._load(record)
        self._loaded[known] = version
        while len(self._loaded) > KEPT:
            self._loaded.popitem(last=False)
        return version

    def _load(self, record: ModelRecord) -> Version:
        folder = folder_of(self._artifacts, record.bundle)
        if record.sha256:
            found = bundle_info(folder).sha256
            if not hmac.compare_digest(found, record.sha256):
                reason = f"its SHA-256 is {found}, and the record names {record.sha256}"
                raise BundleError(folder, MANIFEST, reason, RETRAIN)
        version = load_bundle(folder, self._task, self._key)
        if version.id != record.version:
            reason = f"it is of version {version.id}, and the record names {record.version}"
            raise BundleError(folder, MANIFEST, reason, RETRAIN)
        recent = self._recent()
        if recent is not None:
            try:
                warm_up(version, *recent)
            except Exception as error:
                reason = f"it fails on this worker's newest requests: {error!r}"
                raise BundleError(folder, "", reason, RETRAIN) from error
        return CachedVersion(version, self._cache_entries) if self._cache_entries else version


def warm_up(version: Version, columns: Columns, n: int) -> None:
    """Let a version answer n real requests, whose answers nobody gets.

    Raises ValueError where it has an answer to less than `FEWEST_ANSWERED` of them, and what the
    version raises.
    """
    rows = slice(max(0, n - WARM_ROWS), n)
    frame = version.frame({name: column.take(rows) for name, column in columns.items()})
    scores = version.gate_scores(frame)
    if scores is not None and len(scores) != len(frame):
        raise ValueError(f"its gate gives {len(scores)} scores of {len(frame)} inputs")
    answered = int(np.count_nonzero(usable(version.predict(frame), len(frame))))
    if answered < FEWEST_ANSWERED * len(frame):
        raise ValueError(f"it has an answer to {answered} of {len(frame)} inputs")
