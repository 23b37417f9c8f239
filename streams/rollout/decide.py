"""What the evidence of an experiment says: go on, move up, refuse, roll back, give up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from schemas.records import Kind
from streams.rollout import bandit
from streams.rollout.evidence import Estimate, Evidence
from streams.rollout.experiment import Experiment
from streams.rollout.policy import Rollout

Action = Literal[
    "started",
    "canary",
    "step",
    "shares",
    "promoted",
    "refused",
    "rolled-back",
    "kept",
    "ended",
]
Rule = Literal["loss", "segment", "unanswered", "latency", "patience", "outcomes", "hand", "policy"]


@dataclass(frozen=True)
class Verdict:
    """What is to be done about a version of an experiment, by which rule, and why in words.

    estimate: what decided, if anything was estimated. shares: the arms' from now on.
    """

    action: Action
    version: str
    rule: Rule
    reason: str
    estimate: Estimate | None = None
    shares: dict[str, float] | None = None


def decide(policy: Rollout, kind: Kind, experiment: Experiment, now: int | None) -> Verdict | None:
    """What is to be done now; None: go on.

    now: how far event time has come. One thing at a time: the caller asks again.
    """
    evidence = experiment.evidence(policy, kind)
    for version in experiment.challengers:
        worse = _worse(evidence, version)
        if worse is not None:
            watched = experiment.stage == "watch"
            return Verdict(
                "rolled-back" if watched else "refused",
                version,
                _rule(worse),
                _worse_words(worse, version, experiment.reference),
                worse,
            )
    lasted = None if now is None or experiment.since is None else now - experiment.since
    if experiment.stage == "watch":
        (version,) = experiment.challengers
        if lasted is not None and lasted > policy.watch_ms:
            loss = evidence.loss(version)
            reason = f"{_so_far(loss, experiment.reference)}: no regression while it was watched"
            return Verdict("ended", version, "policy", reason, loss)
        return None
    ready = list(_ready(policy, experiment, evidence))
    if ready:
        return _up(policy, experiment, min(ready, key=lambda found: found[1].value))
    if lasted is not None and lasted > policy.patience_ms:
        version = experiment.challengers[0]
        loss = evidence.loss(version)
        reason = (
            f"after {policy.patience} it is not sure to be within the tolerance: "
            f"{_so_far(loss, experiment.reference)}; {experiment.reference} stays"
        )
        return Verdict("kept", version, "patience", reason, loss)
    return _shares(policy, experiment, evidence)


def _worse(evidence: Evidence, version: str) -> Estimate | None:
    """What is worse for sure than is bearable."""
    loss = evidence.loss(version)
    if loss.worse:
        return loss
    return next(
        (guard for guard in evidence.guardrails(version, suspect=True) if guard.worse), None
    )


def _ready(
    policy: Rollout, experiment: Experiment, evidence: Evidence
) -> Iterator[tuple[str, Estimate]]:
    """Challengers that are for sure within the tolerance, on enough outcomes of this stage.

    Of a canary enough must be its own as well: outcomes of requests from before the stage still
    come in it.
    """
    for version in experiment.challengers:
        loss = evidence.loss(version)
        here = loss.n - experiment.outcomes.get(version, 0)
        if not loss.fine or here < policy.min_outcomes:
            continue
        if experiment.stage == "canary":
            own = evidence.own(version) - experiment.own.get(version, 0)
            if own < policy.min_outcomes * experiment.shares[version]:
                continue
        yield version, loss


def _up(policy: Rollout, experiment: Experiment, found: tuple[str, Estimate]) -> Verdict:
    version, loss = found
    reason = _fine_words(loss, version, experiment.reference)
    step = experiment.step + 1
    if experiment.stage in ("shadow", "canary") and step < len(policy.steps):
        share = policy.steps[step]
        action: Action = "step" if experiment.stage == "canary" else "canary"
        reason += f"; it answers {share:.0%} of the requests"
        shares = {version: share, experiment.reference: 1 - share}
        return Verdict(action, version, "loss", reason, loss, shares)
    return Verdict("promoted", version, "loss", reason, loss)


def _shares(policy: Rollout, experiment: Experiment, evidence: Evidence) -> Verdict | None:
    """New shares of a bandit's arms, where enough outcomes have come."""
    if experiment.stage != "bandit":
        return None
    arms = evidence.arms()
    outcomes = sum(arm.n for arm in arms.values())
    if outcomes - experiment.moved_at < policy.every:
        return None
    versions = [experiment.reference, *experiment.challengers]
    seed = f"{experiment.id}/{outcomes}"
    given = bandit.shares(arms, versions, policy.floor, seed)
    best = max(given, key=lambda version: given[version])
    told = ", ".join(f"{version} {share:.0%}" for version, share in given.items())
    reason = f"by the probability of being best after {outcomes:,} outcomes: {told}"
    return Verdict("shares", best, "outcomes", reason, None, given)


def _rule(estimate: Estimate) -> Rule:
    return "segment" if estimate.segment else estimate.what


def _numbers(estimate: Estimate) -> str:
    return f"between {estimate.low:+.4f} and {estimate.high:+.4f}, on {estimate.n:,}"


def _counted(estimate: Estimate) -> str:
    return {"loss": "outcomes", "unanswered": "requests", "latency": "batches"}[estimate.what]


def _worse_words(estimate: Estimate, version: str, reference: str) -> str:
    where = f" where {estimate.segment}" if estimate.segment else ""
    if estimate.what == "latency":
        return (
            f"{version}: the {estimate.words} is {estimate.value:.1%}, at least "
            f"{estimate.low:.1%}, on {estimate.n:,} batches; {estimate.limit:.0%} are borne"
        )
    return (
        f"{version} is worse than {reference}{where}: its {estimate.words} is "
        f"{estimate.value:+.4f} off ({_numbers(estimate)} {_counted(estimate)}); "
        f"{estimate.limit:g} is borne"
    )


def _fine_words(estimate: Estimate, version: str, reference: str) -> str:
    how = "better than" if estimate.high < 0 else "no worse, within the tolerance, than"
    return (
        f"{version} is {how} {reference}: its {estimate.words} is {estimate.value:+.4f} off "
        f"({_numbers(estimate)} outcomes); less than {estimate.limit:+g} was asked"
    )


def _so_far(estimate: Estimate, reference: str) -> str:
    if not estimate.n:
        return f"no outcome to compare it with {reference} by"
    return (
        f"its {estimate.words} is {estimate.value:+.4f} off that of {reference} "
        f"({_numbers(estimate)} outcomes)"
    )
