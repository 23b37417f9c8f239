"""What a task says of its training: which labels, how much each counts, what is searched."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from streams.training.behaviour import Behaviour
from streams.training.behaviour import facts as behaviour_facts
from streams.training.calibration_policy import Calibration
from streams.training.check_policy import DataChecks
from streams.training.comparison import Comparison
from streams.training.search_policy import Search

WeakUse = Literal["never", "where_missing"]
TruthsOf = Literal["all", "answered", "labelled"]
GateForm = Literal["errors", "imitation"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How versions are trained: on which labels, with which weights, and how it is searched.

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
    search: for better settings of the candidates; none where it names no spaces.
    comparison: when a newcomer may follow the champion. behaviour: tests that each version must
        pass (`streams.training.behaviour`).
    checks: what rows must be like to be trained on. calibration: how probabilities are set right.
    gate_must_pay: a gate is deployed only where it costs less than the inference that it spares
        (`streams.training.gating.deployed`). False where what is held back is worth more than the
        time of a model: where people answer it, or a wrong answer is dear.
    gate_forms: which forms of a gate are tried: ``errors``, a model of the errors made on rows that
        were not learned from; ``imitation``, a network that follows the model and a committee of
        it. The network finds more errors on some data; it is tried from 50,000 training rows on,
        and takes a minute and more to fit.
    """

    weak_labels: WeakUse = "never"
    truths_of: TruthsOf = "all"
    propensity: bool = True
    clip: float = 50.0
    search: Search = field(default_factory=Search)
    comparison: Comparison = field(default_factory=Comparison)
    behaviour: Sequence[Behaviour] = ()
    checks: DataChecks = field(default_factory=DataChecks)
    calibration: Calibration = field(default_factory=Calibration)
    gate_must_pay: bool = True
    gate_forms: Sequence[GateForm] = ("errors", "imitation")

    def problems(
        self, follows_signals: bool, exploration: float, candidates: Mapping[str, Any]
    ) -> Iterator[str]:
        """What is wrong with it in a task that has weak labels or not, explores a share, and has
        these candidates."""
        yield from self.search.problems(candidates)
        yield from self.checks.problems()
        yield from self.calibration.problems()
        if isinstance(self.gate_forms, str) or not set(self.gate_forms) <= set(get_args(GateForm)):
            yield f"training: gate_forms {self.gate_forms!r} is a list of {_either(GateForm)}"
        elif "errors" not in self.gate_forms:
            yield "training: gate_forms has the form errors: with few rows no other can be fitted"
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
        for problem in self.comparison.problems():
            yield f"training: {problem}"

    def facts(self) -> dict[str, Any]:
        """What of it decides a version, as JSON data."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "checks"}
        plain = {
            name: value.facts() if hasattr(value, "facts") else value for name, value in own.items()
        }
        return plain | {"behaviour": [behaviour_facts(test) for test in self.behaviour]}


def _either(words: Any) -> str:
    return " or ".join(repr(word) for word in get_args(words))
