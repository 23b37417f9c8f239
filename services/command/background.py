"""Work in a thread of its own, beside what the person is shown."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Background:
    """Runs ``work``, at once or when told; ``done`` is set when it has ended, in whatever way."""

    def __init__(self, work: Callable[[], Any], *, at_once: bool = True) -> None:
        self.done = threading.Event()
        self._work = work
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        if at_once:
            self.start()

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:
            self._error = error
        finally:
            self.done.set()

    def result(self) -> Any:
        """What the work gave, once it is done; raises what it raised."""
        self.done.wait()
        if self._error is not None:
            raise self._error
        return self._value
