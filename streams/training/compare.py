"""Whether a newcomer may take the champion's place, by what both say of the same held-out rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.base import clone

from streams.frame import columns_of
from streams.task import Task
from streams.training.candidates import Choice
from streams.training.comparison import Comparison
from streams.training.data import Dataset, Mask
from streams.training.fitting import answers, fit, one_thread, weight_name
from streams.training.metrics import LOSS, losses
from streams.training.paired import NAME, Difference, difference
from streams.training.slices import Slice, slices, worst_first
from streams.version import Answers, Version

MIN_UNSEEN = 0.5
"""Share of the test rows that the champion must not have been trained on to be judged as it is."""

Found = Literal["better", "not worse", "unsure", "worse"]
Standing = Literal["as it is", "fitted again on the same rows"]


@dataclass(frozen=True)
class Paired:
    """The newcomer's loss less the champion's on the same rows.

    interval: the true difference is above it with the probability ``error`` of the settings, and
    below it with the same. margin: how great the difference may be. p: of the hypothesis that it
    is the margin or more (so a small one says "not worse"); p_better: that it is 0 or more.
    found: ``better`` (the interval is below 0), ``not worse`` (below the margin), ``worse``
    (above the margin) or ``unsure``.
    """

    difference: float
    interval: tuple[float, float]
    margin: float
    p: float
    p_better: float
    blocks: int
    found: Found
    name: str = NAME

    def facts(self) -> dict[str, Any]:
        """As JSON data."""
        return vars(self) | {"interval": list(self.interval)}


@dataclass(frozen=True)
class Compared:
    """What the comparison with the champion gave.

    reason: why (not), in words, of the whole and of slices; failed: ``champion``, ``segments``.
    Without a champion that can be compared with there are no losses.
    """

    reason: str
    failed: tuple[str, ...] = ()
    champion: str = ""
    rows: int = 0
    loss: float | None = None
    champion_loss: float | None = None
    standing: Standing | None = None
    paired: Paired | None = None
    slices: tuple[Slice, ...] = ()


def compare(task: Task, data: Dataset, choice: Choice, champion: Version) -> Compared:
    """The chosen candidate, fitted on all rows before the test's, and the champion on the newest
    rows that neither has learned from.

    Only true labels judge, by their weights, so that the verdict is of all requests. A champion
    that was trained on most of the test rows would be judged on what it has seen: its estimator
    is then fitted again, on the rows that the newcomer got. What sets its probabilities right stays
    as it was learned, perhaps from some of the test rows: a few numbers, in the champion's favour.
    """
    later = np.zeros(len(data), bool)
    later[data.judged(data.test)] = True
    unseen = later & (data.times_ms > int(champion.manifest["dataset"]["to"]))
    fair = unseen.sum() >= MIN_UNSEEN * later.sum()
    asked: Mask = unseen if fair else later
    (frame, truth), weight = data.rows(asked), data.weights(asked)
    own = losses(task, truth, choice.answers(task, frame))
    try:
        if fair:
            known = champion.frame(columns_of(task.inputs, frame))  # with its vocabularies
            with one_thread():
                theirs = champion.predict(known)
        else:
            theirs = _fitted_again(task, data, choice, champion, asked)
        other = losses(task, truth, theirs)
        if not np.isfinite(other).all():
            raise ValueError("it answers with numbers that are not finite")
    except ValueError as error:
        return Compared(
            f"the champion {champion.id} cannot be judged on the new rows: {error}",
            champion=champion.id,
        )
    mine, before = (float(np.average(each, weights=weight)) for each in (own, other))
    policy = task.training.comparison
    apart = paired(policy, difference(own, other, weight, policy.blocks), before)
    parts = slices(task, frame, own, other, weight)
    standing: Standing = "as it is" if fair else "fitted again on the same rows"
    passed, words = passes(policy, apart)
    measure = LOSS[task.kind].replace("_", " ")
    low, high = apart.interval
    reason = (
        f"{choice.name} {words.format(champion.id)}: {measure} {mine:.4f} against {before:.4f} on "
        f"the newest {len(truth)} rows ({standing}); the difference is {low:+.4f} to {high:+.4f}, "
        f"the margin {apart.margin:+.4f}"
    )
    worse = worst_first(parts)
    if worse:
        reason += f"; clearly worse {_where(worse, len(parts), measure)}"
    failed = (*(() if passed else ("champion",)), *(("segments",) if worse else ()))
    return Compared(
        reason, failed, champion.id, len(truth), mine, before, standing, apart, tuple(parts)
    )


def _fitted_again(
    task: Task, data: Dataset, choice: Choice, champion: Version, asked: Mask
) -> Answers:
    estimator = clone(champion.model)
    before = slice(0, data.test.start)
    lessons = data.lessons(before, choice.stands) if weight_name(estimator) else None
    model = fit(task, estimator, *data.rows(before), lessons)
    return answers(task, model, data.rows(asked)[0], champion.manifest.get("calibration"))


def paired(policy: Comparison, apart: Difference, champion_loss: float) -> Paired:
    """What a difference says by a task's rule, beside the champion's loss."""
    margin = policy.margin * champion_loss
    low, high = apart.interval(policy.error)
    found: Found = "unsure"
    if high < 0:
        found = "better"
    elif high <= margin:
        found = "not worse"
    elif low > margin:
        found = "worse"
    p, p_better = apart.p_below(margin), apart.p_below(0.0)
    return Paired(apart.value, (low, high), margin, p, p_better, apart.blocks, found)


def passes(policy: Comparison, apart: Paired) -> tuple[bool, str]:
    """Whether a newcomer passes, and in words what it is beside a champion (``{}``)."""
    if apart.found != "unsure":
        return apart.found != "worse", f"is {apart.found} than {{}}"
    if policy.unsure == "refuse":
        return False, "is not shown to be no worse than {}"
    if apart.difference <= apart.margin:
        return True, "is no worse than {} as far as these rows can tell"
    return False, "seems worse than {}"


def _where(worse: list[Slice], slices: int, measure: str) -> str:
    first = worse[0]
    words = (
        f"where {first.segment} is {first.value}: {measure} {first.loss:.4f} against "
        f"{first.champion_loss:.4f} on {first.rows} rows (p {first.adjusted_p:.2g} among {slices})"
    )
    others = [f"{one.segment} is {one.value}" for one in worse[1:]]
    return f"{words}, and where {', '.join(others)}" if others else words
