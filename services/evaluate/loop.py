"""Does the closed loop pay? March to December of the flights, under four ways to retrain.

All four ask the same estimator about the same inputs, learn from the same labels as they come, and
begin with the model of January and February. They differ in who decides when to fit it again, and
on what; and Weir's may also answer together with a model that learns from each outcome, which is
shown apart as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from schemas.moments import moment
from services.evaluate.loop_weir import Replayed, replay
from services.evaluate.loop_world import Floats, Score, World, scheduled, score, starts

NEVER, ALL, LAST_2, WEIR = "never", "monthly_all", "monthly_last_2", "weir"
STATELESS, STATEFUL = "weir_batch", "continual"
"""Weir's triggers without what learns from each outcome, and that alone."""
DRAWS = 50
"""Of the bootstrap."""

Say = Callable[[str, float], object]
"""Told of what is being done, and the share of it that is done, 0 to 1."""


@dataclass(frozen=True, eq=False)
class Found:
    """What a comparison found.

    scores: by strategy; more: what Weir's versions say besides the estimator's own answers.
    moments: of retrainings by strategy, event time in ms. lead: `lead` of weir over monthly_all.
    """

    scores: Mapping[str, Score]
    more: Mapping[str, Score]
    moments: Mapping[str, list[int]]
    lead: Mapping[str, tuple[float, float, float]]
    replayed: Replayed = field(repr=False)

    def plain(self) -> dict[str, dict[str, float]]:
        """The last line of the command."""
        return {name: one.plain() for name, one in self.scores.items()}


def compare(
    world: World,
    say: Say = lambda what, done: None,
    draws: int = DRAWS,
    fit_only: bool = False,
) -> Found:
    """All four strategies. draws: of the bootstrap of Weir's lead. fit_only: as `replay` has it."""
    months = [starts(month) for month in world.months]
    before = [None, *(starts(month - 2) for month in world.months[1:])]
    say("never retrained", 0.0)
    given = {NEVER: scheduled(world, months[:1])}
    say("monthly on all history", 0.05)
    given[ALL] = scheduled(world, months)
    say("monthly on the last two months", 0.25)
    given[LAST_2] = scheduled(world, months, before)
    first, last = world.begins, world.ends

    def passed(now: int) -> None:
        day = moment(now)
        say(f"Weir's triggers, {day:%d %B}", 0.35 + 0.65 * (now - first) / (last - first))

    replayed = replay(world, passed, fit_only)
    given[WEIR] = replayed.said.probability
    times = [one.at for one in replayed.retrainings]
    moments = {NEVER: [], ALL: months[1:], LAST_2: months[1:], WEIR: times}
    if world.task.continual is not None:
        given |= {STATELESS: replayed.said.batch, STATEFUL: replayed.said.alone}
        moments |= {STATELESS: times, STATEFUL: []}
    scores = {name: score(world, given[name], len(moments[name])) for name in given}
    more = {"weir": scores[WEIR], **_more(world, replayed)}
    return Found(scores, more, moments, lead(world, given[WEIR], given[ALL], draws), replayed)


def _more(world: World, replayed: Replayed) -> dict[str, Score]:
    """What the same versions would be worth with what Weir has besides the model's answers."""
    said, n = replayed.said, len(replayed.retrainings)
    found = {"with the champion before it": score(world, blend(said.batch, said.before), n)}
    if not np.isnan(said.expected[said.version != ""]).any():
        found["as its estimator expects"] = score(world, said.expected, n)
    return found


def blend(one: Floats, other: Floats) -> Floats:
    """The mean of two probabilities' log odds, as a probability."""
    tiny = 1e-9
    one, other = (np.clip(p, tiny, 1 - tiny) for p in (one, other))
    odds = np.sqrt(one / (1 - one) * other / (1 - other))
    found: Floats = odds / (1 + odds)
    return found


def lead(
    world: World, mine: Floats, theirs: Floats, draws: int = DRAWS, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """By how much one is better, and between what (2.5 and 97.5 %) by chance of the days drawn.

    Means over the months of the difference in AUC, and of the fall in log loss. Days are drawn
    again with replacement within their month: flights of a day share its weather (a bootstrap by
    blocks, Künsch 1989, Annals of Statistics 17).
    """
    generator = np.random.default_rng(seed)
    day = (world.asked - world.asked[0]) // 86_400_000
    loss = _loss(world, theirs) - _loss(world, mine)
    auc, fall = np.zeros(draws + 1), np.zeros(draws + 1)
    for month in world.months:
        here = np.flatnonzero(world.month == month)
        found, at = np.unique(day[here], return_inverse=True)
        for draw in range(draws + 1):
            drawn = np.arange(len(found))  # the first is of the days as they were
            if draw:
                drawn = generator.integers(0, len(found), len(found))
            weights = np.bincount(drawn, minlength=len(found))[at].astype(np.float64)
            kept = weights > 0
            rows, w = here[kept], weights[kept]
            fall[draw] += np.average(loss[rows], weights=w) / len(world.months)
            areas = [
                roc_auc_score(world.truth[rows], p[rows], sample_weight=w) for p in (mine, theirs)
            ]
            auc[draw] += (areas[0] - areas[1]) / len(world.months)
    return {name: _interval(values) for name, values in (("auc", auc), ("log_loss", fall))}


def _loss(world: World, probability: Floats) -> Floats:
    loss: Floats = -np.log(np.where(world.truth, probability, 1 - probability))
    return loss


def _interval(values: Floats) -> tuple[float, float, float]:
    low, high = np.quantile(values[1:], (0.025, 0.975))
    return float(values[0]), float(low), float(high)


def told(found: Found) -> dict[str, Any]:
    """All figures as JSON data, for the plot and for the page."""
    return {
        "months": list(found.scores[WEIR].months),
        "strategies": {
            name: {
                "auc": one.auc,
                "log_loss": one.log_loss,
                "mean_auc": one.mean_auc,
                "mean_log_loss": one.mean_log_loss,
                "retrainings": one.retrainings,
            }
            for name, one in found.scores.items()
        },
        "retrainings": {name: at for name, at in found.moments.items() if name in (ALL, WEIR)},
    }
