"""What alarms are worth where the changes are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Seen:
    """Where a detector saw changes in one stream.

    records: that it was given after the reference. reference: position of the first of them.
    changes: as the stream's. alarms: positions, ascending. cpu_s: of the detector alone.
    """

    records: int
    reference: int
    changes: tuple[int, ...]
    alarms: tuple[int, ...]
    cpu_s: float


@dataclass(frozen=True)
class Judged:
    """A detector on a stream, over all its draws; None where a figure has no meaning.

    quiet: records before a change (all, where there is none). false: alarms among them. delays:
    records from a change to the first alarm, of those seen before the next change or the end.
    """

    quiet: int
    false: int
    changes: int
    delays: tuple[int, ...]
    cpu_s: float
    records: int

    @property
    def false_alarms_per_million(self) -> float | None:
        """Alarms where nothing had changed."""
        return 1e6 * self.false / self.quiet if self.quiet else None

    @property
    def missed(self) -> float | None:
        """Share of changes that were never seen."""
        return 1 - len(self.delays) / self.changes if self.changes else None

    @property
    def delay_median(self) -> float | None:
        """Over all changes; None where half of them or more were missed."""
        delays = sorted([*self.delays, *[np.inf] * (self.changes - len(self.delays))])
        middle = float(np.median(delays)) if delays else np.inf
        return middle if np.isfinite(middle) else None

    @property
    def cpu_s_per_million(self) -> float:
        """Seconds of CPU for a million records."""
        return 1e6 * self.cpu_s / max(self.records, 1)

    def plain(self) -> dict[str, float | None]:
        """The four figures."""
        names = ("false_alarms_per_million", "delay_median", "missed", "cpu_s_per_million")
        return {name: getattr(self, name) for name in names}


def judge(runs: Sequence[Seen]) -> Judged:
    """All draws of one stream by one detector."""
    quiet, false, changes = 0, 0, 0
    delays: list[int] = []
    for run in runs:
        end = run.reference + run.records
        first = run.changes[0] if run.changes else end
        quiet += first - run.reference
        false += sum(run.reference <= at < first for at in run.alarms)
        changes += len(run.changes)
        for at, until in zip(run.changes, (*run.changes, end)[1:], strict=True):
            seen = [alarm for alarm in run.alarms if at <= alarm < until]
            delays += [seen[0] - at + 1] if seen else []
    return Judged(
        quiet,
        false,
        changes,
        tuple(delays),
        sum(run.cpu_s for run in runs),
        sum(run.records for run in runs),
    )
