"""Do weights pay? Labels that are missing by a choice, in made-up worlds whose truth is known.

Of each world's requests only some get a label, and who gets one is no accident. A version is
trained on these rows as they are, on the same rows as they stand for all requests, and on all rows,
which nobody has outside of such a world; then each is asked about new requests of all kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from streams.task import Binary, Number, Task
from streams.training.data import STANDS_FOR
from streams.training.fitting import answers
from streams.training.gate import score
from streams.training.metrics import loss, wrong
from streams.training.policy import Training, TruthsOf
from streams.training.train import train
from streams.training.weights import Told, stands_for
from streams.weak_labels import USER

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

REQUESTS, NEW = 8_000, 20_000
EXPLORED = 0.05
LABELLED = 0.05
"""Share of the inputs that chance draws for labelling, beside those that are chosen by value."""
NAMES = ("as they are", "weighted", "all labels")


MODELS = {
    "straight": LogisticRegression(),
    "trees": HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=6, min_samples_leaf=20),
}
"""One that cannot bend as the worlds' truth does, and one that can."""


def task_of(truths_of: TruthsOf, model: str) -> Task:
    """The worlds' task, with one of MODELS."""
    return Task(
        name="world",
        features=[Number("first"), Number("second")],
        target=Binary("yes"),
        candidates={model: MODELS[model]},
        fallback=False,
        exploration=EXPLORED,
        training=Training(truths_of=truths_of, gate_must_pay=False),
    )


def requests(n: int, chance: np.random.Generator) -> tuple[pd.DataFrame, Mask]:
    """n requests and their truths: what ``first`` says turns round where ``second`` is large."""
    first, second = chance.standard_normal((2, n))
    direction = np.where(second > 0.5, -1.0, 1.5)
    return pd.DataFrame({"first": first, "second": second}), chance.random(n) < expit(
        direction * first + 0.3
    )


def _by_gate(table: pd.DataFrame, chance: np.random.Generator) -> tuple[Mask, Told]:
    """The gate holds back where ``second`` is large; of these only the explored get a truth."""
    n = len(table)
    held_back = np.asarray(table["second"] > 0.5)
    explored = chance.random(n) < EXPLORED
    known = ~held_back | explored
    nothing = _told(n, held_back=held_back, explored=explored)
    nothing.model_propensity[:] = np.where(held_back, EXPLORED, 1.0)
    return known, nothing


def _by_exposure(table: pd.DataFrame, chance: np.random.Generator) -> tuple[Mask, Told]:
    """Users say what is true of what they were shown, and ``second`` decides what that is."""
    n = len(table)
    shown = np.clip(expit(-3 * (table["second"].to_numpy() - 0.2)), 0.03, 1.0)
    told = _told(n, source=USER)
    told.propensity[:] = shown
    return chance.random(n) < shown, told


def _by_queue(table: pd.DataFrame, chance: np.random.Generator) -> tuple[Mask, Told]:
    """People label what seems doubtful, a small ``first``, and a few that chance draws."""
    n = len(table)
    doubtful = np.asarray(table["first"].abs() < 0.3)
    told = _told(n, source="labeller")
    told.selection[:] = np.where(doubtful, 1.0, LABELLED)
    return doubtful | (chance.random(n) < LABELLED), told


Choosing = Callable[[pd.DataFrame, np.random.Generator], tuple[Mask, Told]]
WORLDS: Mapping[str, tuple[TruthsOf, Choosing]] = {
    "gate": ("answered", _by_gate),
    "exposure": ("all", _by_exposure),
    "queue": ("labelled", _by_queue),
}


def _told(
    n: int, source: str = "system", held_back: Mask | None = None, explored: Mask | None = None
) -> Told:
    nobody = np.zeros(n, bool)
    return Told(
        weak=nobody,
        source=np.full(n, source, object),
        propensity=np.full(n, np.nan),
        held_back=nobody if held_back is None else held_back,
        explored=nobody if explored is None else explored,
        model_propensity=np.full(n, np.nan),
        selection=np.full(n, np.nan),
    )


def compare(world: str, model: str, seed: int) -> dict[str, Any]:
    """One seed of a world, with one of MODELS: by what was learned from (NAMES)

    loss: log loss on new requests of all kinds; off_by: how far the version's own figure is from
    it; error_admitted, deferred: of its gate, the share of errors among the new requests that it
    admits, and the share that it holds back (its budget is a tenth).
    """
    truths_of, choose = WORLDS[world]
    task, chance = task_of(truths_of, model), np.random.default_rng(seed)
    table, truth = requests(REQUESTS, chance)
    known, told = choose(table, chance)
    table["yes"] = truth
    table["event_time"] = pd.date_range("2024-01-01", periods=REQUESTS, freq="min", tz="UTC")
    number = stands_for(task.training, told)
    seen = table[known]
    new, answer = requests(NEW, chance)
    rows = {
        "as they are": seen,
        "weighted": seen.assign(**{STANDS_FOR: number[known]}),
        "all labels": table,
    }
    return {
        "world": world,
        "model": model,
        "seed": seed,
        "rows": int(known.sum()),
        **{name: _worth(task, part, new, answer) for name, part in rows.items()},
    }


def _worth(task: Task, rows: pd.DataFrame, new: pd.DataFrame, truth: Mask) -> dict[str, float]:
    contents = train(task, rows.reset_index(drop=True), "evaluation").contents
    given = answers(task, contents.model, new)
    found = loss(task, truth, given)
    errors = wrong(task, truth, given, 0.0)
    deferred = np.zeros(len(new), bool)
    if contents.threshold is not None:
        deferred = (
            score(task, contents.gate, new, contents.gate_metrics.get("scale"))
            >= contents.threshold
        )
    return {
        "loss": found,
        "off_by": abs(contents.metrics["log_loss"] - found),
        "error_admitted": float(errors[~deferred].mean()),
        "deferred": float(deferred.mean()),
    }


def evaluate(seeds: int, worlds: Sequence[str] = tuple(WORLDS)) -> Iterator[dict[str, Any]]:
    """Every world with every model, ``seeds`` times."""
    for world, model, seed in product(worlds, MODELS, range(seeds)):
        yield compare(world, model, seed)


def summary(found: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By world, model and what was learned from the means over the seeds."""
    told: dict[str, dict[str, Any]] = {}
    for world, model in dict.fromkeys((str(one["world"]), str(one["model"])) for one in found):
        runs = [one for one in found if (one["world"], one["model"]) == (world, model)]
        told.setdefault(world, {})[model] = _means(runs)
    return told


def _means(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of what weights gain (as they are less weighted) also the standard error, and in how many
    seeds they do."""
    found: dict[str, Any] = {
        "seeds": len(runs),
        "rows": round(float(np.mean([run["rows"] for run in runs]))),
    }
    for name in NAMES:
        found[name] = {
            measure: round(float(np.mean([run[name][measure] for run in runs])), 4)
            for measure in runs[0][name]
        }
    for measure in ("loss", "off_by"):
        gains = np.array([run["as they are"][measure] - run["weighted"][measure] for run in runs])
        found[f"{measure}_gain"] = round(float(gains.mean()), 4)
        found[f"{measure}_gain_error"] = round(float(gains.std(ddof=1) / len(gains) ** 0.5), 4)
        found[f"{measure}_seeds_won"] = int((gains > 0).sum())
    return found
