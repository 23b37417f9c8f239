"""What goes on around a training: who is told of its steps, what is kept for the next attempt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Facts = dict[str, Any]
"""What a step found, as JSON data."""


class Run:
    """A training that nobody watches, that keeps nothing, and whose time has no limit.

    The trainer's (`services.trainer.runs`) writes a journal, keeps what was fitted, and ends
    between two steps where its process is to end. A training's result depends on none of this.
    """

    @contextmanager
    def step(self, name: str, done: float) -> Iterator[Facts]:
        """One step of the training: told of as it begins, and with the facts that it put into the
        dictionary as it ends.

        done: the share of the work, 0 to 1, that is done before it.
        """
        yield {}


UNWATCHED = Run()
