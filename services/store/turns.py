"""Whose turn it is: so many calls at once, the others wait in line."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from anyio import CapacityLimiter

from services.store.errors import TOO_MANY_SIMULTANEOUS_QUERIES, Refused


class Turns:
    """At most ``most`` calls run; of the others at most ``max_waiting`` wait, first come first."""

    def __init__(self, most: int, max_waiting: int) -> None:
        self._limiter = CapacityLimiter(most)
        self._max_waiting = max_waiting

    @property
    def running(self) -> int:
        """Calls that run now."""
        return int(self._limiter.borrowed_tokens)

    @property
    def waiting(self) -> int:
        """Calls that wait now."""
        return self._limiter.statistics().tasks_waiting

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the context ends, in whatever task that is.

        Errors: Refused (TOO_MANY_SIMULTANEOUS_QUERIES) where the line is full.
        """
        if self.waiting >= self._max_waiting:
            raise Refused(
                TOO_MANY_SIMULTANEOUS_QUERIES,
                f"Too many simultaneous queries: {self.running} running, {self.waiting} waiting; "
                "try again",
            )
        borrower = object()
        await self._limiter.acquire_on_behalf_of(borrower)
        try:
            yield
        finally:
            self._limiter.release_on_behalf_of(borrower)
