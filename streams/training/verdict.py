"""Whether a trained version may be registered for service: everything that has a say, at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from streams.manifest import Contents
from streams.task import Task
from streams.training import checklist, parity
from streams.training.candidates import Choice
from streams.training.checklist import Finding, Rows, as_table
from streams.training.compare import Compared, compare
from streams.training.data import Dataset
from streams.training.fitting import one_thread
from streams.training.metrics import LOSS
from streams.training.parity import Parity
from streams.training.verdict_words import example, told
from streams.version import Version


@dataclass(frozen=True)
class Verdict:
    """Whether a version may serve, and what was looked at.

    reason: why (not), in words for a person. failed: what refuses it, of ``baseline``,
    ``champion``, ``segments``, ``behaviour``, ``parity``.
    """

    reason: str
    failed: tuple[str, ...]
    measure: str
    compared: Compared | None
    behaviour: tuple[Finding, ...]
    parity: Parity

    @property
    def accepted(self) -> bool:
        """Whether nothing refuses it."""
        return not self.failed

    @property
    def champion_loss(self) -> float | None:
        """The champion's loss on the rows that both were compared on."""
        return self.compared.champion_loss if self.compared else None

    def facts(self) -> dict[str, Any]:
        """As JSON data: the manifest's ``verdict``."""
        other = self.compared
        return {
            "accepted": self.accepted,
            "reason": self.reason,
            "failed": list(self.failed),
            "measure": self.measure,
            "loss": other.loss if other else None,
            "champion": other.champion if other else "",
            "champion_loss": self.champion_loss,
            "champion_standing": other.standing if other else None,
            "rows": other.rows if other else 0,
            "paired": other.paired.facts() if other and other.paired else None,
            "segments": [one.facts() for one in other.slices] if other else [],
            "behaviour": [finding.facts() for finding in self.behaviour],
            "parity": self.parity.facts(),
        }


def judge(
    task: Task, data: Dataset, choice: Choice, champion: Version | None, contents: Contents
) -> Verdict:
    """Judge the version that ``contents`` make: ``choice`` is its rehearsal on older rows.

    The rehearsal is compared with the baseline and, on the test rows, with the champion; the
    version itself, exported and read again, must answer as it did before and pass the task's
    behavioural tests. Only rows with true labels are used, by their weights.
    """
    measure = LOSS[task.kind]
    known = data.judged(data.test)
    (frame, truth), weight = data.rows(known), data.weights(known)
    failed: list[str] = []
    words: list[str] = []
    compared = None
    if not choice.beats_baseline:
        failed.append("baseline")
        words.append(
            f"{choice.name} does not beat the baseline: {measure.replace('_', ' ')} "
            f"{choice.loss:.4f} against {choice.baseline:.4f} on validation"
        )
    elif champion is None:
        words.append(f"{choice.name} beats the baseline, and there is no champion yet")
    else:
        compared = compare(task, data, choice, champion)
        failed += compared.failed
        words.append(compared.reason)
    # The rows again in the version's own vocabularies, which are of all rows: the frame has them.
    same, version = parity.check(task, contents, frame)
    if not same.passed:
        failed.append("parity")
        words.append(_parity(same))
    findings: list[Finding] = []
    if task.training.behaviour and version is not None:
        held_out = choice.answers(task, frame)
        rows = Rows(as_table(task.inputs, frame), truth, held_out, weight)
        with one_thread():
            findings = checklist.run(task, version, rows)
    bad = [one for one in findings if not one.passed]
    if any(one.severity == "refuse" for one in bad):
        failed.append("behaviour")
    words += [_behaviour(one) for one in bad]
    return Verdict("; ".join(words), tuple(failed), measure, compared, tuple(findings), same)


def judged(contents: Contents, verdict: Verdict) -> Contents:
    """The contents with their verdict, as they are saved."""
    metrics = dict(contents.metrics)
    if verdict.champion_loss is not None:
        metrics[f"champion_{verdict.measure}"] = verdict.champion_loss
    extra = {**contents.extra, "verdict": verdict.facts()}
    return replace(contents, metrics=metrics, extra=extra)


def _parity(same: Parity) -> str:
    if same.note:
        return f"it cannot be exported: {same.note}"
    return (
        f"the exported version answers otherwise than the trained one: by {same.largest:.2g} at "
        f"most on {same.rows} rows, where {same.tolerance:g} is allowed"
    )


def _behaviour(one: Finding) -> str:
    facts = one.facts()
    words = f"{one.kind} {one.name!r} {'fails' if one.severity == 'refuse' else 'warns'}"
    words += f": {told(facts)}"
    return f"{words}, e.g. {example(facts['examples'][0])}" if one.examples else words
