"""Versions, their records and outcomes' sums, for tests of rollouts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from streams.roles import BY_TRAINER, ModelRecord, Role
from streams.rollout.policy import Rollout
from streams.rollout.rollouts import Decision, Rollouts
from streams.rollout.sums import About, Sums
from streams.task import Task
from tests.streams.tasks import START, task_of

HOUR_MS = 3_600_000


def rollout_task(kind: str = "binary", **policy: Any) -> Task:
    return task_of(kind, rollout=Rollout(**policy))


def record(version: str, role: Role = "champion", by: str = BY_TRAINER, **more: Any) -> ModelRecord:
    return ModelRecord(
        version=version,
        role=role,
        changed_at=START,
        reason="a test",
        event_id=f"event-{version}",
        bundle=version,
        sha256="",
        dataset_id="ds",
        rows=1,
        data_from=0,
        data_to=1,
        metrics={"brier": 0.15},
        changed_by=by,
        **more,
    )


class World:
    """Rollouts that are written down and read again after every batch, as after a crash."""

    def __init__(self, **policy: Any) -> None:
        self.task = rollout_task(**policy)
        self.rollouts = Rollouts(self.task)
        self.draw = np.random.default_rng(0)
        self.now = START
        self.decisions: list[Decision] = []

    def models(self, *records: ModelRecord) -> list[Decision]:
        return self._again(self.rollouts.models(records))

    def compared(self, sums: dict[str, Sums], hours: float = 1) -> list[Decision]:
        self.now += int(hours * HOUR_MS)
        return self._again(self.rollouts.compared(sums, self.now))

    def _again(self, decisions: list[Decision]) -> list[Decision]:
        state = json.loads(json.dumps(self.rollouts.state()))
        self.rollouts = Rollouts.of(self.task, state)
        assert json.loads(json.dumps(self.rollouts.state())) == state
        self.decisions += decisions
        return decisions

    def losses(
        self, worse: float, n: int = 100, segment: str = "", value: str = ""
    ) -> dict[str, Sums]:
        """Paired outcomes of the experiment's first challenger, which is so much worse."""
        running = self.rollouts.experiment
        assert running is not None
        d = self.draw.normal(worse, 0.1, n).clip(-1, 1)
        reference, challenger = running.reference, running.challengers[0]
        own = round(n * running.shares.get(challenger, 0.0))  # that a canary answers
        sums: Sums = {}
        for pair, part in (
            ((challenger, reference), -d[:own]),
            ((reference, challenger), d[own:]),
        ):
            about = About(running.id, "pair", "loss", *pair, segment, value)
            m, total = len(part), float(part.sum())
            sums[about] = [m, total, float(part @ part), 0.2 * m, 0.2 * m + total]
        return {running.id: sums}

    def arms(self, losses: dict[str, float], n: int = 400) -> dict[str, Sums]:
        """Outcomes of n requests that are drawn among arms with their shares."""
        running = self.rollouts.experiment
        assert running is not None
        sums: Sums = {}
        for version, share in running.shares.items():
            m = round(n * share)
            v = self.draw.normal(losses[version], 0.1, m).clip(0, 1)
            w = np.full(m, 1 / share)
            wv = w * v
            values = [m, w.sum(), w @ w, wv.sum(), w @ wv, wv @ wv]
            sums[About(running.id, "arm", "loss", version)] = [float(one) for one in values]
        return {running.id: sums}

    @property
    def roles(self) -> dict[str, str]:
        roles = self.rollouts.roles
        return {version: roles.role(version) for version in sorted(roles.records)}

    @property
    def actions(self) -> list[str]:
        return [decision.action for decision in self.decisions]
