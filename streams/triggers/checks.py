"""Why an event is not to be published now: its data would teach a model wrong things, or nothing.

An isolated outlier is set aside by the conditions themselves: they want windows in a row, bounds
beyond the threshold, and enough labels in each window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from schemas.moments import minute_text
from streams.triggers.declare import SPOILS, Checks, Drifted, Trigger, leaves, ms
from streams.triggers.inputs import Drift


class Why(NamedTuple):
    """A reason: what kind (cool-down, budget, labels, classes, rejected, schema, skew, volume)
    and in words."""

    kind: str
    words: str


def cooling(trigger: Trigger, now: int, last: int | None) -> Why | None:
    """Whether the last event was too short a time ago."""
    if last is None or now - last >= ms(trigger.cooldown):
        return None
    until = minute_text(last + ms(trigger.cooldown))
    return Why("cool-down", f"the last event was at {minute_text(last)}: nothing before {until}")


def spent(trigger: Trigger, now: int, events: Sequence[int]) -> Why | None:
    """Whether the budget is spent. events: times of triggers' events."""
    period = ms(trigger.budget.period)
    recent = [at for at in events if now - at < period]
    if len(recent) < trigger.budget.events:
        return None
    return Why(
        "budget",
        f"{len(recent)} events of triggers since {minute_text(min(recent))}, and the budget is "
        f"{trigger.budget.events} in {trigger.budget.period}",
    )


def unfit(
    trigger: Trigger,
    now: int,
    new: Mapping[str, int],
    classes: Iterable[str],
    rejected: tuple[int, int],
    drifts: Iterable[Drift],
) -> Why | None:
    """What is wrong with the data since the last event.

    new: labels, by class too (as `Labels.total`). classes: names of those that there must be.
    rejected: as `Labels.rejected`. drifts: of the champion.
    """
    checks = trigger.checks
    if new.get("", 0) < checks.labels:
        return Why(
            "labels",
            f"{new.get('', 0):,} labels since the last event, and {checks.labels:,} are needed",
        )
    few = {name: new.get(name, 0) for name in classes if new.get(name, 0) < checks.of_class}
    if few:
        told = ", ".join(f"{count} of {name}" for name, count in few.items())
        return Why("classes", f"{told} since the last event, and {checks.of_class} are needed")
    bad, everything = rejected
    if everything and bad / everything > checks.rejected:
        return Why(
            "rejected",
            f"{bad:,} of {everything:,} requests of the newest windows were rejected as invalid, "
            f"more than {checks.rejected:.0%}: see to the producers first (dead-letters says why)",
        )
    return _spoilt(trigger, checks, now, drifts)


def _spoilt(trigger: Trigger, checks: Checks, now: int, drifts: Iterable[Drift]) -> Why | None:
    wanted = {
        kind for leaf in leaves(trigger.when) if isinstance(leaf, Drifted) for kind in leaf.kinds
    }
    for drift in drifts:
        if drift.kind in SPOILS and drift.kind not in wanted and now - drift.at < ms(checks.settle):
            subject = f" of {drift.subject}" if drift.subject else ""
            return Why(
                drift.kind,
                f"{drift.kind} drift{subject} at {minute_text(drift.at)} ({drift.id}): nothing is "
                f"learned from the data before {minute_text(drift.at + ms(checks.settle))}",
            )
    return None
