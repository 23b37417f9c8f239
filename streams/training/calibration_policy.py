"""What a task says of how probabilities are set right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

NAMES = ("temperature", "sigmoid", "isotonic")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Which ways of calibration are tried, and when one is kept (`streams.calibration`).

    methods: none: probabilities stay as the estimator gives them.
    rows: fewest rows with a true label that one is learned from, and judged on.
    isotonic_rows: the same for ``isotonic``, whose many steps learn few rows by heart.
    error: probability with which one may be kept that does not help.
    """

    methods: Sequence[str] = NAMES
    rows: int = 500
    isotonic_rows: int = 2000
    error: float = 0.05

    def problems(self) -> Iterator[str]:
        """What is wrong with it."""
        for name in self.methods:
            if name not in NAMES:
                yield f"calibration: {name!r} is not one of {', '.join(NAMES)}"
        for what in ("rows", "isotonic_rows"):
            value = getattr(self, what)
            if not isinstance(value, int) or value < 2:
                yield f"calibration: {what} {value!r} is a whole number, 2 or more"
        if not isinstance(self.error, float) or not 0 < self.error < 0.5:
            yield f"calibration: error {self.error!r} is a probability below 0.5"

    def facts(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self) | {"methods": list(self.methods)}
