"""From a supervisor that starts in the background to the command that waits for it: JSON lines."""

from __future__ import annotations

import json
import os
from typing import Any

from services.command.output import err, note


class Report:
    """How a start goes: told to a person at the terminal, or to the command that waits for it."""

    def __init__(self, fd: int | None) -> None:
        self._to = None if fd is None else os.fdopen(fd, "w", buffering=1)

    def say(self, text: str) -> None:
        """What is being done."""
        if self._to is None:
            note(text)
        else:
            self._send({"kind": "say", "text": text})

    def ready(self, text: str) -> None:
        """All of it works; nothing is said after this to the command that waited."""
        if self._to is None:
            err.print(f"{text}\nCtrl-C stops everything", soft_wrap=True)
        else:
            self._send({"kind": "ready", "text": text})
            self._to = None  # nobody listens any more

    def failed(self, text: str, code: int) -> None:
        """It cannot be; with the exit code for the command that waits."""
        self._send({"kind": "failed", "text": text, "code": code})

    def _send(self, report: dict[str, Any]) -> None:
        if self._to is not None:
            # Whoever started this may be gone: the system goes on.
            try:
                self._to.write(json.dumps(report) + "\n")
            except BrokenPipeError:
                self._to = None
