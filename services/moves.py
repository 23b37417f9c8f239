"""Roles that somebody gives by hand: which records that makes, and what makes no sense.

Plain values: the roles as they are, what is asked, who asks, when and why. `services.moving` reads
and writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from streams.roles import BY_LEARNER, BY_ROLLOUT, BY_TRAINER, ModelRecord, Role, Roles, is_called

Given = Literal["champion", "canary", "shadow", "candidate"]
GIVEN: tuple[Given, ...] = get_args(Given)
"""Roles that a version may be promoted to."""
SHARED: tuple[Given, ...] = ("canary", "candidate")
"""Those that answer a share of the requests."""
_WATCHED = ("shadow", "archived")
"""What the rollout lets a champion do after it was followed: it looks on, then it leaves."""
NAME_MAX, WHY_MAX = 100, 1000


class MoveError(ValueError):
    """What is asked makes no sense; the message says why, and what would."""


@dataclass(frozen=True)
class Act:
    """Who asks for it, why, and when (milliseconds since 1970). MoveError where it is not said."""

    by: str
    why: str
    at: int

    def __post_init__(self) -> None:
        if self.by.strip() in (BY_TRAINER, BY_ROLLOUT, BY_LEARNER):
            raise MoveError(f"{self.by} is no person: say who asks")
        if not 0 < len(self.by.strip()) <= NAME_MAX:
            raise MoveError(f"say who asks, in 1 to {NAME_MAX} characters")
        if not 0 < len(self.why.strip()) <= WHY_MAX:
            raise MoveError(f"say why, in 1 to {WHY_MAX} characters; it is kept with the version")


@dataclass(frozen=True)
class Asked:
    """What somebody asks for; ``version`` may be empty for a rollback: the champion before."""

    act: Literal["promote", "rollback", "archive"]
    version: str = ""
    role: Given = "champion"
    share: float = 0.0
    force: bool = False


def decide(roles: Roles, asked: Asked, act: Act) -> Sequence[ModelRecord]:
    """The records that do what is asked, in the order to write them. MoveError."""
    if asked.act == "promote":
        return promote(roles, asked.version, asked.role, act, asked.share, asked.force)
    if asked.act == "rollback":
        return rollback(roles, asked.version, act)
    return archive(roles, asked.version, act)


def find(roles: Roles, wanted: str) -> ModelRecord:
    """The version that is called ``wanted``: an id, the beginning of one (the task's name before
    it may be left out), or a role that one version has. MoveError where that is not just one."""
    if wanted in roles.records:
        return roles.records[wanted]
    found = roles.with_role(wanted) if wanted in get_args(Role) else []  # type: ignore[arg-type]
    found = found or [r for version, r in roles.records.items() if is_called(version, wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(record.version for record in found)
        raise MoveError(f"{wanted} may be each of these versions: {ids}")
    raise MoveError(f"there is no version {wanted}; `weir models` lists them")


def promote(
    roles: Roles, version: str, role: Given, act: Act, share: float = 0.0, force: bool = False
) -> Sequence[ModelRecord]:
    """The records that give a version a role; the champion before it becomes archived."""
    record = find(roles, version)
    now, champion = roles.role(record.version), roles.champion
    name = record.version
    if role == now and (role not in SHARED or share == record.share):
        raise MoveError(f"{name} is {role} already")
    if now == "rejected" and not force:
        raise MoveError(f"{name} was rejected: {record.reason}. --force promotes it all the same")
    if role != "champion" and champion is not None and champion.version == name:
        raise MoveError(
            f"{name} is the champion: promote another in its place, or `weir models rollback`"
        )
    if role != "champion" and champion is None:
        raise MoveError(f"there is no champion: promote {name} to that first")
    if role in SHARED and not 0 < share < 1:
        raise MoveError(f"say which share of the requests a {role} is to answer: --share 0.05")
    if role not in SHARED and share:
        raise MoveError(f"a {role} has no share: it answers {_answers(role)}")
    replaces = champion.version if role == "champion" and champion else record.replaces
    return [_moved(record, role, act, act.why, share=share, replaces=replaces)]


def rollback(roles: Roles, to: str, act: Act) -> Sequence[ModelRecord]:
    """The records that bring a champion back: ``to``, or "" for the one before.

    The record of the version that comes back is first. After a crash between the two it answers,
    and the one that was left behind is archived by what follows from that; only that it would be
    what the next rollback goes back to.
    """
    champion = roles.champion
    if champion is None:
        raise MoveError("there is no champion to roll back from")
    if to:
        target = find(roles, to)
        if target.version == champion.version:
            raise MoveError(f"{target.version} is the champion already")
        if roles.role(target.version) == "rejected":
            raise MoveError(f"{target.version} was rejected: {target.reason}; it never answered")
    else:
        before = earlier_champions(roles)
        if not before:
            raise MoveError(f"{champion.version} is the only champion there has been")
        target = before[-1]
    back = f"rolled back from {champion.version}: {act.why}"
    left = f"rolled back to {target.version}: {act.why}"
    return [
        _moved(target, "champion", act, back, replaces=champion.version),
        _moved(champion, "archived", act, left),
    ]


def archive(roles: Roles, version: str, act: Act) -> Sequence[ModelRecord]:
    """The record that ends what a version does; it is not gone back to any more."""
    record = find(roles, version)
    name, champion = record.version, roles.champion
    if champion is not None and champion.version == name:
        if earlier_champions(roles):
            raise MoveError(f"{name} is the champion: `weir models rollback` puts another there")
        raise MoveError(f"{name} is the only champion: nothing would answer")
    if record.role == "archived":
        raise MoveError(f"{name} is archived already")
    if record.role == "rejected":
        raise MoveError(f"{name} was rejected and does nothing: {record.reason}")
    return [_moved(record, "archived", act, act.why)]


def earlier_champions(roles: Roles) -> Sequence[ModelRecord]:
    """The versions that a rollback may go back to, the last champion last."""
    champion = roles.champion
    if champion is None:
        return []
    found = [r for r in roles.records.values() if r.role == "champion" and r != champion]
    former = roles.records.get(champion.replaces)
    if former is not None and former.changed_by == BY_ROLLOUT and former.role in _WATCHED:
        found.append(former)
    return found


def in_service(records: Sequence[ModelRecord]) -> Sequence[ModelRecord]:
    """Those that name a version which workers will load."""
    return [record for record in records if record.role in GIVEN]


def _moved(record: ModelRecord, role: Role, act: Act, why: str, **more: object) -> ModelRecord:
    changes = {"share": 0.0, "experiment": "", "decision": "", **more}
    return replace(
        record,
        role=role,
        changed_at=act.at,
        reason=why.strip(),
        changed_by=act.by.strip(),
        **changes,  # type: ignore[arg-type]
    )


def _answers(role: Role) -> str:
    return "everything that no other version answers" if role == "champion" else "nobody"
