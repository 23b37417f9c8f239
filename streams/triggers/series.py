"""The newest windows of the champion's metrics that conditions look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from streams.triggers.declare import Metric
from streams.triggers.inputs import Measured

SPARE = 64
"""Windows kept beyond those that a condition wants in a row: the newest may lack labels yet."""
VERSIONS = 4
"""Versions kept: metrics of a new champion may be read before the record that names it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A window: what its record said last. figures: only those that a condition looks at."""

    id: str
    start: int
    end: int
    revision: int
    complete: bool
    predictions: int
    scored: int
    trusted: bool
    figures: dict[str, float]


def place(condition: Metric, first: str) -> str:
    """Which windows a condition looks at: window, segment and value. first: the task's window."""
    return "|".join((condition.window or first, condition.segment, condition.value))


class Series:
    """Rows by place, version and start."""

    def __init__(
        self, conditions: Iterable[Metric], first: str, state: Mapping[str, Any] | None = None
    ) -> None:
        self._names: dict[str, set[str]] = {}
        self._most: dict[str, int] = {}
        for condition in conditions:
            at = place(condition, first)
            name = figure(condition)
            self._names.setdefault(at, set()).update((name, f"{name}_low", f"{name}_high"))
            self._most[at] = max(self._most.get(at, 0), condition.windows + SPARE)
        self._rows: dict[str, dict[str, dict[int, Row]]] = {
            at: {
                version: {row["start"]: Row(**row) for row in rows}
                for version, rows in versions.items()
            }
            for at, versions in (state or {}).items()
            if at in self._names
        }

    def wants(self, window: str, segment: str, value: str) -> bool:
        """Whether a condition looks at these."""
        return "|".join((window, segment, value)) in self._names

    def take(self, measured: Measured, champion: str) -> None:
        """Take a window's metrics in, if a condition looks at them."""
        at = "|".join((measured.window, measured.segment, measured.value))
        names = self._names.get(at)
        if names is None or measured.role != "champion":
            return
        versions = self._rows.setdefault(at, {})
        rows = versions.setdefault(measured.version, {})
        before = rows.get(measured.start)
        if before is not None and measured.revision < before.revision:
            return
        rows[measured.start] = Row(
            measured.id,
            measured.start,
            measured.end,
            measured.revision,
            measured.complete or bool(before and before.complete),
            measured.predictions,
            measured.scored,
            measured.trusted,
            {name: measured.figures[name] for name in sorted(names) if name in measured.figures},
        )
        for start in sorted(rows)[: -self._most[at]]:
            del rows[start]
        for version in [v for v in versions if v not in (champion, measured.version)]:
            if len(versions) <= VERSIONS:
                break
            del versions[version]

    def rows(self, condition: Metric, first: str, version: str) -> list[Row]:
        """A version's windows that are over, the newest first."""
        found = self._rows.get(place(condition, first), {}).get(version, {})
        return [found[start] for start in sorted(found, reverse=True) if found[start].complete]

    def state(self) -> dict[str, Any]:
        """As JSON data, for ``state`` of the next one."""
        return {
            at: {
                version: [asdict(rows[start]) for start in sorted(rows)]
                for version, rows in versions.items()
            }
            for at, versions in self._rows.items()
        }


def figure(condition: Metric) -> str:
    """The name under which a record has what a condition looks at."""
    return f"{'estimated_' if getattr(condition, 'estimated', False) else ''}{condition.metric}"
