"""What rollouts are worth: error rates, outcomes needed, and a bandit's regret, by simulation.

Made-up streams whose truth is known: requests x ~ N(0, 1), true with probability s(2x), and
versions that answer s(2x + e) with errors e of their own, the greater the worse. Outcomes come in
batches, and the rollout itself (`streams.rollout.rollouts`) decides after each of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from streams.roles import BY_TRAINER, ModelRecord, Role
from streams.rollout.rollouts import Rollouts
from streams.rollout.sums import About, Sums
from streams.task import Binary, Number, Rollout, Task

Floats = npt.NDArray[np.float64]
T = TypeVar("T")

BATCH = 50
"""Outcomes between two looks."""
CHAMPION = 1.0
"""Standard deviation of the champion's errors, in log-odds."""
HELD_OUT = 0.17
"""Its mean Brier score, as its training measured it."""
BETTER = (0.9, 0.7, 0.4)
WORSE = (1.1, 1.3, 1.6)
FOREVER = timedelta(days=3650)
CANARY = Rollout(
    strategy="canary", shares=(0.1,), min_outcomes=100, patience=FOREVER, watch=timedelta(0)
)
AB = replace(CANARY, strategy="ab", shares=(0.5,))
BANDIT = replace(CANARY, strategy="bandit", shares=None, every=100)
WATCH = replace(CANARY, strategy="blue-green", shares=None, watch=FOREVER)
Z = 1.6449
"""Of a test of one side at 0.05 that is made for one look."""


@dataclass(frozen=True)
class Run:
    """What became of a stream: the last action, outcomes until then, and losses beyond the best."""

    action: str
    outcomes: int
    regret: float


class Stream:
    """Outcomes of two versions, v1 the champion and v2 the new one, by their errors."""

    def __init__(self, seed: int, errors: float) -> None:
        self._draw = np.random.default_rng(seed)
        self._errors = errors

    def losses(self, n: int) -> Floats:
        """Brier scores of both versions on n requests, (2, n)."""
        x = 2 * self._draw.normal(size=n)
        truth = self._draw.random(n) < expit(x)
        found = []
        for size in (CHAMPION, self._errors):
            answer = expit(x + size * self._draw.normal(size=n))
            found.append((answer - truth) ** 2)
        return np.array(found)

    def chosen(self, n: int, share: float) -> npt.NDArray[np.bool_]:
        """Which of n requests v2 answers."""
        return self._draw.random(n) < share


def difference(errors: float) -> float:
    """How much greater the mean Brier score of a version with such errors is than v1's."""
    first, second = Stream(0, errors).losses(2_000_000)
    return float((second - first).mean())


def run(policy: Rollout, seed: int, errors: float, most: int, lag: int = 0) -> Run:
    """One stream until its version is promoted, refused or rolled back, or `most` outcomes.

    lag: batches that a label comes late.
    """
    task = Task(
        name="simulated",
        features=[Number("x")],
        target=Binary("y"),
        candidates={"any": LogisticRegression()},
        fallback=False,
        rollout=policy,
    )
    rollouts = Rollouts(task)
    first: Role = policy.first_role
    rollouts.models([_record("v1", "champion"), _record("v2", first)])
    stream = Stream(seed, errors)
    waiting: list[tuple[str, Sums]] = []
    regret, n, action = 0.0, 0, ""
    while n < most and rollouts.experiment is not None:
        losses = stream.losses(BATCH)
        running = rollouts.experiment
        share = 1.0 if policy is WATCH else running.shares.get("v2", 0.0)
        mine = stream.chosen(BATCH, share)
        served = np.where(mine, losses[1], losses[0])
        better = min(losses.mean(axis=1))
        regret += float(served.sum()) - BATCH * float(better)
        waiting.append((running.id, _sums(running.id, running.paired, losses, mine, share)))
        n += BATCH
        if len(waiting) <= lag:
            continue
        id_, sums = waiting.pop(0)
        for decision in rollouts.compared({id_: sums}, n):
            action = decision.action
    ended = rollouts.experiment is None
    return Run(action if ended else "", n, regret)


def _sums(
    experiment: str, paired: bool, losses: Floats, mine: npt.NDArray[np.bool_], share: float
) -> Sums:
    if paired:
        pairs: Sums = {}
        for (answered, looked_on), rows in (((0, 1), ~mine), ((1, 0), mine)):
            own, other = losses[answered][rows], losses[looked_on][rows]
            d = other - own
            values = (len(d), d.sum(), d @ d, own.sum(), other.sum())
            about = About(experiment, "pair", "loss", f"v{answered + 1}", f"v{looked_on + 1}")
            pairs[about] = [float(value) for value in values]
        return pairs
    found: Sums = {}
    for version, which, rows, p in (("v1", 0, ~mine, 1 - share), ("v2", 1, mine, share)):
        v = losses[which][rows]
        w = np.full(len(v), 1 / p)
        wv = w * v
        weighted = (len(v), w.sum(), w @ w, wv.sum(), w @ wv, wv @ wv)
        found[About(experiment, "arm", "loss", version)] = [float(value) for value in weighted]
    return found


def peeked(seed: int, errors: float, most: int) -> bool:
    """Whether a z-test that is made for one look finds v2 better at any of the looks."""
    stream = Stream(seed, errors)
    n, total, squares = 0, 0.0, 0.0
    while n < most:
        first, second = stream.losses(BATCH)
        d = second - first
        n, total, squares = n + BATCH, total + float(d.sum()), squares + float(d @ d)
        mean = total / n
        if n >= CANARY.min_outcomes and mean < -Z * np.sqrt((squares / n - mean**2) / n):
            return True
    return False


def evaluate(
    streams: int, most: int, passed: Callable[[], None] = lambda: None
) -> dict[str, dict[str, Any]]:
    """All figures; see `weir evaluate rollout`."""

    def runs(policy: Rollout, errors: float, lag: int = 0) -> list[Run]:
        return list(_each(streams, lambda seed: run(policy, seed, errors, most, lag), passed))

    same = {name: runs(policy, CHAMPION) for name, policy in POLICIES.items()}
    bad = ("refused", "rolled-back")
    level = {
        name: {
            "promoted": _share(found, ("promoted",)),
            "refused": _share(found, bad),
            "stated": CANARY.alpha,
        }
        for name, found in same.items()
    }
    found = list(_each(streams, lambda seed: peeked(seed, CHAMPION, most), passed))
    level["z-test after every batch"] = {"promoted": sum(found) / len(found), "stated": 0.05}
    needed = {
        f"{difference(errors):+.4f}": {
            name: _needed(runs(policy, errors), most)
            for name, policy in POLICIES.items()
            if errors > CHAMPION or policy is not WATCH
        }
        for errors in (*BETTER, *WORSE)
    }
    regret = {
        f"{difference(errors):+.4f}": {
            name: _regret(runs(policy, errors, lag=4)) for name, policy in ARMS.items()
        }
        for errors in (BETTER[-1], WORSE[-1])
    }
    return {"level": level, "outcomes": needed, "regret": regret}


POLICIES: Mapping[str, Rollout] = {"canary": CANARY, "ab": AB, "watch": WATCH}
ARMS: Mapping[str, Rollout] = {"ab": AB, "bandit": BANDIT}
STEPS = len(POLICIES) + 1 + 2 * len(BETTER) + 3 * len(WORSE) + 2 * len(ARMS)
"""Series of streams that `evaluate` runs."""


def _each(streams: int, one: Callable[[int], T], passed: Callable[[], None]) -> Iterator[T]:
    for seed in range(streams):
        yield one(seed)
    passed()


def _share(found: Sequence[Run], actions: Sequence[str]) -> float:
    return sum(run.action in actions for run in found) / len(found)


def _needed(found: Sequence[Run], most: int) -> dict[str, Any]:
    """Outcomes until the decision: the median of all streams, None where most are undecided."""
    counts = [run.outcomes if run.action else most + 1 for run in found]
    median = statistics.median(counts)
    actions = sorted({run.action for run in found if run.action})
    decided = {action: _share(found, (action,)) for action in actions}
    return {"median": None if median > most else median, **decided}


def _regret(found: Sequence[Run]) -> dict[str, float]:
    """Losses beyond the best version's until the decision."""
    return {
        "mean": statistics.fmean(run.regret for run in found),
        "outcomes": statistics.median(run.outcomes for run in found),
        "decided": sum(bool(run.action) for run in found) / len(found),
    }


def _record(version: str, role: Role) -> ModelRecord:
    return ModelRecord(
        version=version,
        role=role,
        changed_at=0,
        reason="",
        event_id=version,
        bundle=version,
        sha256="",
        dataset_id="",
        rows=0,
        data_from=0,
        data_to=0,
        metrics={"brier": HELD_OUT},
        changed_by=BY_TRAINER,
    )
