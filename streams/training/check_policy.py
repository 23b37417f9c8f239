"""What a task says of the checks that rows must pass before they are trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

LEAST_ROWS = 60
"""Below it the tests' seventh of the rows would be fewer than ten: chance, not evidence."""
WARNS_AT = 0.5
"""Share of a limit from which a change is told of."""


@dataclass(frozen=True, kw_only=True)
class DataChecks:
    """How bad rows may be. What is beyond a limit refuses the training, what is below it but not
    as it should be is a warning in the version's manifest. Limits change no version.

    rows: fewest rows with a true label.
    out_of_range: share of the rows whose value of a feature is outside its declared range or
        names, or whose event time is outside the task's.
    missing_more: how much greater than in the champion's training data a feature's share of
        missing values may be.
    label_shift: share of the labels that may have moved to other classes (of a regression: other
        tenths of the range) since the champion's training data.
    duplicates: share of the rows that are there more than once, with the same time and label.
    known_before: share of the rows whose label was known before the event.
    leak: a feature that by itself orders the labels better than this is taken for the label in
        disguise: the AUC (multi-class: of each class against the others, on average), of a
        regression the share of the variance that it explains. 1: any may.
    """

    rows: int = LEAST_ROWS
    out_of_range: float = 0.01
    missing_more: float = 0.3
    label_shift: float = 0.3
    duplicates: float = 0.05
    known_before: float = 0.01
    leak: float = 0.999

    def problems(self) -> Iterator[str]:
        """What is wrong with it."""
        if not isinstance(self.rows, int) or self.rows < LEAST_ROWS:
            yield f"checks: rows {self.rows!r} is a whole number, {LEAST_ROWS} or more"
        for name, value in asdict(self).items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if name != "rows" and not (number and 0 <= value <= 1):
                yield f"checks: {name} {value!r} is a share: 0 to 1"
