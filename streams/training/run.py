"""What goes on around a training: who is told of its steps, what is kept for the next attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Facts = dict[str, Any]
"""What a step found, as JSON data."""
Key = Mapping[str, Any]
"""What names a piece of work, as JSON data: all that its result depends on."""


class Run:
    """A training that nobody watches, that keeps nothing, and whose time has no limit.

    The trainer's (`services.trainer.runs`) writes a journal, keeps what was fitted, and ends
    between two pieces of work where its process is to end. What a training gives depends on none
    of this, but where a guard of the search bites (`now`, `memory_mb`).
    """

    @contextmanager
    def step(self, name: str, done: float) -> Iterator[Facts]:
        """One step of the training: told of as it begins, and with the facts that it put into the
        dictionary as it ends.

        done: the share of the work, 0 to 1, that is done before it.
        """
        yield {}

    def at(self, done: float) -> None:
        """The step in work has come so far: the share of the whole training's work."""

    def fitted(self, key: Key, fit: Callable[[], Any]) -> Any:
        """The estimator that ``fit`` gives; of an earlier attempt, where that kept it."""
        return fit()

    def found(self, key: Key, work: Callable[[], Facts]) -> Facts:
        """The facts that ``work`` gives; of an earlier attempt, where that kept them."""
        return work()

    def now(self) -> float:
        """Seconds since some moment; 0 where time does not count."""
        return 0.0

    def memory_mb(self) -> float:
        """What the process holds; 0 where it does not count."""
        return 0.0


UNWATCHED = Run()
