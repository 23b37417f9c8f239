"""Bundles that a worker refuses: told once as alerts, tried again with growing pauses."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

from schemas.codec import Codec
from schemas.topics import BY_NAME
from streams.roles import ModelRecord
from streams.transport.batch import Output, Result

FIRST_S, LONGEST_S = 1.0, 60.0
"""Pauses before a refused bundle is tried again: each is twice as long as the one before it."""


class Refusals:
    """What is refused now, and what of it is still to be told.

    The thread that loads calls all but `tell`, which is the stream's.
    worker: its name. clock: milliseconds since 1970 UTC.
    """

    def __init__(self, task: str, codec: Codec, worker: str, clock: Callable[[], int]) -> None:
        self._codec = codec
        self._topic = BY_NAME["alerts"].topic(task)
        self._worker = worker
        self._clock = clock
        self._why: dict[str, tuple[int, str]] = {}
        self._found: dict[str, tuple[int, str]] = {}
        self._pause, self._again_at = FIRST_S, 0.0
        self._untold: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    @property
    def versions(self) -> list[str]:
        """The versions that are wanted and refused."""
        return list(self._why)

    def due(self, now_s: float) -> bool:
        """Whether what is refused should be tried again. now_s: of a clock that only goes on."""
        return bool(self._why) and now_s >= self._again_at

    def begin(self) -> None:
        """A look at all wanted versions begins."""
        self._found = {}

    def refuse(self, record: ModelRecord, otherwise: str, why: str) -> bool:
        """Note a refusal; whether it is a new one: of another record or for another reason."""
        said = record.changed_at, why
        self._found[record.version] = said
        if self._why.get(record.version) == said:
            return False
        digest = hashlib.sha256(f"{record.version} {said}".encode()).hexdigest()[:12]
        with self._lock:
            self._untold.append(
                {
                    "alert_id": f"bundle-{digest}",
                    "raised_at": self._clock(),
                    "kind": "refused",
                    "severity": "critical" if record.role == "champion" else "warning",
                    "message": f"worker {self._worker} refuses version {record.version} as "
                    f"{record.role}, {otherwise}: {why}",
                    "about": f"version {record.version}",
                    "evidence": record.version,
                }
            )
        return True

    def end(self, now_s: float) -> None:
        """The look is over; where it refused something, the next one is due after a pause."""
        again = bool(self._found) and self._found == self._why
        self._pause = min(2 * self._pause, LONGEST_S) if again else FIRST_S
        self._why = self._found
        self._again_at = now_s + self._pause

    def tell(self) -> Result | None:
        """The alerts that are to be published."""
        with self._lock:
            untold, self._untold = self._untold, []
        if not untold:
            return None
        keys = [alert["alert_id"].encode() for alert in untold]
        return Result(None, [Output(self._topic, keys, self._codec.write_many(untold))])
