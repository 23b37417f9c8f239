"""One comparison under way: who is compared, since when, and the sums so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from schemas.records import Kind
from streams.rollout.evidence import Evidence
from streams.rollout.policy import Rollout
from streams.rollout.sums import About, Sums

Stage = Literal["shadow", "canary", "ab", "bandit", "watch"]
MOST_SEGMENTS = 100
"""Values of segments that are looked at in an experiment."""


@dataclass
class Experiment:
    """An experiment.

    stage: what its challengers do now; ``watch``: the challenger is champion already, and the one
        before it looks on.
    reference: the version that they are compared with. challengers: those that are.
    baseline: what the reference's mean loss is about, known before the experiment.
    step: which of the canary's shares. since: event time at which the stage began, None: not known.
    outcomes: of each challenger, those that it had then; own: those that it had answered itself.
    shares: of arms, by version; least: the smallest share that any arm has had.
    moved_at: outcomes of all arms at the last change of a bandit's shares.
    """

    id: str
    stage: Stage
    reference: str
    challengers: list[str]
    baseline: float = 0.5
    step: int = -1
    since: int | None = None
    outcomes: dict[str, int] = field(default_factory=dict)
    own: dict[str, int] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    least: float = 1.0
    moved_at: int = 0
    sums: Sums = field(default_factory=dict)

    @property
    def paired(self) -> bool:
        """Whether versions are compared on the same requests."""
        return self.stage in ("shadow", "canary", "watch")

    @property
    def members(self) -> set[str]:
        """All versions that take part."""
        return {self.reference, *self.challengers}

    def evidence(self, policy: Rollout, kind: Kind) -> Evidence:
        """What its sums say."""
        return Evidence(
            policy,
            kind,
            self.sums,
            self.reference,
            self.baseline,
            len(self.challengers) or 1,
            self.least,
            self.paired,
        )

    def take(self, sums: Sums) -> None:
        """Add what a batch adds; the segments' values are bounded."""
        segments = {(a.segment, a.value) for a in self.sums if a.segment}
        for about, values in sums.items():
            where = (about.segment, about.value)
            if about.segment and where not in segments:
                if len(segments) >= MOST_SEGMENTS:
                    continue
                segments.add(where)
            known = self.sums.setdefault(about, [0.0] * len(values))
            for i, value in enumerate(values):
                known[i] += value

    def enter(self, stage: Stage, policy: Rollout, kind: Kind, now: int | None) -> None:
        """A stage, or a step of it, begins."""
        self.stage, self.since = stage, now
        evidence = self.evidence(policy, kind)
        self.outcomes = {version: evidence.answered(version) for version in self.challengers}
        self.own = {version: evidence.own(version) for version in self.challengers}

    def give(self, shares: Mapping[str, float]) -> None:
        """The arms' shares from now on."""
        self.shares = dict(shares)
        self.least = min(self.least, *self.shares.values())

    def state(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self) | {"sums": [[*about, values] for about, values in self.sums.items()]}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """What `state` gave."""
        sums = {About(*about): list(values) for *about, values in state["sums"]}
        return cls(**{**state, "sums": sums})
