"""Writes until MLflow says what the topic says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from services.projection.plan import OfRun, Seen, Wanted, Write, plan


class Registry(Protocol):
    """What is looked at and written to: `services.projection.store.Store`."""

    def see(self) -> Seen:
        """What it says now."""

    def apply(self, write: Write, wanted: Wanted) -> None:
        """Carry out one write."""


def converge(
    registry: Registry, wanted: Wanted, after: Callable[[Write], None] = lambda write: None
) -> dict[str, str]:
    """Make the registry say what is wanted; ``after`` is called after each write.

    Returns, by version, why its run could not be told all about it, such as a bundle that went
    missing: the roles stand without that. Raises what the registry raises of anything else; what
    is written by then is part of what is wanted, and calling again goes on from there.
    """
    failed: dict[str, str] = {}
    before: list[Write] = []
    while True:
        writes = plan(wanted, registry.see())
        if writes and writes == before and not failed:
            raise RuntimeError(f"MLflow does not keep what is written: {writes[0]}")
        before = writes
        left = [w for w in writes if not (isinstance(w, OfRun) and w.version in failed)]
        if not left:
            return failed
        for write in left:
            if isinstance(write, OfRun):
                if write.version in failed:
                    continue
                try:
                    registry.apply(write, wanted)
                except Exception as error:
                    failed[write.version] = f"{type(error).__name__}: {error}"[:300]
                    continue
            else:
                registry.apply(write, wanted)
            after(write)
