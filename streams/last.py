"""The last N outcomes: which they are at each checkpoint, whatever order they came in.

Outcomes are ordered by (event time of the request, request id), which a correction does not
change; those count that the model answered and whose label is a true one. A window of the last N
as of a checkpoint is of the N greatest before it. One that is not among the N greatest of its own
pane never will be, so a pane keeps N and no more, and batches carry N at most; panes that leave
merge into one, which keeps the N greatest of all before. So the state is bounded, and the last
word on each checkpoint is what a query over all outcomes gives:

    SELECT … FROM outcomes WHERE status = 'answered' AND event_time < checkpoint
    ORDER BY event_time DESC, request_id DESC LIMIT N      -- of each request its last revision
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columns import Column, Columns
from streams.contributions import contributions
from streams.groups import Rows
from streams.quality import Sums
from streams.task import LastN, Task

Order = tuple[int, str]
"""Event time and request id of an outcome."""
Said = tuple[float, ...]
"""Its truth, its answer and its probabilities, as numbers."""
Whose = tuple[str, str]
"""Version and role."""


@dataclass(slots=True)
class Newest:
    """The greatest outcomes of a span of event time; changes: how often they were amended."""

    rows: dict[Order, Said] = field(default_factory=dict)
    changes: int = 0

    def add(self, rows: dict[Order, Said], changes: int, n: int) -> None:
        """Take in outcomes, those known before with what is now true of them; keep the n last."""
        self.rows |= rows
        self.changes += changes
        if len(self.rows) > n:
            self.rows = {order: self.rows[order] for order in heapq.nlargest(n, self.rows)}


def most(task: Task) -> int:
    """The largest N that the task declares; 0 where it declares no such window."""
    return max((window.n for window in task.windows if isinstance(window, LastN)), default=0)


def newest_of(columns: Columns, rows: Rows, n: int) -> Rows:
    """Of some rows of a batch the n greatest, and all rows of the same requests."""
    if len(rows) <= n:
        return rows
    times, take = columns["event_time"].values[rows], n
    while True:
        # A request may stand several times among them: only the distinct ones make up n.
        take = min(take, len(rows))
        chosen = rows[times >= np.partition(times, len(rows) - take)[len(rows) - take]]
        ids = columns["request_id"].values[chosen]
        orders = list(zip(columns["event_time"].values[chosen].tolist(), ids.tolist(), strict=True))
        distinct = set(orders)
        if len(distinct) >= n or take == len(rows):
            break
        take *= 2
    least = min(heapq.nlargest(n, distinct))
    kept: Rows = chosen[np.fromiter((order >= least for order in orders), bool, len(orders))]
    return kept


def said_of(task: Task, columns: Columns, rows: Rows) -> npt.NDArray[np.float64]:
    """Truths, answers and probabilities of some rows as numbers, (rows, width(task))."""
    truth, answer = columns["truth"].values[rows], columns["answer"].values[rows]
    if task.kind == "regression":
        return np.column_stack([truth.astype(float), answer.astype(float)])
    if task.kind == "binary":
        p = columns["probability"].values[rows].astype(float)
        return np.column_stack([truth.astype(bool), answer.astype(bool), p]).astype(float)
    number = {name: i for i, name in enumerate(task.classes)}
    k = len(task.classes)
    found = np.full((len(rows), 2 + k), 1 / k)
    found[:, 0] = [number.get(name, 0) for name in truth]
    found[:, 1] = [number.get(name, 0) for name in answer]
    for at, p in enumerate(columns["probabilities"].values[rows]):
        if len(p) == k:
            found[at, 2:] = p
    return found


def width(task: Task) -> int:
    """How many numbers tell of an outcome."""
    return {"regression": 2, "binary": 3}.get(task.kind, 2 + len(task.classes))


def sums_of(task: Task, said: Sequence[Said]) -> Sums:
    """The sums of outcomes, as batches of them have them."""
    table = np.array(said, float).reshape(len(said), width(task))
    truth: npt.NDArray[Any] = table[:, 0]
    columns: Columns
    if task.kind == "regression":
        columns = {"answer": Column(table[:, 1])}
    elif task.kind == "binary":
        columns = {"answer": Column(table[:, 1]), "probability": Column(table[:, 2])}
    else:
        names = np.array(task.classes, object)
        truth = names[table[:, 0].astype(int)]
        probabilities = np.empty(len(table), object)
        probabilities[:] = list(table[:, 2:])
        columns = {
            "answer": Column(names[table[:, 1].astype(int)]),
            "probabilities": Column(probabilities),
        }
    sums = Sums({"outcomes": len(said), "scored": len(said)})
    sums.add(contributions(task, columns, truth).sums(np.arange(len(said))))
    return sums


def fields_of(rows: Mapping[Order, Said]) -> dict[str, Any]:
    """Outcomes as fields of a tally record."""
    return {
        "last_times": [time for time, _ in rows],
        "last_ids": [id_ for _, id_ in rows],
        "last_said": [number for said in rows.values() for number in said],
    }


def rows_of(task: Task, tally: dict[str, Any]) -> dict[Order, Said]:
    """What `fields_of` made. ValueError where the parts do not fit together."""
    times, ids, said = tally["last_times"], tally["last_ids"], tally["last_said"]
    m = width(task)
    if len(said) != m * len(times):
        raise ValueError(f"{len(said)} numbers tell of {len(times)} outcomes, not {m} of each")
    each = (tuple(said[at : at + m]) for at in range(0, len(said), m))
    return dict(zip(zip(times, ids, strict=True), each, strict=True))


class LastOutcomes:
    """The greatest outcomes of every pane and of all panes before, by version and role."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._panes: dict[int, dict[Whose, Newest]] = {}
        self._before: dict[Whose, Newest] = {}

    def add(self, pane: int, whose: Whose, rows: dict[Order, Said]) -> Newest:
        """Take in a batch's greatest of a pane; what the pane has now."""
        newest = self._panes.setdefault(pane, {}).setdefault(whose, Newest())
        newest.add(rows, 1, self._n)
        return newest

    def restore(self, pane: int | None, whose: Whose, newest: Newest) -> None:
        """What was kept; pane None: of all panes before."""
        (self._before if pane is None else self._panes.setdefault(pane, {}))[whose] = newest

    def leave(self, pane: int) -> Iterator[tuple[Whose, Newest]]:
        """A pane merges into those before; what they have now, where that changed."""
        for whose, newest in self._panes.pop(pane, {}).items():
            before = self._before.setdefault(whose, Newest())
            before.add(newest.rows, newest.changes, self._n)
            yield whose, before

    def panes(self) -> Iterator[tuple[int, Whose]]:
        """Panes that hold outcomes, with whose they are."""
        for pane, groups in self._panes.items():
            for whose in groups:
                yield pane, whose

    def has(self, panes: range, whose: Whose) -> bool:
        """Whether any of the panes holds an outcome."""
        return any(whose in self._panes.get(pane, {}) for pane in panes)

    def before(self, end: int, whose: Whose, n: int) -> tuple[int, int | None, list[Said]]:
        """The n greatest before a time: how often they were amended, the event time of the first
        and what is said of each."""
        parts = [
            groups[whose] for pane, groups in self._panes.items() if pane < end and whose in groups
        ]
        if whose in self._before:
            parts.append(self._before[whose])
        every: dict[Order, Said] = {}
        for part in parts:
            every |= part.rows
        orders = heapq.nlargest(n, every)
        first = orders[-1][0] if orders else None
        return sum(part.changes for part in parts), first, [every[order] for order in orders]
