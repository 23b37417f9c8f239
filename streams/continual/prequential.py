"""How good answers were that were made before their truth was learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass
class Faded:
    """Means of losses by name, of the newest outcomes: of one n outcomes ago counts
    exp(-n / window) (prequential error with a fading factor: Gama, Sebastião and Rodrigues 2013,
    Machine Learning 90).

    outcomes: how many have been taken in. weight: what they count together.
    """

    window: int
    outcomes: int = 0
    weight: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, losses: Mapping[str, Floats]) -> None:
        """Take in the losses of some outcomes, the oldest first; of all names as many."""
        n = len(next(iter(losses.values())))
        fading = np.exp(-np.arange(n - 1, -1, -1) / self.window)
        before = float(np.exp(-n / self.window))
        self.weight = before * self.weight + float(fading.sum())
        for name, loss in losses.items():
            self.sums[name] = before * self.sums.get(name, 0.0) + float(fading @ loss)
        self.outcomes += n

    def means(self) -> dict[str, float]:
        """By name; {} of none."""
        return {name: total / self.weight for name, total in self.sums.items()}

    def plain(self) -> dict[str, object]:
        """As JSON data."""
        return {"outcomes": self.outcomes, "weight": self.weight, "sums": dict(self.sums)}

    @classmethod
    def of_plain(cls, window: int, plain: Mapping[str, object]) -> Faded:
        """From `plain`'s data."""
        return cls(window, **plain)  # type: ignore[arg-type]
