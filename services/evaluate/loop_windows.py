"""The metric records that triggers look at, of all traffic, from the sums that Weir's metrics keep.

The same sums and the same measures as the stages `tally` and `metrics`; without topics and stores.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from schemas.columns import Columns
from streams.bounds import bounds
from streams.contributions import contributions
from streams.estimates.sums import METRICS, Expectations, fields
from streams.groups import Grouping
from streams.quality import Sums, labels_by_class, measure
from streams.tally import pane_ms
from streams.task import LastN, Task
from streams.triggers.inputs import Measured
from streams.windows import Span, spans_of


class Windows:
    """Sums by pane and version; `measured` tells of the windows that changed or ended."""

    def __init__(self, task: Task) -> None:
        self._task, self._pane = task, pane_ms(task.windows)
        self._windows = [window for window in task.windows if not isinstance(window, LastN)]
        self._panes: dict[tuple[int, str], Sums] = defaultdict(Sums)
        self._dirty: set[tuple[Span, str]] = set()
        self._watermark: int | None = None

    def predictions(self, columns: Columns) -> None:
        """Take a batch of predictions in."""
        expected = Expectations(self._task, columns)
        everything = np.ones(len(columns["status"].values), bool)
        for group, rows in Grouping(columns, self._pane).by("", "", everything):
            sums = Sums({"predictions": len(rows), "tallies": 1})
            sums.add(expected.sums(rows))
            self._add(group.pane_start, group.version, sums)

    def outcomes(self, columns: Columns) -> None:
        """Take a batch of outcomes in: true labels of answers of the model."""
        judged = contributions(self._task, columns, columns["truth"].values)
        everything = np.ones(len(columns["status"].values), bool)
        for group, rows in Grouping(columns, self._pane).by("", "", everything):
            sums = Sums({"outcomes": len(rows), "scored": len(rows), "tallies": 1})
            sums.add(judged.sums(rows))
            self._add(group.pane_start, group.version, sums)

    def _add(self, pane: int, version: str, sums: Sums) -> None:
        self._panes[pane, version].add(sums)
        self._touch(pane, version)

    def _touch(self, pane: int, version: str) -> None:
        for window in self._windows:
            self._dirty.update((span, version) for span in spans_of(window, pane))

    def measured(self, now: int) -> list[Measured]:
        """The windows that changed, or ended, since this was asked last."""
        before = self._watermark
        for pane, version in self._panes:
            for window in self._windows:
                for span in spans_of(window, pane):
                    if span.end <= now and (before is None or before < span.end):
                        self._dirty.add((span, version))
        self._watermark = now
        found = [self._measured(span, version, now) for span, version in sorted(self._dirty)]
        self._dirty = set()
        return found

    def forget(self, before: int) -> None:
        """Let go of the panes that start before a time."""
        for key in [key for key in self._panes if key[0] < before]:
            del self._panes[key]

    def _measured(self, span: Span, version: str, now: int) -> Measured:
        total = Sums()
        for pane in span.panes(self._pane):
            if (pane, version) in self._panes:
                total.add(self._panes[pane, version])
        kind, classes = self._task.kind, len(self._task.classes)
        realised = measure(kind, classes, total)
        estimated = fields(kind, classes, total, realised)
        figures = realised | bounds(kind, classes, total)
        for name in METRICS:
            for end in ("", "_low", "_high"):
                value = estimated[f"estimated_{name}{end}"]
                if value is not None:
                    figures[f"estimated_{name}{end}"] = value
        return Measured(
            id="|".join((span.name, str(span.start), version, "champion", "", "")),
            window=span.name,
            start=span.start,
            end=span.end,
            version=version,
            role="champion",
            revision=total.count("tallies"),
            complete=span.end <= now,
            watermark=now,
            predictions=total.count("predictions"),
            outcomes=total.count("outcomes"),
            scored=total.count("scored"),
            classes=labels_by_class(kind, self._task.classes, total),
            figures=figures,
            trusted=bool(estimated["estimate_trusted"]),
        )
