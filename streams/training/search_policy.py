"""What a task says of the search for its candidates' hyper-parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Space = Mapping[str, Any]
"""By name of a parameter: a list of values, or a distribution (anything with ``rvs``)."""

MOST_BUDGET = 10_000.0


@dataclass(frozen=True, kw_only=True)
class Search:
    """How much is spent on finding better settings of which candidates.

    spaces: by candidate, what its parameters may be: scikit-learn's names (``learning_rate``, in a
        pipeline ``<step>__<parameter>``), each with a list of values or a distribution of scipy.
        Candidates that are not named stay as they are declared; these are tried in any case.
        `streams.training.spaces` has one for histogram boosting.
    budget: what the search of a candidate may cost: rows that are fitted, all fits together, in
        multiples of the training rows. 9 is nine fits on all of them, or 27 settings on a ninth,
        the best 9 on a third, the best 3 on all. 0: no search.
    least_rows: no setting is judged by a fit on fewer rows.
    seconds, memory_mb: guards. No further setting of a candidate is tried when those tried took
        longer, or when the trainer's process holds more. What they cut short is recorded, and the
        version's id then says how far the search came.
    """

    spaces: Mapping[str, Space] = field(default_factory=dict)
    budget: float = 9.0
    least_rows: int = 1000
    seconds: float = 900.0
    memory_mb: float = 4000.0

    def problems(self, candidates: Mapping[str, Any]) -> Iterator[str]:
        """What is wrong with it in a task that has these candidates."""
        for name, space in self.spaces.items():
            if name not in candidates:
                yield f"search: {name!r} is not a candidate"
                continue
            estimator = candidates[name]
            if not hasattr(estimator, "get_params") or not hasattr(estimator, "set_params"):
                yield f"search: candidate {name!r} has no get_params and set_params"
                continue
            if not space:
                yield f"search: the space of {name!r} is empty"
            known = estimator.get_params(deep=True)
            for parameter, values in space.items():
                if parameter not in known:
                    yield f"search: candidate {name!r} has no parameter {parameter!r}"
                if not (_is_list(values) or hasattr(values, "rvs")):
                    yield (
                        f"search: {parameter!r} of {name!r} is a list of one or more values, or "
                        "a distribution with rvs()"
                    )
        if not _between(self.budget, 0, MOST_BUDGET):
            yield f"search: budget {self.budget!r} is a number, 0 to {MOST_BUDGET:g}"
        if not isinstance(self.least_rows, int) or self.least_rows < 1:
            yield f"search: least_rows {self.least_rows!r} is a whole number, 1 or more"
        for what in ("seconds", "memory_mb"):
            if not _between(getattr(self, what), 0, math.inf):
                yield f"search: {what} {getattr(self, what)!r} is a number above 0"

    def facts(self) -> dict[str, Any]:
        """What of it decides a version, as JSON data: not the guards."""
        spaces = {
            name: {parameter: described(values) for parameter, values in space.items()}
            for name, space in self.spaces.items()
        }
        return {"spaces": spaces, "budget": self.budget, "least_rows": self.least_rows}


def described(value: Any) -> Any:
    """A parameter's value, list of values or distribution as JSON data; equal ones alike."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | tuple):
        return [described(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): described(one) for name, one in value.items()}
    if hasattr(value, "item"):  # a number of NumPy's
        return described(value.item())
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if hasattr(value, "dist"):  # a frozen distribution of scipy
        name = f"scipy.stats.{value.dist.name}"
        return {"distribution": name, "args": described(value.args), "kwds": described(value.kwds)}
    return {"class": name, "value": re.sub(r" at 0x[0-9a-f]+", "", repr(value))}


def _is_list(values: Any) -> bool:
    return isinstance(values, list | tuple) and len(values) > 0


def _between(value: Any, low: float, high: float) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and low <= value <= high and not math.isnan(value)
