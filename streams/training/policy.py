"""What a task says of the labels that it learns from: which, and how much each counts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

WeakUse = Literal["never", "where_missing"]
TruthsOf = Literal["all", "answered", "labelled"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """Which labels train a version, and with which weights.

    weak_labels: ``never``: true labels alone. ``where_missing``: a request without a true label is
        learned from with its weak one, which counts as much as the task gives its signals.
        Versions are judged on true labels only, whatever this says.
    truths_of: which requests get a truth. ``all``: each of them, sooner or later, whatever was
        answered. ``answered``: those that the model answered, and of those that the gate held back
        the ones that people labelled. ``labelled``: those that people were asked about.
    propensity: weigh each label by the inverse of the probability with which it came to be known
        (`streams.training.weights`), so that the rows stand for all requests.
    clip: the largest such inverse; more would be the noise of one row. It should not be below
        1 / ``exploration``, or what the gate holds back stays under-represented.
    """

    weak_labels: WeakUse = "never"
    truths_of: TruthsOf = "all"
    propensity: bool = True
    clip: float = 50.0

    def problems(self, follows_signals: bool, exploration: float) -> Iterator[str]:
        """What is wrong with it in a task that has weak labels or not, and explores a share."""
        if self.weak_labels not in get_args(WeakUse):
            yield f"training: weak_labels {self.weak_labels!r} is {_either(WeakUse)}"
        elif self.weak_labels != "never" and not follows_signals:
            yield "training: there are no weak labels to learn from; declare weak_labels"
        if self.truths_of not in get_args(TruthsOf):
            yield f"training: truths_of {self.truths_of!r} is {_either(TruthsOf)}"
        number = isinstance(self.clip, int | float) and not isinstance(self.clip, bool)
        if not number or not 1 <= self.clip < math.inf:
            yield f"training: clip {self.clip!r} is a number, 1 or more"
        elif self.truths_of == "answered" and self.propensity and 0 < exploration < 1 / self.clip:
            yield (
                f"training: clip {self.clip:g} is less than 1 / exploration ({1 / exploration:g}): "
                "raise it, or what the gate holds back stays under-represented"
            )

    def facts(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def _either(words: Any) -> str:
    return " or ".join(repr(word) for word in get_args(words))
