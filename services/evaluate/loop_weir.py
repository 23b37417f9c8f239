"""Weir's own loop without its topics: drift, metrics, triggers, training, in event time.

What decides is the code that runs online: `streams.drift` counts and judges, the sums of the
metrics are measured as their stage does, `streams.triggers` asks for a version, `streams.training`
makes it, and refuses it where it is worse than the champion. A training takes no event time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from schemas.columns import Columns
from services.evaluate.loop_answers import Rows, Said
from services.evaluate.loop_windows import Windows
from services.evaluate.loop_world import World, fitted, learned
from streams.continual.learner import Learner
from streams.drift.counts import count_outcomes, count_predictions, parts
from streams.drift.family import Family
from streams.drift.reference import Reference
from streams.manifest import Contents
from streams.task import Task
from streams.training.train import train
from streams.triggers.decided import Refusal, Retrain
from streams.triggers.inputs import Answer, Drift, Inputs
from streams.triggers.policies import Policies
from streams.version import Version

HOUR_MS = 3_600_000
TICK_MS = 6 * HOUR_MS
"""Event time of a micro-batch: drift, metrics and triggers look at its end."""
KEPT_MS = 30 * 24 * HOUR_MS
"""The sums of a pane are kept for longer than any window and the horizon of labels."""


class LoopError(RuntimeError):
    """There is no loop to evaluate; the message says why."""


@dataclass(frozen=True)
class Retraining:
    """One event and what came of it. at: event time, ms; rows: learned from."""

    at: int
    policy: str
    reason: str
    version: str
    rows: int
    accepted: bool
    verdict: str


@dataclass(eq=False)
class Replayed:
    """What a replay gave. findings: drifts, as policies took them in."""

    said: Said
    retrainings: list[Retraining] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    findings: list[Drift] = field(default_factory=list)
    led: list[tuple[int, bool]] = field(default_factory=list)
    """Since when (event time, ms) Weir answered with what learns from each outcome, or without."""


def replay(
    world: World, passed: Callable[[int], object] = lambda _: None, fit_only: bool = False
) -> Replayed:
    """March to December by the task's triggers. passed: is told how far event time has come.

    fit_only: a training is the fit alone, in a sixth of the time: no rehearsal that could refuse
    the version, no estimates, and so no drift that is found by them. Where no version would be
    refused and the triggers ask by no drift and no estimate, the answers are the same.
    Raises LoopError where the first version is refused.
    """
    return _Replay(world, fit_only).run(passed)


class _Replay:
    def __init__(self, world: World, fit_only: bool) -> None:
        self._world, self._task, self._fit_only = world, world.task, fit_only
        self._found = Replayed(Said(world))
        self._windows, self._policies = Windows(world.task), Policies(world.task)
        self._families: dict[str, tuple[Reference, Family]] = {}
        self._champion: Version | None = None
        self._by_known = np.argsort(world.known, kind="stable")
        self._known = world.known[self._by_known]
        self._learner = Learner(world.task) if world.task.continual is not None else None

    def run(self, passed: Callable[[int], object]) -> Replayed:
        world = self._world
        answer, first = self._train("first", world.begins, None)
        if not first.accepted:
            raise LoopError(f"there is nothing to begin with: {first.verdict}")
        self._policies.update(world.begins, Inputs(answers=[answer]))
        self._warm_up()
        for start in range(world.begins, world.ends, TICK_MS):
            end = start + TICK_MS
            self._answer_by_learner(start, end)
            predictions, outcomes = self._batches(start, end)
            drifts = [*self._drifts(predictions), *self._drifts(outcomes)]
            self._found.findings += drifts
            self._measure(predictions, outcomes, end)
            self._learn(start, end)
            metrics = self._windows.measured(end)
            if end < world.ends:  # afterwards there is nobody to answer to
                self._decide(end, Inputs(metrics=metrics, drifts=drifts))
            passed(min(end, world.ends))
        return self._found

    def _batches(self, start: int, end: int) -> tuple[Columns | None, Columns | None]:
        """What was asked, and what became known, in a span of event time."""
        said = self._found.said
        asked = np.arange(*np.searchsorted(self._world.asked, (start, end)))
        known: Rows = np.sort(self._by_known[slice(*np.searchsorted(self._known, (start, end)))])
        known = known[said.version[known] != ""]
        return (
            said.predictions(asked) if len(asked) else None,
            said.outcomes(known) if len(known) else None,
        )

    def _warm_up(self) -> None:
        """What the first model learned from, as `services.learner` learns from a history."""
        world = self._world
        history = (world.asked < world.begins) & (world.known < world.begins)
        self._lesson(np.flatnonzero(history), judged=False)

    def _answer_by_learner(self, start: int, end: int) -> None:
        """A span's requests, by the version that the learner published when the span began."""
        rows = np.arange(*np.searchsorted(self._world.asked, (start, end)))
        if self._learner is None or self._champion is None or not len(rows):
            return
        said = self._learner.say(self._champion, self._champion.frame(self._world.rows(rows)))
        leads = self._learner.leads
        if leads != (bool(self._found.led) and self._found.led[-1][1]):
            self._found.led.append((start, leads))
        self._found.said.learned(rows, said.alone[:, 1], said.together[:, 1], leads)

    def _learn(self, start: int, end: int) -> None:
        self._lesson(self._by_known[slice(*np.searchsorted(self._known, (start, end)))], True)

    def _lesson(self, rows: Rows, judged: bool) -> None:
        """Learned from in their order; outcomes are judged by before."""
        learner, base = self._learner, self._champion
        if learner is None or base is None or not len(rows):
            return
        frame, truth = base.frame(self._world.rows(rows)), self._world.truth[rows]
        if judged:
            learner.judge(learner.say(base, frame), truth)
        learner.learn(frame, truth, self._world.asked[rows])

    def _measure(self, predictions: Columns | None, outcomes: Columns | None, end: int) -> None:
        if predictions is not None:
            self._windows.predictions(predictions)
        if outcomes is not None:
            self._windows.outcomes(outcomes)
        self._windows.forget(end - KEPT_MS)

    def _drifts(self, columns: Columns | None) -> Iterator[Drift]:
        if columns is None or self._fit_only:
            return
        policy = self._task.drift
        count = count_outcomes if "truth" in columns else count_predictions
        for version, _, rows in parts(policy, columns):
            reference, family = self._families[version]
            for finding in family.update(count(self._task, reference, columns, rows)):
                assert finding.window_to is not None  # only of refused requests
                yield Drift(
                    f"{version}-{len(self._found.findings)}-{finding.kind}-{finding.subject}",
                    finding.kind,
                    finding.subject,
                    version,
                    finding.window_to,
                    finding.hurts,
                    finding.effect,
                )

    def _decide(self, now: int, inputs: Inputs) -> None:
        """Ask the triggers; an event is answered at once, by a version or its refusal."""
        for decided in self._policies.update(now, inputs):
            if isinstance(decided, Refusal):
                self._found.refusals.append(decided)
                continue
            answer, made = self._train(decided.event_id, now, decided)
            self._found.retrainings.append(made)
            self._policies.update(now, Inputs(answers=[answer]))

    def _train(self, event_id: str, now: int, event: Retrain | None) -> tuple[Answer, Retraining]:
        since = event.data_from if event else None
        rows = learned(self._world, now, since)
        if self._fit_only:
            return self._fit(event_id, now, event, rows)
        trained = train(self._task, rows, event_id, self._champion)
        contents = trained.contents
        if trained.accepted:
            self._serve(contents, now)
        role = "champion" if trained.accepted else "rejected"
        return (
            Answer(event_id, contents.id, role, contents.metrics),
            Retraining(
                now,
                event.policy if event else "",
                event.reason if event else "",
                contents.id,
                len(rows),
                trained.accepted,
                trained.reason,
            ),
        )

    def _fit(
        self, event_id: str, now: int, event: Retrain | None, rows: pd.DataFrame
    ) -> tuple[Answer, Retraining]:
        version = fitted(self._world, rows)
        version.id = f"fit-{now}"
        self._champion = version
        self._found.said.serve(version, now)
        policy, reason = (event.policy, event.reason) if event else ("", "")
        made = Retraining(now, policy, reason, version.id, len(rows), True, "fitted, not compared")
        return Answer(event_id, version.id, "champion"), made

    def _serve(self, contents: Contents, now: int) -> None:
        version = version_of(self._task, contents)
        reference = Reference(self._task, version.id, contents.profile)
        family = Family(self._task, reference, self._task.drift)
        self._families[version.id] = reference, family
        self._champion = version
        self._found.said.serve(version, now)


def version_of(task: Task, contents: Contents) -> Version:
    """A trained version in service, without a bundle in between."""
    manifest = {
        "id": contents.id,
        "dataset": dict(contents.dataset),
        "vocabularies": contents.vocabularies,
        "decision_threshold": contents.decision_threshold,
        "calibration": contents.calibration,
        "gate": {**contents.gate_metrics, "threshold": contents.threshold},
    }
    return Version(
        task,
        manifest,
        contents.model,
        contents.gate,
        contents.profile,
        estimates=contents.estimates,
    )
