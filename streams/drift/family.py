"""The family: every detector of a version, with one rate of false alarms for all together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from streams.drift import evidence
from streams.drift.concept import Concept
from streams.drift.counts import Counts
from streams.drift.finding import Finding
from streams.drift.inputs import Inputs
from streams.drift.levels import Levels, level
from streams.drift.policy import Drift
from streams.drift.reference import Reference
from streams.task import Task

SHARES: Mapping[str, float] = {"concept": 0.6, "segments": 0.15, "estimate": 0.05, "inputs": 0.2}
"""How the false alarms are divided, among the groups that are looked at."""
LEAST_SEGMENT = 200
"""Labels of the reference that a segment needs to have a detector of its own."""
MEMORY = 3_000.0
"""Answers, or labels, that tell whether the performance suffers now."""
LEAST_TO_TELL = 300
"""Of them, at least."""
FORMAT = 4


class Family:
    """Detectors of one version; the same counts in the same order give the same findings.

    task, policy: the declaration. reference: of the version.
    """

    def __init__(self, task: Task, reference: Reference, policy: Drift) -> None:
        self._task, self._reference, self._policy = task, reference, policy
        errors = reference.errors if "concept" in policy.kinds else None
        known = (errors.segments if errors else None) or {}
        self._segments = sorted(name for name, (n, _, _) in known.items() if n >= LEAST_SEGMENT)
        told = reference.expected_error is not None and "estimate" in policy.kinds
        there = {
            "concept": errors is not None,
            "segments": bool(self._segments),
            "estimate": told,
            "inputs": bool(reference.blocks),
        }
        total = sum(share for name, share in SHARES.items() if there[name]) or 1.0
        every = {name: policy.false_alarm_every * total / share for name, share in SHARES.items()}
        self._inputs = Inputs(reference, policy, every["inputs"])
        self._concept: Concept | None = None
        self._by_segment: Concept | None = None
        self._estimate: Levels | None = None
        if errors is not None:
            base = np.array([[errors.size, errors.errors, errors.expected]])
            self._concept = Concept(np.array([every["concept"]]), base, errors.inflation)
            if self._segments:
                sums = np.array([known[name] for name in self._segments], np.float64)
                each = np.full(len(sums), every["segments"] * len(sums))
                self._by_segment = Concept(each, sums, errors.inflation)
        if told:
            inflation = np.array([reference.expected_inflation])
            limit = level(
                np.array([reference.expected_error], np.float64),
                np.array([float(reference.expected_size)]),
                policy.harm,
                inflation,
            )
            self._estimate = Levels(every["estimate"], limit, inflation)
        self._now = np.zeros(4)  # answers with an expectation, errors expected; labels, errors
        self._steps = 0

    def update(self, counts: Counts) -> list[Finding]:
        """Take in a batch's counts; what is found by them. ValueError for another version's."""
        if counts.version != self._reference.version:
            raise ValueError(
                f"counts of version {counts.version} for the family of {self._reference.version}"
            )
        self._remember(counts)
        found = self._inputs.update(counts)
        if found:
            hurts = self._hurts()
            found = [replace(one, hurts=hurts) for one in found]
        return found + self._expected(counts) + self._labels(counts)

    def _remember(self, counts: Counts) -> None:
        """Fading sums of the performance now."""
        labels = counts.labels.sum(0) if len(counts.labels) else np.zeros(3)
        new = np.array([*counts.expected, labels[0], labels[1] - labels[2]])
        fade = np.exp(-np.array([new[0], new[0], new[2], new[2]]) / MEMORY)
        self._now = self._now * fade + new

    def _hurts(self) -> bool | None:
        """Whether the performance is worse by more than the task tolerates; None: nothing tells."""
        answers, guessed, labels, excess = self._now.tolist()
        harm, told = self._policy.harm, []
        if labels >= LEAST_TO_TELL:
            told.append(excess / labels > harm)
        if answers >= LEAST_TO_TELL and self._reference.expected_error is not None:
            told.append(guessed / answers - self._reference.expected_error > harm)
        return any(told) if told else None

    def _expected(self, counts: Counts) -> list[Finding]:
        n, errors = counts.expected
        if self._estimate is None or not n or counts.first is None or counts.last is None:
            return []
        first, last = counts.first, counts.last
        self._steps += 1
        looks = float(self._steps) * (self._steps + 1) * self._estimate.s.size
        return [
            evidence.estimate(self._reference, passed, last, looks)
            for passed in self._estimate.update(np.array([n]), np.array([errors]), first)
        ]

    def _labels(self, counts: Counts) -> list[Finding]:
        if self._concept is None or not len(counts.labels):
            return []
        if counts.first is None or counts.last is None:
            return []
        table = counts.labels[:, None, :]
        n, k, e = table[:, :, 0], table[:, :, 1], table[:, :, 2]
        times = counts.first, counts.last
        found = [
            evidence.concept(self._reference.version, "", alarm, times[1], self._policy.harm)
            for alarm in self._concept.update(n, k, e, table[:, :, 3:], times=times)
        ]
        if self._by_segment is not None and counts.segments:
            none = (0.0, 0.0, 0.0)
            sums = np.array([counts.segments.get(name, none) for name in self._segments])[None]
            alarms = self._by_segment.update(
                sums[:, :, 0], sums[:, :, 1], sums[:, :, 2], times=times
            )
            found += [
                evidence.concept(
                    self._reference.version,
                    self._segments[alarm.row],
                    alarm,
                    times[1],
                    self._policy.harm,
                )
                for alarm in alarms
            ]
        return found

    def state(self) -> dict[str, Any]:
        """All that later findings depend on, as JSON data; `of` goes on from it."""
        return {
            "format": FORMAT,
            "version": self._reference.version,
            "now": self._now.tolist(),
            "steps": self._steps,
            "parts": {name: part.state() for name, part in self._parts().items()},
        }

    def _parts(self) -> dict[str, Inputs | Concept | Levels]:
        parts = {
            "inputs": self._inputs,
            "concept": self._concept,
            "segments": self._by_segment,
            "estimate": self._estimate,
        }
        return {name: part for name, part in parts.items() if part is not None}

    @classmethod
    def of(
        cls, task: Task, reference: Reference, policy: Drift, state: Mapping[str, Any]
    ) -> Family:
        """The family that had this state. ValueError where it was another version's."""
        if state["version"] != reference.version or state["format"] != FORMAT:
            raise ValueError(
                f"a state of version {state['version']} in format {state['format']}, not of "
                f"{reference.version} in format {FORMAT}"
            )
        family = cls(task, reference, policy)
        parts = family._parts()
        if parts.keys() != state["parts"].keys():
            raise ValueError(
                f"a state of {', '.join(state['parts'])}; the policy looks at {', '.join(parts)}"
            )
        family._now = np.array(state["now"], np.float64)
        family._steps = int(state["steps"])
        for name, part in parts.items():
            part.restore(state["parts"][name])
        return family
