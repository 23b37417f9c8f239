"""Roles given by hand: what each act records, and what is refused with what words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.moves import (
    GIVEN,
    SHARED,
    Act,
    Given,
    MoveError,
    archive,
    earlier_champions,
    find,
    promote,
    rollback,
)
from streams.roles import ModelRecord, Role, Roles, fold
from tests.services.test_projection import record

NOW = 1_800_000_000_000
ACT = Act("ada@desk", "it loses money", NOW)


def roles_of(*given: tuple[str, Role]) -> Roles:
    return fold(record(version, role) for version, role in given)


def after(roles: Roles, records: Sequence[ModelRecord]) -> Roles:
    return fold(records, roles)


def test_a_version_is_found_by_the_beginning_of_its_id_or_of_its_hash_or_by_its_role() -> None:
    roles = roles_of(("taxi-0a1b", "champion"), ("taxi-0a9c", "shadow"), ("taxi-77", "rejected"))
    for wanted in ("taxi-0a1b", "0a1", "taxi-0a1", "champion"):
        assert find(roles, wanted).version == "taxi-0a1b"
    assert find(roles, "shadow").version == "taxi-0a9c"
    for wanted, said in (
        ("0a", "may be each of these versions: taxi-0a1b, taxi-0a9c"),
        ("", "there is no version"),
        ("canary", "there is no version canary"),
    ):
        with pytest.raises(MoveError, match=said):
            find(roles, wanted)


def test_a_promoted_champion_says_who_when_why_and_what_it_replaces() -> None:
    roles = roles_of(("a", "champion"), ("b", "shadow"))
    (moved,) = promote(roles, "b", "champion", ACT)
    assert (moved.version, moved.role, moved.replaces) == ("b", "champion", "a")
    assert (moved.changed_by, moved.changed_at, moved.reason) == ("ada@desk", NOW, ACT.why)
    assert moved.by_hand
    assert after(roles, [moved]).role("a") == "archived"


@pytest.mark.parametrize("role", ["shadow", "archived"])
def test_a_champion_that_the_rollout_followed_is_gone_back_to(role: Role) -> None:
    former = record("a", role, changed_by="rollout")
    roles = fold([record("b", changed_by="rollout", replaces="a"), former])
    back, left = rollback(roles, "", ACT)
    assert (back.version, back.role) == ("a", "champion")
    assert (left.version, left.role) == ("b", "archived")
    by_hand = fold([record("b", replaces="a"), record("a", "archived", changed_by="ada")])
    assert not earlier_champions(by_hand)


def test_a_canary_gets_its_share_and_leaves_its_experiment() -> None:
    roles = fold([record("a"), record("b", "candidate", share=0.5, experiment="x")])
    (moved,) = promote(roles, "b", "canary", ACT, share=0.05)
    assert (moved.role, moved.share, moved.experiment) == ("canary", 0.05, "")
    (other,) = promote(after(roles, [moved]), "b", "canary", ACT, share=0.1)  # another share
    assert other.share == 0.1


def test_a_rollback_goes_back_champion_by_champion() -> None:
    roles = roles_of(("a", "champion"), ("b", "champion"), ("c", "champion"))
    for gone, back in (("c", "b"), ("b", "a")):
        records = rollback(roles, "", ACT)
        assert [(r.version, r.role) for r in records] == [(back, "champion"), (gone, "archived")]
        # A crash after the first record leaves it in service, and the other out of it.
        halfway = after(roles, records[:1])
        assert halfway.champion is not None
        assert (halfway.champion.version, halfway.role(gone)) == (back, "archived")
        roles = after(roles, records)
    with pytest.raises(MoveError, match="a is the only champion there has been"):
        rollback(roles, "", ACT)
    assert rollback(roles, "c", ACT)[0].version == "c"  # by name, an archived one too


def test_an_archived_champion_of_before_is_not_gone_back_to() -> None:
    roles = roles_of(("a", "champion"), ("b", "champion"), ("c", "champion"))
    roles = after(roles, archive(roles, "b", ACT))
    assert rollback(roles, "", ACT)[0].version == "a"


ROLES = roles_of(("a", "champion"), ("b", "rejected"), ("c", "archived"), ("d", "shadow"))
LONE = roles_of(("d", "shadow"))


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: promote(ROLES, "a", "champion", ACT), "a is champion already"),
        (lambda: promote(ROLES, "b", "champion", ACT), "b was rejected: it is rejected. --force"),
        (lambda: promote(ROLES, "a", "shadow", ACT), "a is the champion: promote another"),
        (lambda: promote(LONE, "d", "canary", ACT, share=0.1), "there is no champion"),
        (lambda: promote(ROLES, "d", "canary", ACT), "--share 0.05"),
        (lambda: promote(ROLES, "c", "candidate", ACT, share=1.0), "--share 0.05"),
        (lambda: promote(ROLES, "c", "shadow", ACT, share=0.1), "a shadow has no share"),
        (lambda: promote(ROLES, "x", "champion", ACT), "there is no version x"),
        (lambda: archive(ROLES, "a", ACT), "a is the only champion"),
        (lambda: archive(ROLES, "b", ACT), "b was rejected and does nothing"),
        (lambda: archive(ROLES, "c", ACT), "c is archived already"),
        (lambda: rollback(LONE, "", ACT), "there is no champion"),
        (lambda: rollback(ROLES, "a", ACT), "a is the champion already"),
        (lambda: rollback(ROLES, "b", ACT), "b was rejected"),
        (lambda: Act("trainer", "why", 0), "trainer is no person"),
        (lambda: Act("ada", " ", 0), "say why"),
        (lambda: Act("", "why", 0), "say who"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(
    ask: Callable[[], object], said: str
) -> None:
    with pytest.raises(MoveError, match=re.escape(said)):
        ask()


def test_a_rejected_version_may_be_forced() -> None:
    assert promote(ROLES, "b", "champion", ACT, force=True)[0].role == "champion"


given_roles = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.sampled_from(("champion", "shadow", "archived", "rejected", "canary")),
    ),
    min_size=1,
    max_size=8,
)


@given(given_roles, st.sampled_from("abcd"), st.sampled_from(GIVEN), st.booleans())
def test_no_act_leaves_a_task_without_a_champion(
    known: list[tuple[str, Role]], version: str, role: Given, force: bool
) -> None:
    roles = roles_of(*known)
    share = 0.1 if role in SHARED else 0.0
    for ask in (
        lambda: promote(roles, version, role, ACT, share=share, force=force),
        lambda: rollback(roles, "", ACT),
        lambda: rollback(roles, version, ACT),
        lambda: archive(roles, version, ACT),
    ):
        try:
            records = ask()
        except MoveError:
            continue
        for end in range(len(records) + 1):
            now = after(roles, records[:end])
            assert (now.champion is None) <= (roles.champion is None)
        assert [r.changed_by for r in records] == [ACT.by] * len(records)


def test_earlier_champions_are_the_last_first_gone_back_to() -> None:
    assert [r.version for r in earlier_champions(roles_of(("a", "champion")))] == []
