"""All of rollout together: models and sums in; decisions, and the roles that follow, out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from streams.roles import BY_LEARNER, BY_ROLLOUT, BY_TRAINER, ModelRecord, Role, Roles, fold
from streams.rollout.decide import Action, Rule, Verdict, decide
from streams.rollout.evidence import Estimate
from streams.rollout.experiment import Experiment, Stage
from streams.rollout.sums import Sums
from streams.task import Task

KEPT = 8
"""Versions without an active role whose records are remembered, the newest."""
MOST_ARMS = 3
"""Versions that wait to be arms of the next test, the newest."""
ACTIVE = ("champion", "canary", "shadow", "candidate")


@dataclass(frozen=True)
class Move:
    """A version's role before and from now on.

    share: of the requests that it answers as an arm. replaces: the champion before it.
    """

    version: str
    before: Role
    role: Role
    share: float = 0.0
    experiment: str = ""
    replaces: str | None = None

    def words(self) -> str:
        """``shadow > canary 10%``."""
        return f"{self.before} > {self.role}" + (f" {self.share:.0%}" if self.share else "")


@dataclass(frozen=True)
class Decision:
    """Why versions changed their roles; `records` makes the record of it.

    moves: the first one is of `version`, if it moves. champion: that it was compared with.
    at: how far event time had come.
    """

    id: str
    action: Action
    version: str
    reason: str
    rule: Rule
    experiment: str
    champion: str
    moves: Sequence[Move]
    at: int | None
    estimate: Estimate | None = None
    changed_by: str = BY_ROLLOUT
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Rollouts:
    """What a task's rollouts know, and what they decide.

    One experiment runs at a time; versions that are accepted meanwhile look on or wait as
    candidates, and begin when it has ended.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._policy = task.rollout
        self._roles = Roles()
        self._led: list[str] = []
        self._waiting: list[str] = []
        self._number = 0
        self._now: int | None = None
        self.experiment: Experiment | None = None

    @property
    def now(self) -> int | None:
        """How far event time has come; None: not known."""
        return self._now

    @property
    def roles(self) -> Roles:
        """What versions do."""
        return self._roles

    @property
    def waiting(self) -> Sequence[str]:
        """Accepted versions whose turn is yet to come."""
        return self._waiting

    def state(self) -> dict[str, Any]:
        """As JSON data."""
        idle = [v for v in self._roles.records if self._roles.role(v) not in ACTIVE]
        gone = set(idle[:-KEPT])
        kept = [r for v, r in self._roles.records.items() if v not in gone]
        return {
            "models": [record.record() for record in kept],
            "led": self._led,
            "waiting": self._waiting,
            "number": self._number,
            "now": self._now,
            "experiment": self.experiment.state() if self.experiment else None,
        }

    @classmethod
    def of(cls, task: Task, state: Mapping[str, Any]) -> Rollouts:
        """What `state` gave; of an empty one the beginning."""
        found = cls(task)
        if state:
            found._roles = fold(ModelRecord.of(record) for record in state["models"])
            champions = [r.version for r in found._roles.records.values() if r.role == "champion"]
            found._led = list(state.get("led", champions))
            found._waiting = list(state["waiting"])
            found._number, found._now = state["number"], state["now"]
            one = state["experiment"]
            found.experiment = Experiment.of(one) if one else None
        return found

    def models(self, records: Iterable[ModelRecord]) -> list[Decision]:
        """Take records of the models topic, in its order; not those that follow from a decision,
        which hold already."""
        decisions: list[Decision] = []
        for record in records:
            before = self._roles
            known = before.records.get(record.version)
            self._roles = fold([record], before)
            of_before = record.changed_by == BY_ROLLOUT  # the state that decided it is lost
            if not of_before or record.role in ("champion", "rejected"):
                self._leads(record.version, record.role)
            if record.role != "champion":
                why = f"{record.version} is {record.role}: {record.reason}"
                decisions += self._succeeded(record.version, before, why, record.changed_by)
            if of_before:
                continue
            if record.by_hand:
                decisions += self._by_hand(record, before)
            elif self._enters(record):
                if known is None or known.role not in ACTIVE:
                    decisions += self._waits(record.version)
            elif record.role == "champion":
                decisions += self._by_trainer(record, before)
            elif record.role not in ACTIVE and self._takes_part(record.version):
                why = f"{record.version} is {record.role}: {record.reason}"
                decisions += self._end(why, record.changed_by, record.version)
            decisions += self._next()
        return decisions

    def deleted(self, version: str) -> list[Decision]:
        """Take that an operator deleted a version."""
        before, why = self._roles, f"{version} is deleted"
        self._roles = before.after(version, None)
        self._leads(version, "none")
        decisions = self._succeeded(version, before, why, "")
        if self._takes_part(version):
            decisions += self._end(why, "", version)
        return decisions + self._next()

    def _leads(self, version: str, role: Role) -> None:
        """Remember, in order, who has been champion and may be again, whatever a rollout let it do
        since."""
        self._led = [one for one in self._led if one != version]
        if role == "champion":
            self._led.append(version)

    def _succeeded(self, version: str, before: Roles, why: str, by: str) -> list[Decision]:
        """Where others take the champion away and put none in its place, the one before it answers
        again, also where a rollout had moved that one; and what ran with them is over."""
        if before.champion is None or before.champion.version != version:
            return []
        decisions: list[Decision] = []
        led = [one for one in self._led if one in self._roles.records]
        now = self._roles.champion
        if led and (now is None or now.version != led[-1]):
            experiment = self.experiment or self._experiment("watch", led[-1], [version])
            moves = [self._move(led[-1], "champion")]
            reason = f"{led[-1]} answers again: {why}"
            decisions.append(
                self._decision("rolled-back", version, reason, _rule(by), moves, experiment, by=by)
            )
        return decisions + (self._end(why, by, version) if self._takes_part(version) else [])

    def _takes_part(self, version: str) -> bool:
        return self.experiment is not None and version in self.experiment.members

    def _waits(self, version: str) -> list[Decision]:
        """A version queues; where too many do, the oldest of them leaves: each costs the workers
        its answers."""
        self._waiting.append(version)
        most = MOST_ARMS if self._policy.strategy in ("ab", "bandit") else 1
        running = self.experiment
        if running is None or len(self._waiting) <= most:
            return []
        oldest = self._waiting.pop(0)
        moves = [self._move(oldest, "archived")]
        reason = f"{version} is newer, and waits in its place"
        return [self._decision("ended", oldest, reason, "policy", moves, running)]

    def _enters(self, record: ModelRecord) -> bool:
        """Whether a version is to be compared in service: the trainer's, or the learner's, which
        otherwise looks on while it does not lead."""
        by = (BY_TRAINER,) if self._policy.strategy == "blue-green" else (BY_TRAINER, BY_LEARNER)
        return record.changed_by in by and record.role in ("shadow", "candidate")

    def compared(self, sums: Mapping[str, Sums], at: int) -> list[Decision]:
        """Take sums by experiment, and how far event time is in their source."""
        self._now = at if self._now is None else max(self._now, at)
        experiment = self.experiment
        if experiment is None or experiment.id not in sums:
            return []
        if experiment.since is None:
            experiment.since = at
        experiment.take(sums[experiment.id])
        decisions: list[Decision] = []
        while self.experiment is experiment:
            verdict = decide(self._policy, self._task.kind, experiment, self._now)
            if verdict is None:
                break
            decisions.append(self._obey(experiment, verdict))
        return decisions + self._next()

    def _obey(self, experiment: Experiment, verdict: Verdict) -> Decision:
        """Do what a verdict says; the experiment changes or ends with it."""
        evidence = self._evidence(experiment)
        version, reference = verdict.version, experiment.reference
        moves: list[Move] = []
        following: Experiment | None = experiment
        match verdict.action:
            case "refused":
                moves.append(self._move(version, "rejected"))
                experiment.challengers.remove(version)
                if experiment.challengers:
                    moves += self._without(experiment, version)
                else:
                    following = None
            case "rolled-back":
                # The one that answers from now on comes first: there is always a champion.
                moves.append(self._move(reference, "champion", replaces=version))
                moves.append(self._move(version, "rejected"))
                following = None
            case "kept" | "ended":
                over = [reference] if experiment.stage == "watch" else experiment.challengers
                moves += [self._move(one, "archived") for one in over]
                following = None
            case "canary" | "step":
                assert verdict.shares is not None
                experiment.step += 1
                experiment.give(verdict.shares)
                share = verdict.shares[version]
                moves.append(self._move(version, "canary", share, experiment.id))
                experiment.enter("canary", self._policy, self._task.kind, self._now)
            case "shares":
                assert verdict.shares is not None
                moves += self._arms(experiment, verdict.shares)
                arms = experiment.evidence(self._policy, self._task.kind).arms()
                experiment.moved_at = sum(arm.n for arm in arms.values())
            case _:
                moves, following = self._promoted(experiment, version)
        decision = self._decision(
            verdict.action,
            version,
            verdict.reason,
            verdict.rule,
            moves,
            experiment,
            verdict.estimate,
            evidence,
        )
        self.experiment = following
        return decision

    def _promoted(
        self, experiment: Experiment, version: str
    ) -> tuple[list[Move], Experiment | None]:
        """The moves of a promotion, and the watch that follows, if there is one."""
        reference = experiment.reference
        watch = self._watch(version, reference)
        id_ = watch.id if watch else ""
        moves = [self._move(version, "champion", experiment=id_, replaces=reference)]
        if watch is not None:  # else it counts as archived, and may be gone back to
            moves.append(self._move(reference, "shadow", experiment=id_))
        others = [one for one in experiment.challengers if one != version]
        return moves + [self._move(one, "archived") for one in others], watch

    def _watch(self, champion: str, former: str) -> Experiment | None:
        """The watch over a new champion; its challenger is the champion itself."""
        if not self._policy.watch_ms:
            return None
        return self._experiment("watch", former, [champion])

    def _next(self) -> list[Decision]:
        """Begin with those that wait, where nothing runs."""
        champion = self._roles.champion
        while self.experiment is None and self._waiting and champion is not None:
            strategy = self._policy.strategy
            taken = self._waiting[:1] if strategy == "canary" else list(self._waiting)
            self._waiting = self._waiting[len(taken) :]
            taken = [one for one in taken if self._roles.role(one) in ("shadow", "candidate")]
            if not taken:
                continue
            stage: Stage = strategy if strategy in ("ab", "bandit") else "shadow"
            experiment = self._experiment(stage, champion.version, taken)
            self.experiment = experiment
            if experiment.paired:
                moves = [self._move(one, "shadow", experiment=experiment.id) for one in taken]
                how = "looks on, and is compared"
            else:
                moves = self._arms(experiment, self._first_shares(experiment))
                share = 1 - experiment.shares[champion.version]
                how = f"answers {share:.0%} of the requests, and is compared"
            reason = f"{', '.join(taken)} {how} with {champion.version}"
            return [self._decision("started", taken[0], reason, "policy", moves, experiment)]
        return []

    def _first_shares(self, experiment: Experiment) -> dict[str, float]:
        k = len(experiment.challengers)
        together = self._policy.steps[0] if experiment.stage == "ab" else k / (k + 1)
        return {
            experiment.reference: 1 - together,
            **dict.fromkeys(experiment.challengers, together / k),
        }

    def _arms(self, experiment: Experiment, shares: Mapping[str, float]) -> list[Move]:
        """Challengers get shares; what is left is the champion's."""
        experiment.give(shares)
        return [
            self._move(one, "candidate", shares[one], experiment.id)
            for one in experiment.challengers
        ]

    def _without(self, experiment: Experiment, gone: str) -> list[Move]:
        """The arms that are left keep their shares; what the one that is gone had is the
        champion's."""
        if not experiment.shares:
            return []
        left = {v: s for v, s in experiment.shares.items() if v != gone}
        left[experiment.reference] = 1 - sum(left[v] for v in experiment.challengers)
        experiment.give(left)
        return []

    def _by_trainer(self, record: ModelRecord, before: Roles) -> list[Decision]:
        """A new champion at once: what ran is about another one, and the former one looks on."""
        former = before.champion
        if former is None or former.version == record.version:
            return []
        decisions = self._end(f"{record.version} is champion at once", BY_TRAINER, record.version)
        if record.continual and former.continual:
            return decisions  # the same model some outcomes later
        return decisions + self._watched(record.version, former.version)

    def _watched(self, version: str, former: str) -> list[Decision]:
        """The champion before it looks on, if the policy wants it."""
        watch = self._watch(version, former)
        if watch is None:
            return []
        self.experiment = watch
        moves = [self._move(former, "shadow", experiment=watch.id)]
        reason = f"{former} looks on, so that a regression of {version} shows"
        return [self._decision("started", version, reason, "policy", moves, watch)]

    def _by_hand(self, record: ModelRecord, before: Roles) -> list[Decision]:
        """Somebody moved a version: its rollout is over, and so is one whose champion it moved.

        A new champion is watched as any other. One that goes back to an earlier champion, or
        promotes what was rejected, knows better: it is not watched.
        """
        self._waiting = [one for one in self._waiting if one != record.version]
        experiment, former = self.experiment, before.champion
        changed = self._roles.champion != former
        decisions: list[Decision] = []
        arm = record.role in ("canary", "candidate")  # which answers, and no other arm with it
        if experiment is not None and (changed or arm or record.version in experiment.members):
            reason = f"{record.changed_by} made {record.version} {record.role}: {record.reason}"
            decisions = self._end(reason, record.changed_by, record.version)
        new = before.role(record.version) not in ("champion", "archived", "rejected")
        if record.role == "champion" and changed and new and former is not None:
            decisions += self._watched(record.version, former.version)
        return decisions

    def _end(self, why: str, by: str, moved: str) -> list[Decision]:
        """The experiment ends without a decision of its own."""
        experiment = self.experiment
        if experiment is None:
            return []
        self.experiment = None
        over = [one for one in sorted(experiment.members) if one != moved]
        moves = [
            self._move(one, "archived")
            for one in over
            if self._roles.role(one) in ("shadow", "canary", "candidate")
        ]
        decision = self._decision(
            "ended",
            experiment.challengers[0],
            f"the experiment ends: {why}",
            _rule(by),
            moves,
            experiment,
            None,
            self._evidence(experiment),
            by,
        )
        return [decision]

    def _experiment(self, stage: Stage, reference: str, challengers: list[str]) -> Experiment:
        self._number += 1
        text = "|".join([self._task.name, stage, reference, *challengers, str(self._number)])
        id_ = hashlib.sha256(text.encode()).hexdigest()[:12]
        return Experiment(id_, stage, reference, list(challengers), self._baseline(reference))

    def _baseline(self, reference: str) -> float:
        """What the reference's loss was on held-out time; where that is not known, the middle."""
        kind = self._task.kind
        loss, largest = self._policy.loss_of(kind), self._policy.largest(kind)
        name = {"absolute_error": "mae"}.get(loss, loss)
        record = self._roles.records.get(reference)
        known = None if record is None else record.metrics.get(name)
        if known is None:
            return 0.0 if largest is None else largest / 2
        if kind == "multiclass" and loss == "brier":
            known /= 2
        return float(known) if largest is None else min(max(float(known), 0.0), largest)

    def _move(
        self,
        version: str,
        role: Role,
        share: float = 0.0,
        experiment: str = "",
        replaces: str | None = None,
    ) -> Move:
        """A move; from now on it is so."""
        known = self._roles.records[version]
        before = known.role  # as its record says: a champion that another one follows is still one
        now = replace(known, role=role, share=share, experiment=experiment, changed_by=BY_ROLLOUT)
        if replaces is not None:
            now = replace(now, replaces=replaces)
        self._roles = fold([now], self._roles)
        if role in ("champion", "rejected"):
            self._leads(version, role)
        return Move(version, before, role, share, experiment, replaces)

    def _decision(
        self,
        action: Action,
        version: str,
        reason: str,
        rule: Rule,
        moves: Sequence[Move],
        experiment: Experiment,
        estimate: Estimate | None = None,
        evidence: Mapping[str, Any] | None = None,
        by: str = BY_ROLLOUT,
    ) -> Decision:
        self._number += 1
        text = f"{self._task.name}|{experiment.id}|{action}|{version}|{self._number}"
        id_ = hashlib.sha256(text.encode()).hexdigest()[:16]
        return Decision(
            id_,
            action,
            version,
            reason,
            rule,
            experiment.id,
            experiment.reference,
            moves,
            self._now,
            estimate,
            by,
            evidence or {},
        )

    def _evidence(self, experiment: Experiment) -> dict[str, Any]:
        """Every figure that is looked at, as JSON data."""
        evidence = experiment.evidence(self._policy, self._task.kind)
        looked_at = [
            {"version": version, **_plain(estimate)}
            for version in experiment.challengers
            for estimate in (evidence.loss(version), *evidence.guardrails(version))
            if estimate.n
        ]
        return {"stage": experiment.stage, "shares": experiment.shares, "estimates": looked_at}


def _rule(by: str) -> Rule:
    """By which rule an experiment ends that ends because of somebody's record."""
    return "policy" if by in ("", BY_TRAINER, BY_LEARNER) else "hand"


def _plain(estimate: Estimate) -> dict[str, Any]:
    names = ("what", "segment", "n", "value", "low", "high", "limit", "own", "other")
    return {name: getattr(estimate, name) for name in names} | {
        "alpha": [estimate.low_alpha, estimate.high_alpha]
    }


def facts(task: Task) -> str:
    """The policy as JSON."""
    return json.dumps(task.rollout.facts(), sort_keys=True, default=str)
