"""When unplanned ends of a process are a crash loop: a state with a begin and an end."""

from __future__ import annotations

from dataclasses import dataclass, replace

LOOP_ENDS = 3
LOOP_WITHIN_S = 300.0
"""So many unplanned ends of one process within so many seconds are a crash loop."""
LOOP_OVER_S = 300.0
"""It is over once the process has lived for so long without another."""


@dataclass(frozen=True)
class CrashHistory:
    """What decides whether a process is in a crash loop; times in seconds since 1970.

    ends: the newest unplanned ends. looping_since: when the loop began that was not yet over at the
    last end. started_at: since when it runs; None where it does not.
    """

    ends: tuple[float, ...] = ()
    looping_since: float | None = None
    started_at: float | None = None

    def started(self, at: float) -> CrashHistory:
        """Return the history with a start of the process."""
        return replace(self, started_at=at)

    def ended(self, at: float) -> CrashHistory:
        """Return the history with one more unplanned end."""
        since = self.looping_since if self.looping(at) else None
        ends = (*self.ends, at)[-LOOP_ENDS:]
        if since is None and len(ends) == LOOP_ENDS and at - ends[0] <= LOOP_WITHIN_S:
            since = at
        return CrashHistory(ends, since)

    def looping(self, now: float) -> bool:
        """Whether it is in a crash loop."""
        if self.looping_since is None:
            return False
        return self.started_at is None or now - self.started_at < LOOP_OVER_S
