"""Whether a newcomer that may be better overall is worse on a part of the traffic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streams.groups import text
from streams.task import Boolean, Task
from streams.training.comparison import Comparison
from streams.training.paired import Difference, difference, holm

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Slice:
    """The rows with one value of a segment: both losses, and what the paired test says.

    low: the bound that the true difference is above, at the settings' error, if this were the only
    slice. p: of the hypothesis that the newcomer is worse by the margin at most; adjusted_p: the
    same where all slices are looked at (Holm). worse: whether that is clear.
    """

    segment: str
    value: str
    rows: int
    loss: float
    champion_loss: float
    difference: float
    low: float
    p: float
    adjusted_p: float
    worse: bool

    def facts(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def slices(
    task: Task, frame: pd.DataFrame, mine: Floats, theirs: Floats, weight: Floats | None
) -> list[Slice]:
    """Every value of the task's segments that enough rows have.

    frame: (n, inputs); mine, theirs: (n,), the losses of newcomer and champion; weight: (n,), how
    much each row counts; all in order of time. Clearly worse is a slice whose loss is greater by
    more than ``segment_margin``, with the probability ``error`` of saying so by mistake of any.
    """
    policy: Comparison = task.training.comparison
    named: list[tuple[str, str, int, float, float]] = []
    found: list[Difference] = []
    p_values: list[float] = []
    for segment, value, rows in _values(task, frame):
        if rows.sum() < policy.segment_rows:
            continue
        each = None if weight is None else weight[rows]
        own, other = (float(np.average(all_[rows], weights=each)) for all_ in (mine, theirs))
        apart = difference(mine[rows], theirs[rows], each, policy.blocks)
        named.append((segment, value, int(rows.sum()), own, other))
        found.append(apart)
        p_values.append(apart.p_above(policy.segment_margin * other))
    error = policy.error
    return [
        Slice(*name, apart.value, apart.interval(error)[0], p, adjusted, adjusted < error)
        for name, apart, p, adjusted in zip(named, found, p_values, holm(p_values), strict=True)
    ]


def worst_first(found: Sequence[Slice]) -> list[Slice]:
    """Those that are clearly worse, the surest first."""
    return sorted((one for one in found if one.worse), key=lambda one: one.p)


def _values(task: Task, frame: pd.DataFrame) -> Iterator[tuple[str, str, Mask]]:
    """Each value of a segment that there is, with its rows; nulls are none, as in the metrics."""
    for segment in task.segments:
        column = frame[segment]
        for value in sorted(column.dropna().unique()):
            name = bool(value) if isinstance(task.feature(segment), Boolean) else value
            yield segment, text(name), (column == value).to_numpy(bool)
