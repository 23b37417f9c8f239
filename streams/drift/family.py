"""The family: every detector of a version, with one rate of false alarms for all together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.drift import words
from streams.drift.concept import Alarm, Concept
from streams.drift.counts import NEVER, Counts
from streams.drift.finding import Finding
from streams.drift.inputs import Inputs
from streams.drift.policy import Drift
from streams.drift.reference import Reference
from streams.task import Task

Floats = npt.NDArray[np.float64]

SHARES: Mapping[str, float] = {"concept": 0.4, "segments": 0.2, "estimate": 0.05, "shares": 0.35}
"""How the false alarms are divided; a group that is not looked at leaves its part unused."""
LEAST_SEGMENT = 200
"""Labels of the reference that a segment needs to have a detector of its own."""
FORMAT = 1


class Family:
    """Detectors of one version; the same counts in the same order give the same findings.

    task, policy: the declaration. reference: of the version.
    """

    def __init__(self, task: Task, reference: Reference, policy: Drift) -> None:
        self._task, self._reference, self._policy = task, reference, policy
        every = float(policy.false_alarm_every)
        self._inputs = Inputs(reference, policy, every / SHARES["shares"])
        errors = reference.errors if "concept" in policy.kinds else None
        self._segments: list[str] = []
        self._concept: Concept | None = None
        self._by_segment: Concept | None = None
        if errors is not None:
            base = np.array([[errors.size, errors.errors, errors.expected]])
            self._concept = Concept(np.array([every / SHARES["concept"]]), base, errors.inflation)
            known = errors.segments or {}
            self._segments = sorted(name for name, (n, _, _) in known.items() if n >= LEAST_SEGMENT)
            if self._segments:
                base = np.array([known[name] for name in self._segments], np.float64)
                each = every / SHARES["segments"] * len(self._segments)
                self._by_segment = Concept(
                    np.full(len(self._segments), each), base, errors.inflation
                )
        self._records = 0
        self._first = NEVER
        self._changed = {"concept": NEVER}

    def update(self, counts: Counts) -> list[Finding]:
        """Take in a batch's counts; what is found by them. ValueError for another version's."""
        if counts.version != self._reference.version:
            raise ValueError(
                f"counts of version {counts.version} for the family of {self._reference.version}"
            )
        self._records += counts.records
        found = self._inputs.update(counts)
        found += self._labels(counts)
        return found

    def _labels(self, counts: Counts) -> list[Finding]:
        if self._concept is None or not len(counts.labels):
            return []
        table = counts.labels[:, None, :]
        alarms = self._concept.update(
            table[:, :, 0], table[:, :, 1], table[:, :, 2], table[:, :, 3:]
        )
        found = [self._concept_finding(alarm, "", counts) for alarm in alarms]
        if self._by_segment is not None and counts.segments:
            empty = (0.0, 0.0, 0.0)
            sums = np.array([counts.segments.get(name, empty) for name in self._segments])[None]
            alarms = self._by_segment.update(sums[:, :, 0], sums[:, :, 1], sums[:, :, 2])
            found += [
                self._concept_finding(alarm, self._segments[alarm.row], counts) for alarm in alarms
            ]
        return found

    def _concept_finding(self, alarm: Alarm, subject: str, counts: Counts) -> Finding:
        rate = alarm.errors / max(alarm.labels, 1)
        return Finding(
            detector="cusum",
            kind="concept",
            subject=subject,
            version=self._reference.version,
            statistic="log likelihood ratio of the errors",
            value=alarm.value,
            threshold=alarm.threshold,
            since=counts.first,
            window_from=counts.first,
            window_to=counts.last,
            window_size=alarm.labels,
            reference_size=alarm.known,
            effect=words.rate("error rate", alarm.before, rate),
            hurts=rate - alarm.before > self._policy.harm,
            distributions={
                "names": ["wrong", "right"],
                "reference": [alarm.before, 1 - alarm.before],
                "window": [rate, 1 - rate],
            },
        )

    def state(self) -> dict[str, Any]:
        """All that later findings depend on, as JSON data; `of` goes on from it."""
        return {
            "format": FORMAT,
            "version": self._reference.version,
            "records": self._records,
            "inputs": self._inputs.state(),
            "concept": self._concept.state() if self._concept else None,
            "segments": self._by_segment.state() if self._by_segment else None,
        }

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
        family._records = int(state["records"])
        family._inputs.restore(state["inputs"])
        for part, name in ((family._concept, "concept"), (family._by_segment, "segments")):
            if part is not None:
                part.restore(state[name])
        return family
