"""What a task says of rollouts: how an accepted version becomes champion."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, Literal, get_args

from schemas.records import Kind

Strategy = Literal["blue-green", "canary", "ab", "bandit"]
By = Literal["id", "entity"]
Loss = Literal["brier", "log_loss", "absolute_error", "squared_error"]

LOSSES: Mapping[str, tuple[Loss, ...]] = {
    "binary": ("brier", "log_loss"),
    "multiclass": ("brier", "log_loss"),
    "regression": ("absolute_error", "squared_error"),
}
"""The losses that versions of each kind of task may be compared by; the first is the default."""
CLIP = 0.01
"""A probability counts as this at least in the log loss, so that the loss has a bound."""


@dataclass(frozen=True, kw_only=True)
class Guardrails:
    """What must not get worse, whatever the loss does. None: it is not looked at.

    unanswered: how much greater a version's share of requests that its model does not answer
        (its gate held them back, or it failed) may be than that of the version before it.
    latency_ms: time of gate and model for a batch that one batch in a hundred may exceed.
    segment: how much greater the mean loss may be in any of the task's segments.
    """

    unanswered: float | None = 0.1
    latency_ms: float | None = None
    segment: float | None = 0.05

    def problems(self) -> Iterator[str]:
        """What is wrong with it, in words."""
        for name in ("unanswered", "segment"):
            value = getattr(self, name)
            if value is not None and not (_number(value) and value >= 0):
                yield f"rollout: guardrail {name} {value!r} is a number, 0 or more, or None"
        if self.latency_ms is not None and not (_number(self.latency_ms) and self.latency_ms > 0):
            yield f"rollout: guardrail latency_ms {self.latency_ms!r} is above 0, or None"

    @property
    def looked_at(self) -> int:
        """How many there are, which share an error rate."""
        return sum(getattr(self, name) is not None for name in self.__dataclass_fields__)


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How an accepted version becomes champion.

    strategy: ``blue-green``: at once. ``canary``: it looks on as a shadow, then answers a small
        share of the requests, then all. ``ab``: it answers a fixed share until a decision.
        ``bandit``: it answers more the better it does.
    shares: of the requests that go to the canary, step by step; of ``ab``, one number: what the
        new versions answer together.
    floor: the least share of an arm of the bandit.
    by: what a request's version is drawn by: its ``id``, or its ``entity`` (the id where it has
        none), so that a client always meets the same version.
    loss: what versions are compared by; None: Brier score (of several classes, half of it) or
        absolute error. Probabilities below `CLIP` count as that in the log loss.
    largest_loss: of a regression: more than this counts as this. With it error rates hold for any
        number of outcomes, without it from ``min_outcomes`` on, approximately.
    tolerance: how much greater the mean loss of a new version may be. 0: it must be better for
        sure; above 0: it must for sure be no worse than that.
    alpha: the probability, over all looks together, with which a version that is not within the
        tolerance is promoted; and that with which one that is gets refused or rolled back.
    min_outcomes: outcomes of a stage before it may end well.
    patience: longest time (event time) in a stage; then the champion stays.
    watch: for how long (event time) the champion before goes on as a shadow after a promotion, so
        that a regression shows. None: as long as the patience, and of ``blue-green`` not at all.
    every: outcomes between two changes of a bandit's shares.
    """

    strategy: Strategy = "blue-green"
    shares: Sequence[float] | None = None
    floor: float = 0.05
    by: By = "id"
    loss: Loss | None = None
    largest_loss: float | None = None
    tolerance: float = 0.0
    alpha: float = 0.05
    min_outcomes: int = 200
    patience: timedelta = timedelta(days=14)
    watch: timedelta | None = None
    every: int = 200
    guardrails: Guardrails = field(default_factory=Guardrails)

    @property
    def steps(self) -> tuple[float, ...]:
        """The shares, or what stands for them."""
        if self.shares is not None:
            return tuple(self.shares)
        return (0.5,) if self.strategy == "ab" else (0.1,)

    @property
    def watch_ms(self) -> int:
        """For how long a former champion looks on, in milliseconds."""
        watch = self.watch
        if watch is None:
            watch = timedelta(0) if self.strategy == "blue-green" else self.patience
        return int(watch.total_seconds() * 1000)

    @property
    def patience_ms(self) -> int:
        """The patience in milliseconds."""
        return int(self.patience.total_seconds() * 1000)

    @property
    def compares(self) -> bool:
        """Whether versions are ever compared in service."""
        return self.strategy != "blue-green" or self.watch_ms > 0

    @property
    def first_role(self) -> Literal["champion", "shadow", "candidate"]:
        """What an accepted version does first, where there is a champion."""
        if self.strategy == "blue-green":
            return "champion"
        return "shadow" if self.strategy == "canary" else "candidate"

    def loss_of(self, kind: Kind) -> Loss:
        """The loss of a task of a kind."""
        return self.loss or LOSSES[kind][0]

    def largest(self, kind: Kind) -> float | None:
        """The largest loss that an answer may have; None: there is no bound."""
        match self.loss_of(kind):
            case "brier":
                return 1.0
            case "log_loss":
                return -math.log(CLIP)
            case _:
                return self.largest_loss

    def problems(self, kind: Kind) -> list[str]:
        """What is wrong with it, in words; empty where nothing is."""
        return list(self._problems(kind))

    def _problems(self, kind: Kind) -> Iterator[str]:
        if self.strategy not in get_args(Strategy):
            yield f"rollout: strategy {self.strategy!r} is {_either(Strategy)}"
        if self.by not in get_args(By):
            yield f"rollout: by {self.by!r} is {_either(By)}"
        if self.loss is not None and self.loss not in LOSSES[kind]:
            yield f"rollout: loss {self.loss!r} of a {kind} task is one of {LOSSES[kind]}"
        if self.largest_loss is not None and kind != "regression":
            yield "rollout: largest_loss is for regressions; other losses have a bound"
        elif self.largest_loss is not None and not (
            _number(self.largest_loss) and self.largest_loss > 0
        ):
            yield f"rollout: largest_loss {self.largest_loss!r} is a number above 0"
        steps = self.steps
        if not steps or not all(_number(share) and 0 < share < 1 for share in steps):
            yield f"rollout: shares {self.shares!r} are numbers between 0 and 1, one or more"
        elif list(steps) != sorted(set(steps)):
            yield f"rollout: shares {self.shares!r} grow from step to step"
        elif self.strategy == "ab" and len(steps) != 1:
            yield f"rollout: shares {self.shares!r}: of ab one number, what new versions answer"
        if not _number(self.floor) or not 0 < self.floor <= 0.5:
            yield f"rollout: floor {self.floor!r} is a share, above 0 to 0.5"
        if not _number(self.tolerance) or self.tolerance < 0:
            yield f"rollout: tolerance {self.tolerance!r} is a number, 0 or more"
        if not _number(self.alpha) or not 0 < self.alpha < 0.5:
            yield f"rollout: alpha {self.alpha!r} is a probability, above 0 and below 0.5"
        for name in ("min_outcomes", "every"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                yield f"rollout: {name} {value!r} is a whole number, 1 or more"
        if self.patience <= timedelta(0):
            yield f"rollout: patience {self.patience} is a positive time"
        if self.watch is not None and self.watch < timedelta(0):
            yield f"rollout: watch {self.watch} is a time, 0 or more"
        yield from self.guardrails.problems()

    def facts(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            name: value.total_seconds() if isinstance(value, timedelta) else value
            for name, value in asdict(self).items()
        } | {"shares": list(self.steps)}


def _either(words: Any) -> str:
    return " or ".join(repr(word) for word in get_args(words))


def _number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]
