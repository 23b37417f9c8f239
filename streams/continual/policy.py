"""What a task says of a model that learns from each outcome as it comes."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from schemas.records import Kind
from streams.skops_files import UnsafeFile, dump


@dataclass(frozen=True, kw_only=True)
class Continual:
    """A model that learns in the stream, beside those that are fitted in batches.

    learner: a river estimator or pipeline that has learned nothing. It gets a dict an input:
        numbers and booleans as float, categories as str; what is missing is left out.
    share: of its log odds in the answer; the champion's have the rest (a regression: of the
        answers themselves). 1: it answers alone.
    every: outcomes from one version to the next, and seconds: the shortest time between two.
    judged: outcomes that it must have been compared on before it may answer.
    window: about as many of the newest outcomes count in the comparison: of one n outcomes ago
        there counts exp(-n / window).
    """

    learner: Any
    share: float = 1.0
    every: int = 500
    seconds: float = 10.0
    judged: int = 500
    window: int = 5000

    def problems(self, kind: Kind) -> Iterator[str]:
        """What is wrong with it in a task of a kind."""
        wanted = "predict_one" if kind == "regression" else "predict_proba_one"
        missing = [verb for verb in ("learn_one", wanted) if not hasattr(self.learner, verb)]
        if missing:
            yield f"continual: the learner has no {' and no '.join(missing)}; use one of river's"
        else:
            try:
                dump(self.fresh())
            except UnsafeFile as error:
                yield f"continual: the learner cannot be kept as data: {error}"
        if not 0 < self.share <= 1:
            yield f"continual: share {self.share} is above 0, and 1 at most"
        for name in ("every", "judged", "window"):
            number = getattr(self, name)
            if not isinstance(number, int) or number < 1:
                yield f"continual: {name} {number!r} is a whole number of outcomes, 1 or more"
        if not 0 <= self.seconds < math.inf:
            yield f"continual: seconds {self.seconds} is not a time"

    def fresh(self) -> Any:
        """A learner that has learned nothing."""
        return copy.deepcopy(self.learner)

    def facts(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "learner": " ".join(repr(self.learner).split()),
            "share": self.share,
            "judged": self.judged,
            "window": self.window,
        }
