"""What becomes of versions, by policy; the state is written and read after every step."""

from __future__ import annotations

from datetime import timedelta

import pytest

from streams.rollout.rollouts import Rollouts
from streams.rollout.sums import About
from tests.streams.rollout.world import World, record

DAY = timedelta(days=1)


def canary(**more: object) -> World:
    policy = {"strategy": "canary", "shares": (0.05, 0.2), "tolerance": 0.01}
    world = World(**{**policy, "min_outcomes": 100, "patience": 3 * DAY, **more})
    world.models(record("v1"), record("v2", "shadow"))
    return world


def test_a_better_version_looks_on_then_answers_a_share_then_all() -> None:
    world = canary()
    assert world.actions == ["started"]
    for _ in range(30):
        world.compared(world.losses(-0.05))
        if world.actions[-1] == "promoted":
            break
    assert world.actions == ["started", "canary", "step", "promoted"]
    assert world.roles == {"v1": "shadow", "v2": "champion"}
    shares = [[move.share for move in d.moves if move.version == "v2"] for d in world.decisions]
    assert shares == [[0.0], [0.05], [0.2], [0.0]]
    promoted = world.decisions[-1]
    assert promoted.estimate is not None
    assert promoted.estimate.high < 0.01
    assert world.rollouts.roles.records["v2"].replaces == "v1"
    # The former champion looks on for as long as the patience, then leaves.
    while world.rollouts.experiment:
        world.compared(world.losses(-0.05, 10))
    assert world.actions[-1] == "ended"
    assert world.roles == {"v1": "archived", "v2": "champion"}


def test_a_canary_is_not_promoted_on_outcomes_of_requests_that_it_did_not_answer() -> None:
    world = canary()
    late = [world.losses(-0.05) for _ in range(30)]  # of requests from before the canary's stage
    for sums in late:
        world.compared(sums)
    assert world.actions == ["started", "canary"]
    for _ in range(10):
        world.compared(world.losses(-0.05))
    assert world.actions == ["started", "canary", "step", "promoted"]


def test_a_worse_version_never_answers() -> None:
    world = canary()
    for _ in range(10):
        if world.rollouts.experiment:
            world.compared(world.losses(0.1))
    assert world.actions == ["started", "refused"]
    assert world.decisions[-1].rule == "loss"
    assert world.roles == {"v1": "champion", "v2": "rejected"}


def test_a_regression_after_the_promotion_is_rolled_back() -> None:
    world = World(strategy="blue-green", watch=7 * DAY)
    world.models(record("v1"))
    (started,) = world.models(record("v2", replaces="v1"))
    assert [(m.version, m.role) for m in started.moves] == [("v1", "shadow")]
    while world.rollouts.experiment:
        world.compared(world.losses(0.1, 50))
    assert world.actions == ["started", "rolled-back"]
    assert world.roles == {"v1": "champion", "v2": "rejected"}
    # In this order: there is a champion at every moment.
    assert [m.version for m in world.decisions[-1].moves] == ["v1", "v2"]


def test_blue_green_without_a_watch_leaves_roles_to_the_trainer() -> None:
    world = World()
    assert not world.models(record("v1"), record("v2"))
    assert world.roles == {"v1": "archived", "v2": "champion"}


def test_a_segment_that_gets_clearly_worse_refuses_a_version_that_is_better_overall() -> None:
    world = canary(min_outcomes=100_000)
    for _ in range(30):
        if world.rollouts.experiment:
            both = world.losses(-0.05)
            for id_, sums in world.losses(0.3, 20, "colour", "red").items():
                both[id_] |= sums
            world.compared(both)
    assert world.actions == ["started", "refused"]
    last = world.decisions[-1]
    assert last.rule == "segment"
    assert last.estimate is not None
    assert last.estimate.segment == "colour=red"


def test_a_version_whose_gate_holds_much_more_back_is_refused() -> None:
    world = canary()
    running = world.rollouts.experiment
    assert running is not None
    about = About(running.id, "pair", "unanswered", "v1", "v2")
    world.compared({running.id: {about: [1000, 300, 300, 100, 400]}})
    assert world.actions == ["started", "refused"]
    assert world.decisions[-1].rule == "unanswered"


def test_after_the_patience_the_champion_stays() -> None:
    world = canary()
    for _ in range(80):
        if world.rollouts.experiment:
            world.compared(world.losses(0.01, 1))
    assert world.actions == ["started", "kept"]
    assert world.roles == {"v1": "champion", "v2": "archived"}


def test_versions_wait_for_their_turn_and_begin_when_it_has_come() -> None:
    world = canary(watch=timedelta(0))
    world.models(record("v3", "shadow"))
    assert list(world.rollouts.waiting) == ["v3"]
    while world.actions.count("started") < 2:
        world.compared(world.losses(0.1))
    assert world.actions == ["started", "refused", "started"]
    running = world.rollouts.experiment
    assert running is not None
    assert running.challengers == ["v3"]


def test_of_those_that_wait_the_newest_stays() -> None:
    world = canary()
    world.models(record("v3", "shadow"))
    (left,) = world.models(record("v4", "shadow"))
    assert [(move.version, move.role) for move in left.moves] == [("v3", "archived")]
    assert list(world.rollouts.waiting) == ["v4"]


def test_an_experiment_ends_with_a_version_that_leaves_it() -> None:
    world = canary()
    (ended,) = world.models(record("v2", "archived", by="learner"))
    assert (ended.action, ended.rule) == ("ended", "policy")
    assert world.rollouts.experiment is None
    assert world.roles == {"v1": "champion", "v2": "archived"}


@pytest.mark.parametrize("version", ["v1", "v2", "v0"])
def test_an_act_by_hand_ends_the_rollout(version: str) -> None:
    world = canary(watch=timedelta(0))
    (ended,) = world.models(record(version, by="ann"))
    assert ended.action == "ended"
    assert ended.changed_by == "ann"
    assert world.rollouts.experiment is None
    others = {v: role for v, role in world.roles.items() if v != version}
    assert world.roles[version] == "champion"
    assert set(others.values()) == {"archived"}
    assert not world.models(record("v9", "shadow", by="ann"))  # looks on, and no more


@pytest.mark.parametrize("version", ["v2", "v0"])
def test_a_champion_made_by_hand_is_watched_and_rolled_back(version: str) -> None:
    world = canary()
    ended, started = world.models(record(version, by="ann"))
    assert (ended.action, started.action) == ("ended", "started")
    assert (world.roles[version], world.roles["v1"]) == ("champion", "shadow")
    while world.rollouts.experiment:
        world.compared(world.losses(0.1))
    assert world.actions[-1] == "rolled-back"
    assert (world.roles[version], world.roles["v1"]) == ("rejected", "champion")
    # Whoever insists is not told again.
    assert not world.models(record(version, by="ann"))
    assert world.rollouts.experiment is None
    # Nor is one who goes back.
    assert not world.models(record("v1", by="ann"))
    assert world.rollouts.experiment is None


def test_an_arm_by_hand_ends_the_rollout() -> None:
    world = canary()
    (ended,) = world.models(record("v7", "canary", by="ann", share=0.1))
    assert (ended.action, ended.rule) == ("ended", "hand")
    assert world.roles == {"v1": "champion", "v2": "archived", "v7": "canary"}


def test_its_own_records_decide_nothing() -> None:
    world = canary()
    before = world.rollouts.state()
    own = [world.rollouts.roles.records["v2"]]
    assert not world.models(*own)
    assert world.rollouts.state() == before


def test_a_test_with_fixed_shares_ends_with_the_better_one() -> None:
    world = World(strategy="ab", shares=(0.5,), min_outcomes=100, watch=timedelta(0))
    (started,) = world.models(record("v1"), record("v2", "candidate"))
    assert [(m.role, m.share) for m in started.moves] == [("candidate", 0.5)]
    while world.rollouts.experiment:
        world.compared(world.arms({"v1": 0.2, "v2": 0.1}))
    assert world.actions == ["started", "promoted"]
    assert world.roles == {"v1": "archived", "v2": "champion"}


def test_a_bandit_gives_the_better_arm_more_and_promotes_it_when_it_is_sure() -> None:
    world = World(strategy="bandit", every=100, min_outcomes=1500, watch=timedelta(0), floor=0.1)
    world.models(record("v1"), record("v2", "candidate"))
    shares = []
    while world.rollouts.experiment:
        world.compared(world.arms({"v1": 0.2, "v2": 0.15}, 200))
        running = world.rollouts.experiment
        if running:
            shares.append(running.shares["v2"])
            assert sum(running.shares.values()) == pytest.approx(1.0)
            assert min(running.shares.values()) >= 0.1
    assert shares[-1] > 0.85
    assert world.actions[-1] == "promoted"
    assert world.roles == {"v1": "archived", "v2": "champion"}


def test_a_decision_names_its_evidence() -> None:
    world = canary()
    world.compared(world.losses(0.3, 400))
    (refused,) = world.decisions[1:]
    (estimate,) = refused.evidence["estimates"]
    assert (estimate["version"], estimate["what"], estimate["n"]) == ("v2", "loss", 400)
    assert estimate["low"] > estimate["limit"] == 0.01
    ids = [decision.id for decision in world.decisions]
    assert len(set(ids)) == len(ids)


def test_sums_of_other_experiments_are_nothing_to_it() -> None:
    world = canary()
    sums = world.losses(0.5, 1000)
    assert not world.compared({"another": next(iter(sums.values()))})
    assert Rollouts.of(world.task, {}).experiment is None
