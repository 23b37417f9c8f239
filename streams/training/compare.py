"""Whether a new version may take the champion's place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone

from streams.frame import columns_of
from streams.task import Task
from streams.training.candidates import Choice
from streams.training.data import Dataset
from streams.training.fitting import answers, fit, one_thread, weight_name
from streams.training.metrics import LOSS, loss
from streams.version import Version

TOLERANCE = 0.01
"""How much greater, relatively, a newcomer's loss may be: newer data is worth that much."""
MIN_UNSEEN = 0.5
"""Share of the test rows that the champion must not have been trained on to be judged as it is."""


@dataclass(frozen=True)
class Verdict:
    """Whether the newcomer becomes the champion, and why (or why not), in words."""

    accepted: bool
    reason: str
    champion_loss: float | None = None


def judge(task: Task, data: Dataset, choice: Choice, champion: Version | None) -> Verdict:
    """Compare the chosen candidate with the baseline, and with the champion on the same rows.

    Only true labels judge, by their weights, so that the verdict is of all requests.
    A champion that was trained on most of the test rows would be judged on what it has seen: its
    estimator is then fitted again, on the rows that the newcomer got.
    """
    measure = LOSS[task.kind].replace("_", " ")
    if not choice.beats_baseline:
        return Verdict(
            False,
            f"{choice.name} does not beat the baseline: {measure} "
            f"{choice.loss:.4f} against {choice.baseline:.4f} on validation",
        )
    if champion is None:
        return Verdict(True, f"{choice.name} beats the baseline, and there is no champion yet")
    later = np.zeros(len(data), bool)
    later[data.judged(data.test)] = True
    unseen = later & (data.times_ms > int(champion.manifest["dataset"]["to"]))
    fair = unseen.sum() >= MIN_UNSEEN * later.sum()
    asked = unseen if fair else later
    (frame, truth), weight = data.rows(asked), data.weights(asked)
    mine = loss(task, truth, choice.answers(task, frame), weight)
    try:
        if fair:
            known = champion.frame(columns_of(task.inputs, frame))  # with its vocabularies
            with one_thread():
                theirs = loss(task, truth, champion.predict(known), weight)
        else:
            own = clone(champion.model)
            lessons = data.lessons(data.train, choice.stands) if weight_name(own) else None
            model = fit(task, own, *data.rows(data.train), lessons)
            theirs = loss(task, truth, answers(task, model, frame), weight)
    except ValueError as error:
        return Verdict(
            True, f"the champion {champion.id} cannot be judged on the new rows: {error}"
        )
    how = "as it is" if fair else "fitted again on the same rows"
    facts = f"{measure} {mine:.4f} against {theirs:.4f} on the newest {len(truth)} rows ({how})"
    if mine <= theirs * (1 + TOLERANCE):
        return Verdict(True, f"{choice.name} is not worse than {champion.id}: {facts}", theirs)
    return Verdict(False, f"{choice.name} is worse than {champion.id}: {facts}", theirs)
