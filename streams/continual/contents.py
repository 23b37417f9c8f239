"""What a version of a learner is: what a bundle holds, and what a learner goes on from."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from streams.continual.learner import ALONE, CHAMPION, TOGETHER, Learner
from streams.continual.model import Learned
from streams.continual.prequential import Faded
from streams.declaration import declaration, library_versions, sha256_of
from streams.manifest import Contents, samples
from streams.roles import CONTINUAL
from streams.task import Task
from streams.training.metrics import LOSS
from streams.version import Version


def contents_of(task: Task, learner: Learner, base: Version, offsets: Sequence[int]) -> Contents:
    """The learner as it is now, on top of a batch-trained version.

    offsets: for each partition of the outcomes, that of the first which it has not learned from.
    Gate, vocabularies and profile are the base's; so are its estimates where it has a share in
    the answers. The id is a hash of what the learner has seen, so that it is the same for whoever
    makes the same version again.
    """
    means = learner.scores.means()
    losses = {f"prequential_{LOSS[task.kind]}": means.get(TOGETHER)} | {
        f"{name}_prequential_{LOSS[task.kind]}": means.get(name) for name in (CHAMPION, ALONE)
    }
    kept = {
        "base": base.id,
        "offsets": list(offsets),
        "learned": learner.learned,
        "newest_ms": learner.newest_ms,
        "scores": learner.scores.plain(),
        **learner.policy.facts(),
    }
    libraries = library_versions()
    digest = sha256_of({"declaration": declaration(task), "libraries": libraries, **kept})
    gate = dict(base.manifest["gate"])
    threshold = gate.pop("threshold", None)
    gate.pop("defer_budget", None)
    return Contents(
        id=f"{task.name}-{digest[:12]}",
        dataset={
            "id": f"st-{sha256_of([kept['offsets'], base.dataset_id])[:12]}",
            "rows": learner.learned,
            "from": base.manifest["dataset"]["from"],
            "to": max(learner.newest_ms, base.manifest["dataset"]["to"]),
        },
        candidate="continual",
        model=learner.served(base),
        gate=base.gate,
        threshold=threshold if base.gate is not None else None,
        gate_metrics=gate,
        decision_threshold=base.decision_threshold,
        estimates=base.estimates if learner.policy.share < 1 else None,  # type: ignore[arg-type]
        vocabularies=base.vocabularies,
        samples=samples(base.manifest, task),
        metrics={name: value for name, value in losses.items() if value is not None}
        | {"learned": float(learner.learned), "compared": float(learner.scores.outcomes)},
        profile=base.profile,
        seeds={"task": task.seed},
        libraries=libraries,
        event_id=f"{CONTINUAL}{digest[:12]}",
        extra={
            "recipe": base.manifest.get("recipe"),
            "continual": kept,
            "verdict": {"accepted": learner.leads, "reason": reason(learner)},
        },
    )


def resumed(task: Task, version: Version) -> tuple[Learner, list[int]]:
    """The learner as it was when a version of it was made, and the offsets to go on from.

    Raises ValueError where the version is not one of the learner that the task declares now.
    """
    kept: Mapping[str, Any] = version.manifest.get("continual") or {}
    learner = Learner(task)
    facts = learner.policy.facts()
    declared = {name: kept.get(name) for name in facts}
    if not isinstance(version.model, Learned) or declared != facts:
        raise ValueError(f"version {version.id} is not of the learner that the task declares now")
    learner.model = copy.deepcopy(version.model.learner)  # a version does not change
    learner.learned, learner.newest_ms = kept["learned"], kept["newest_ms"]
    learner.scores = Faded.of_plain(learner.policy.window, kept["scores"])
    return learner, list(kept["offsets"])


def reason(learner: Learner) -> str:
    """Why its answers are to be given, or not to be."""
    means, scores = learner.scores.means(), learner.scores
    if scores.outcomes < learner.policy.judged:
        return (
            f"it has been compared on {scores.outcomes:,} outcomes; {learner.policy.judged:,} are "
            "needed"
        )
    found = f"{means[TOGETHER]:.4f} against {means[CHAMPION]:.4f} on the newest outcomes"
    better = "better" if learner.leads else "not better"
    return f"{better} than the batch-trained model before each truth was learned from: {found}"
