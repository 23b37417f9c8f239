"""Which role a learner's next version gets, and what becomes of those before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from streams.roles import BY_LEARNER, ModelRecord, Role, Roles
from streams.task import Task

IN_SERVICE = ("champion", "canary", "shadow", "candidate")


def role_of_next(task: Task, roles: Roles, leads: bool) -> Role:
    """The role of a version that the learner publishes now.

    leads: whether its prequential loss is below the batch-trained champion's. One that follows
    a champion of the learner's is champion at once, as it is the same model some outcomes later;
    the first enters by the task's rollout, as a batch-trained version does. While versions are
    compared in service, and where a person took the learner out of service, nothing is changed:
    the version is kept, to go on from (`archived`), or looks on.
    """
    at_once = task.rollout.strategy == "blue-green"
    if not leads or held_back(roles):
        return "shadow" if at_once else "archived"
    if not at_once and compared(roles):
        return "archived"
    champion = roles.champion
    if champion is None or champion.continual:
        return "champion"
    return task.rollout.first_role


def followed(
    task: Task, roles: Roles, role: Role, leads: bool, now_ms: int
) -> Iterator[ModelRecord]:
    """The records that a new version of a role makes necessary, in their order.

    Roles are those before it. Where the learner's champion leads no longer, the version below it
    is champion again, by a record of its own; then the learner's former versions are archived,
    but for those that a rollout compares.
    """
    at_once = task.rollout.strategy == "blue-green"
    champion = roles.champion
    steps_back = not leads and (at_once or not compared(roles))
    if champion is not None and champion.continual and steps_back:
        below = roles.batch_champion
        if below is not None:
            why = f"{champion.version}, which learns in the stream, is not better than it any more"
            yield _changed(below, "champion", why, now_ms)
    for old in roles.records.values():
        if not old.continual or old.role not in IN_SERVICE:
            continue
        ends = role == "champion" or steps_back
        if at_once or (old.role == "champion" and ends):
            yield _changed(old, "archived", "a newer version of the learner followed it", now_ms)


def compared(roles: Roles) -> bool:
    """Whether a version is compared in service, or waits for it."""
    return any(roles.with_role(role) for role in ("canary", "candidate", "shadow"))


def held_back(roles: Roles) -> bool:
    """Whether a person took the learner's newest version that anybody acted on out of service."""
    acts = [r for r in roles.records.values() if r.continual and r.by_hand]
    return bool(acts) and acts[-1].role != "champion"


def _changed(record: ModelRecord, role: Role, reason: str, now_ms: int) -> ModelRecord:
    return replace(record, role=role, reason=reason, changed_at=now_ms, changed_by=BY_LEARNER)
