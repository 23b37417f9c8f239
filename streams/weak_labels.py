"""How a task reads signals of users as weak labels: the declaration, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

SOURCE = "signals"
"""The source of every weak label."""
USER = "user"
"""The source of truths that users give by a signal of correction."""


@dataclass(frozen=True)
class Dwell:
    """A signal whose value tells how long (seconds, or what the task counts): from ``at_least`` on
    it is a positive label of ``weight``; a shorter one says nothing."""

    at_least: float
    weight: float


@dataclass(frozen=True, kw_only=True)
class WeakLabels:
    """What signals say of a request.

    session: of event time, from the request's first signal on; at its end the label is told.
    examined: kinds that say the user saw the answer; they carry the exposure.
    positive, negative: kinds that speak for and against, with the weight of the label.
    undo: kinds that take back the last positive or negative signal before them.
    dwell: kinds that are positive from a value on.
    ignored: weight of the negative label of an answer that was examined and got no positive or
        negative signal until the session ended; 0: such an answer has no label.
    correction: the kind whose ``truth`` is the user's own answer: a truth of the source ``user``.
    about: ``target``: positive means that the (binary) target is true. ``answer``: positive means
        that the answer was right; negative that it was wrong, which labels a binary target only.
    """

    session: timedelta
    examined: Sequence[str] = ("impression",)
    positive: Mapping[str, float] = field(default_factory=lambda: {"click": 1.0})
    negative: Mapping[str, float] = field(default_factory=dict)
    undo: Sequence[str] = ()
    dwell: Mapping[str, Dwell] = field(default_factory=dict)
    ignored: float = 0.3
    correction: str | None = None
    about: Literal["target", "answer"] = "target"

    @property
    def session_ms(self) -> int:
        """The session's length in milliseconds."""
        return int(self.session.total_seconds() * 1000)

    def kinds(self) -> list[str]:
        """Every kind that is named, as often as it is."""
        named = [*self.examined, *self.positive, *self.negative, *self.undo, *self.dwell]
        return [*named, *([self.correction] if self.correction else [])]

    def problems(
        self, kind: str, signals: Sequence[str], sources: Sequence[str], horizon: timedelta
    ) -> Iterator[str]:
        """What is wrong with it, in a task of this kind of target, signals, sources, horizon."""
        where = "weak_labels:"
        if self.about == "target" and kind != "binary":
            yield f'{where} signals tell the value of a binary target only; use about="answer"'
        if kind == "regression":
            yield f"{where} a number cannot be told right or wrong by signals"
        if not timedelta(0) < self.session <= horizon:
            yield f"{where} session {self.session}: a positive time up to the horizon {horizon}"
        kinds = self.kinds()
        for name in sorted(set(kinds) - set(signals)):
            yield f"{where} {name!r} is not among the task's signals"
        for name in sorted({name for name in kinds if kinds.count(name) > 1}):
            yield f"{where} {name!r} is given two meanings"
        weights = [*self.positive.items(), *self.negative.items()]
        weights += [(name, dwell.weight) for name, dwell in self.dwell.items()]
        for name, weight in weights:
            if not 0 < weight <= 1:
                yield f"{where} weight {weight} of {name!r}: above 0 to 1"
        if not 0 <= self.ignored <= 1:
            yield f"{where} ignored {self.ignored}: 0 (no label) to 1"
        if self.correction and USER not in sources:
            yield f"{where} corrections are truths of {USER!r}, which is not in truth_sources"
