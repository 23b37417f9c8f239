"""What a task says of how a newcomer is compared with the champion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Unsure = Literal["estimate", "refuse"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """When a newcomer may follow the champion; both are asked about the same held-out rows.

    margin: how much greater, relatively, the newcomer's loss may be: newer data is worth that much.
    error: probability, at most, of passing a newcomer that is worse by the margin as "not worse",
        and of finding one worse that is not; of the segments: of refusing one by mistake for any
        of them.
    unsure: what is done where the rows are too few to tell either. ``estimate``: the newcomer
        passes if its loss itself is within the margin; ``refuse``: the champion stays.
    blocks: of time that the test counts (`streams.training.paired`). More make it sharper; fewer
        keep its level where losses are alike for longer.
    segment_margin: how much greater, relatively, its loss may be on one value of a segment.
    segment_rows: a value with fewer held-out rows is not judged.
    """

    margin: float = 0.01
    error: float = 0.05
    unsure: Unsure = "estimate"
    blocks: int = 10
    segment_margin: float = 0.05
    segment_rows: int = 50

    def problems(self) -> Iterator[str]:
        """What is wrong with it, in words; empty where nothing is."""
        for name in ("margin", "segment_margin"):
            if not _number(getattr(self, name)) or getattr(self, name) < 0:
                yield f"comparison: {name} {getattr(self, name)!r} is a share: 0 or more"
        if not _number(self.error) or not 0 < self.error < 0.5:
            yield f"comparison: error {self.error!r} is a probability: above 0 to below 0.5"
        if self.unsure not in get_args(Unsure):
            yield f"comparison: unsure {self.unsure!r} is 'estimate' or 'refuse'"
        for name in ("blocks", "segment_rows"):
            count = getattr(self, name)
            if not isinstance(count, int) or isinstance(count, bool) or count < 2:
                yield f"comparison: {name} {count!r} is a whole number, 2 or more"

    def facts(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def _number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]
