"""What versions are compared with: their profiles, out of the bundles in the artifacts folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from streams.bundle import BundleError, folder_of, load_profile
from streams.drift.reference import Reference
from streams.task import Task

log = logging.getLogger(__name__)

RETRY_MS = 30_000
"""How long a bundle that could not be read is left alone."""


class References:
    """References by version id; a version's never changes, so it is read once.

    clock: milliseconds since 1970.
    """

    def __init__(
        self, task: Task, artifacts: Path, signing_key: bytes, clock: Callable[[], int]
    ) -> None:
        self._task = task
        self._artifacts = artifacts
        self._key = signing_key
        self._clock = clock
        self._known: dict[str, Reference] = {}
        self._failed: dict[str, int] = {}

    def of(self, version: str) -> Reference | None:
        """The reference of a version; None where its bundle cannot be read now."""
        known = self._known.get(version)
        if known is not None:
            return known
        now = self._clock()
        if now - self._failed.get(version, now - RETRY_MS) < RETRY_MS:
            return None
        try:
            profile = load_profile(folder_of(self._artifacts, version), self._key)
            found = self._known[version] = Reference(self._task, version, profile)
        except (BundleError, KeyError, TypeError, ValueError) as error:
            self._failed[version] = now
            log.error("no drift is looked for in what version %s serves: %s", version, error)
            return None
        return found
