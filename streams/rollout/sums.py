"""What a batch of predictions or outcomes adds to the sums by which versions are compared.

Sums commute: neither the order of batches nor their cut changes what is decided. Two kinds:

``pair``: one version answered and another looked on at the same request. Of the difference (what
looked on minus what answered) the sum and the sum of squares: the noise that both have in common
is gone from it.
``arm``: versions answer different requests, each with a probability that was logged. With weights
w = 1 / probability the sums of w·v, w²·v², … make an unbiased estimate of what each would do
for all requests (Horvitz and Thompson 1952).

And of two things: the ``loss`` of answers that are labelled, all and by segment, and whether the
model was ``unanswered`` (its gate held the input back, or it failed), of every request. An input
that a version did not answer has no loss; of an arm it counts as neither good nor bad.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.columns import Columns
from streams.groups import text
from streams.rollout.losses import answered_values, losses, width
from streams.task import Task

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Kind = Literal["pair", "arm", "slow"]
What = Literal["loss", "unanswered", "latency"]


class About(NamedTuple):
    """What a sum is of.

    version: that answered. other: that looked on; empty of an arm. segment, value: empty for all.
    """

    experiment: str
    kind: Kind
    what: What
    version: str
    other: str = ""
    segment: str = ""
    value: str = ""


Sums = dict[About, list[float]]
"""By what they are of: of a pair n, sum and squares of the differences, and the sums of the two
losses; of an arm n, and the sums of w, w², w·v, w²·v, w²·v²; of latency batches, and slow ones."""


def add(to: Sums, more: Sums) -> None:
    """Add sums to others."""
    for about, values in more.items():
        known = to.get(about)
        if known is None:
            to[about] = list(values)
        else:
            for i, value in enumerate(values):
                known[i] += value


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows of one experiment and version, and who looked on."""

    experiment: str
    version: str
    others: Sequence[str]
    rows: Rows


def of_predictions(task: Task, columns: Columns) -> Sums:
    """What predictions add: whether each version's model answered."""
    sums: Sums = {}
    for part in _parts(columns):
        rows = part.rows
        held = columns["gate_decision"].values[rows] == "defer"
        unanswered = held | (columns["status"].values[rows] != "answered")
        unanswered = unanswered.astype(np.float64)
        if part.others:
            seen = _looked_on(task, columns, part)
            for i, other in enumerate(part.others):
                missing = np.isnan(seen[:, i].sum(axis=1)).astype(np.float64)
                about = About(part.experiment, "pair", "unanswered", part.version, other)
                sums[about] = _pair(unanswered, missing, 1.0)
        else:
            about = About(part.experiment, "arm", "unanswered", part.version)
            weights, drawn = _weights(columns, rows)
            sums[about] = _arm(weights[drawn], unanswered[drawn], 1.0, int(drawn.sum()))
    return sums


def of_outcomes(task: Task, columns: Columns) -> Sums:
    """What outcomes add: the losses of true labels; a correction takes back what it replaces."""
    sums: Sums = {}
    true = columns["label"].values == "true"
    for part in _parts(columns, true):
        _add_losses(task, columns, part, columns["truth"].values, 1.0, sums)
        before = columns["previous_truth"]
        valid = before.present
        replaced = part.rows[valid[part.rows]]
        if len(replaced):
            again = _Part(part.experiment, part.version, part.others, replaced)
            _add_losses(task, columns, again, before.values, -1.0, sums)
    return sums


def of_latency(columns: Columns, limit_ms: float) -> Sums:
    """Batches that were served, and those whose gate and model took longer than a limit.

    Requests of a batch share its time, so each batch counts once.
    """
    sums: Sums = {}
    for part in _parts(columns):
        rows = part.rows
        micros = columns["timings.gate_us"].values[rows] + columns["timings.infer_us"].values[rows]
        _, first = np.unique(columns["predicted_at"].values[rows], return_index=True)
        slow = micros[first] > limit_ms * 1000
        about = About(part.experiment, "slow", "latency", part.version)
        sums[about] = [float(len(first)), float(slow.sum())]
    return sums


def _parts(columns: Columns, wanted: npt.NDArray[np.bool_] | None = None) -> Iterator[_Part]:
    """The rows of experiments by version, and by who looked on."""
    there = columns["experiment"].values != ""
    if wanted is not None:
        there = there & wanted
    rows = np.flatnonzero(there & (columns["version"].values != ""))
    if not len(rows):
        return
    codes = np.zeros(len(rows), np.int64)
    names: list[list[Any]] = []
    for name in ("experiment", "version", "shadow_versions"):
        code, found = pd.factorize(columns[name].values[rows])
        codes = codes * len(found) + code
        names.append(found.tolist())
    for code in np.unique(codes).tolist():
        rest, at = divmod(code, len(names[2]))
        first, second = divmod(rest, len(names[1]))
        others = names[2][at].split(",") if names[2][at] else []
        yield _Part(names[0][first], names[1][second], others, rows[codes == code])


def _add_losses(
    task: Task, columns: Columns, part: _Part, truths: npt.NDArray[Any], sign: float, to: Sums
) -> None:
    policy, rows = task.rollout, part.rows
    taken = {
        name: columns[name].take(rows)
        for name in ("version", "status", "answer", "probability", "probabilities")
    }
    told = truths[rows]

    def loss(values: Floats) -> Floats:
        kind, classes = task.kind, task.classes
        return losses(kind, classes, policy.loss_of(kind), policy.largest(kind), values, told)

    own = loss(answered_values(task.kind, task.classes, taken))
    groups = [("", "", np.ones(len(rows), bool)), *_segments(task, columns, rows)]
    if part.others:
        seen = _looked_on(task, columns, part)
        for i, other in enumerate(part.others):
            theirs = loss(seen[:, i])
            both = np.isfinite(own) & np.isfinite(theirs)
            for segment, value, within in groups:
                these = both & within
                if these.any():
                    about = (part.experiment, "pair", "loss", part.version, other, segment, value)
                    found = _pair(own[these], theirs[these], sign)
                    add(to, {About(*about): found})  # type: ignore[arg-type]
        return
    weights, drawn = _weights(columns, rows)
    for segment, value, within in groups:
        labelled = drawn & within
        these = labelled & np.isfinite(own)
        if labelled.any():
            about = (part.experiment, "arm", "loss", part.version, "", segment, value)
            found = _arm(weights[these], own[these], sign, int(labelled.sum()))
            add(to, {About(*about): found})  # type: ignore[arg-type]


def _segments(
    task: Task, columns: Columns, rows: Rows
) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    for name in task.segments:
        column = columns[f"features.{name}"].take(rows)
        code, found = pd.factorize(column.values)
        there = np.ones(len(rows), bool) if column.valid is None else column.valid
        for i, value in enumerate(found.tolist()):
            yield name, text(value), there & (code == i)


def _looked_on(task: Task, columns: Columns, part: _Part) -> Floats:
    """What the others would have answered, (n, others, k)."""
    k = width(task.kind, task.classes)
    wanted = len(part.others) * k
    given = columns["shadow_values"].values[part.rows]
    values = np.full((len(part.rows), wanted), np.nan)
    for i, one in enumerate(given):
        if one is not None and len(one) == wanted:
            values[i] = one
    return values.reshape(len(part.rows), len(part.others), k)


def _weights(columns: Columns, rows: Rows) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The inverse of each row's probability, and where it was drawn with one."""
    column = columns["arm_propensity"].take(rows)
    drawn = np.ones(len(rows), bool) if column.valid is None else column.valid
    propensity = np.where(drawn, column.values.astype(np.float64), 1.0)
    drawn = drawn & (propensity > 0)
    return 1.0 / np.where(drawn, propensity, 1.0), drawn


def _pair(answered: Floats, looked_on: Floats, sign: float) -> list[float]:
    difference = looked_on - answered
    found = (
        len(difference),
        difference.sum(),
        difference @ difference,
        answered.sum(),
        looked_on.sum(),
    )
    return [sign * float(value) for value in found]


def _arm(w: Floats, v: Floats, sign: float, n: int) -> list[float]:
    wv = w * v
    found = (n, w.sum(), w @ w, wv.sum(), w @ wv, wv @ wv)
    return [sign * float(value) for value in found]
