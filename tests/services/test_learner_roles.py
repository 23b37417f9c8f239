"""Which role a learner's next version gets, and what becomes of those before it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from services.learner.following import followed, role_of_next
from streams.roles import BY_LEARNER, BY_TRAINER, CONTINUAL, ModelRecord, Role, Roles, fold
from streams.rollout.policy import Rollout
from streams.rollout.rollouts import Rollouts
from tests.small_tasks import tumour_task

AT_ONCE, CANARY = tumour_task(), tumour_task(rollout=Rollout(strategy="canary"))


def record(version: str, role: Role, by: str = BY_TRAINER, replaces: str = "") -> ModelRecord:
    learned = version.startswith("learned")
    return ModelRecord(
        version=version,
        role=role,
        changed_at=1,
        reason="a test",
        event_id=f"{CONTINUAL if learned else 'event-'}{version}",
        bundle=version,
        sha256="",
        dataset_id="",
        rows=0,
        data_from=0,
        data_to=0,
        metrics={},
        replaces=replaces,
        changed_by=by,
    )


def learned(number: int, role: Role, by: str = BY_LEARNER) -> ModelRecord:
    return record(f"learned{number}", role, by, replaces="base")


BASE = record("base", "champion")


def after(roles: Roles, records: Iterable[ModelRecord]) -> Roles:
    return fold(records, roles)


def published(task: Any, roles: Roles, number: int, leads: bool) -> Roles:
    """The roles after the learner's next version."""
    role = role_of_next(task, roles, leads)
    next_ = after(roles, [learned(number, role)])
    return after(next_, followed(task, roles, role, leads, now_ms=2))


def in_service(roles: Roles) -> dict[str, Role]:
    idle = ("archived", "rejected")
    return {v: roles.role(v) for v in roles.records if roles.role(v) not in idle}


def test_where_versions_serve_at_once_the_learner_takes_over_and_steps_back() -> None:
    roles = fold([BASE])
    roles = published(AT_ONCE, roles, 1, leads=False)
    assert in_service(roles) == {"base": "champion", "learned1": "shadow"}
    roles = published(AT_ONCE, roles, 2, leads=True)
    assert in_service(roles) == {"learned2": "champion"}
    roles = published(AT_ONCE, roles, 3, leads=True)
    assert in_service(roles) == {"learned3": "champion"}
    assert roles.batch_champion == BASE
    roles = published(AT_ONCE, roles, 4, leads=False)
    assert in_service(roles) == {"base": "champion", "learned4": "shadow"}
    # A new batch-trained champion is what the learner is on top of from then on.
    roles = after(published(AT_ONCE, roles, 5, leads=True), [record("newer", "champion")])
    assert roles.batch_champion is not None
    assert roles.batch_champion.version == "newer"


def test_what_a_person_took_out_of_service_stays_out() -> None:
    roles = fold([BASE, learned(1, "champion"), learned(1, "rejected", by="ana")])
    roles = published(AT_ONCE, roles, 2, leads=True)
    assert in_service(roles) == {"base": "champion", "learned2": "shadow"}
    roles = after(roles, [learned(2, "champion", by="ana")])
    assert role_of_next(AT_ONCE, roles, leads=True) == "champion"


def test_it_enters_a_rollout_as_others_do_and_changes_nothing_while_one_runs() -> None:
    rollouts = Rollouts(CANARY)
    rollouts.models([BASE])
    roles = fold([BASE])
    assert role_of_next(CANARY, roles, leads=False) == "archived"
    assert role_of_next(CANARY, roles, leads=True) == "shadow"
    one = learned(1, "shadow")
    rollouts.models([one])
    assert rollouts.experiment is not None
    assert rollouts.experiment.challengers == ["learned1"]
    roles = after(roles, [one])
    assert role_of_next(CANARY, roles, leads=True) == "archived"
    assert published(CANARY, roles, 2, leads=True).role("learned1") == "shadow"
    # It won: what follows it is the same model some outcomes later.
    won = after(roles, [learned(1, "champion", by="rollout")])
    assert in_service(published(CANARY, won, 3, leads=True)) == {"learned3": "champion"}
    assert in_service(published(CANARY, won, 4, leads=False)) == {"base": "champion"}


@pytest.mark.parametrize("leads", [True, False])
def test_a_batch_trained_version_under_comparison_is_not_disturbed(leads: bool) -> None:
    roles = fold([BASE, learned(1, "champion"), record("newer", "canary")])
    roles = published(CANARY, roles, 2, leads)
    assert in_service(roles) == {"learned1": "champion", "newer": "canary"}
