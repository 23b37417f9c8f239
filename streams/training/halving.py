"""How many settings are fitted on how many rows: successive halving within a budget.

Many settings are fitted on few rows, the best third of them on three times as many, and so on
until all rows (Jamieson and Talwalkar 2016; Karnin et al. 2013). Each rung costs about the same.
scikit-learn's HalvingRandomSearchCV scores by folds that know no time and without weights; here
the validation lies after all rows that are fitted, weights count, finished fits survive a crash,
and the cost is known beforehand. A rung's rows are spread evenly over the training's time: its
newest ones alone are few days, and on the demo's flights a setting that was best on these (a storm)
was worse than the answer that ignores the input.
"""

from __future__ import annotations

from dataclasses import dataclass

FACTOR = 3
"""Share of a rung's settings that go on, and by how much its rows grow (Hyperband's choice)."""
MOST_RUNGS = 3
"""The first fits on no fewer than a ninth of the rows: what is best on less is another setting."""


@dataclass(frozen=True)
class Rung:
    """So many settings are fitted on so many rows."""

    settings: int
    rows: int


def rungs(rows: int, budget: float, least_rows: int, most_settings: int) -> list[Rung]:
    """The rungs of a search on ``rows`` training rows, the last on all of them; [] for none.

    All fits together have at most ``budget * rows`` rows; none has fewer than ``least_rows``,
    but where there are no more. most_settings: so many different ones exist.
    """
    for count in range(MOST_RUNGS, 0, -1):
        first, least = rows // FACTOR ** (count - 1), FACTOR ** (count - 1)
        if first < 1 or (count > 1 and first < least_rows):
            continue
        sizes = [first * FACTOR**i for i in range(count - 1)] + [rows]
        settings = min(int(budget * rows / (count * first)), most_settings)
        while settings >= least:
            found = [Rung(settings // FACTOR**i, size) for i, size in enumerate(sizes)]
            if sum(rung.settings * rung.rows for rung in found) <= budget * rows:
                return found
            settings -= 1
    return []
