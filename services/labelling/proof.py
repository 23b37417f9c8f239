"""Does the queue choose better than chance? A closed loop on the flights, repeated by seed.

A model starts with few labels. Round after round inputs arrive, people label some of them, and the
model is trained again on all labels so far; at the end it is asked about later flights. Who
chooses what is labelled is the only difference: the queue, as `streams.labelling` ranks it, or
chance.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import roc_auc_score

from streams.frame import columns_of
from streams.labelling.policy import Labelling
from streams.labelling.ranking import codes, draws, rank
from streams.labelling.value import disagreement, novelty, uncertainty, value
from streams.task import Task
from streams.training.data import Dataset, prepare
from streams.training.fitting import answers, fit
from streams.training.gate import out_of_fold, score, train_gate
from streams.training.metrics import wrong
from streams.training.profile import profile

Rows = npt.NDArray[np.int64]

CANDIDATE = "logistic"
ONLOOKER = "trees"
"""The version in service, and one that looks on (a shadow); both learn from the same labels."""
NARROWED = 2_000
"""Inputs of a round that are ranked: the most uncertain and strangest, as ClickHouse finds them."""


@dataclass(frozen=True)
class Plan:
    """One comparison.

    start: labels before the first round, drawn by chance. rounds: of people's work. arrive, each:
    inputs that arrive in a round, and those of them that are labelled.
    """

    start: int = 1_000
    rounds: int = 5
    arrive: int = 4_000
    each: int = 200
    policy: Labelling = field(default_factory=Labelling)


@dataclass(frozen=True, eq=False)
class Stream:
    """Rows by time: ``data[:begin]`` are before the first round, ``data[begin:end]`` the rounds',
    ``data[end:]`` what the models are asked about."""

    data: Dataset
    table: pd.DataFrame
    begin: int
    end: int


def flights() -> tuple[Task, Stream]:
    """January and February before, March to June in rounds, July and August to be asked about."""
    from services.demo.flight_delay import FlightDelay
    from services.demo.flights import load_flights

    table = load_flights()
    at = {month: pd.Timestamp(datetime(2013, month, 1, tzinfo=UTC)) for month in (3, 7, 9)}
    table = table[table["event_time"] < at[9]].reset_index(drop=True)
    data = prepare(FlightDelay, table)
    times = table["event_time"]
    return FlightDelay, Stream(data, table, int((times < at[3]).sum()), int((times < at[7]).sum()))


def compare(task: Task, stream: Stream, plan: Plan, seed: int) -> dict[str, Any]:
    """One seed's ROC AUC on the later rows: at the start, by chance, and by the queue.

    ``chance_twice``: by chance with twice as many labels in each round.
    """
    began = time.process_time()
    generator = np.random.default_rng(seed)
    start = np.sort(generator.choice(stream.begin, plan.start, replace=False))
    edges = np.linspace(stream.begin, stream.end, plan.rounds + 1).astype(int)
    arrived = [
        generator.choice(np.arange(low, high), plan.arrive, replace=False)
        for low, high in pairwise(edges)
    ]
    chance = np.concatenate([start, *(rows[: plan.each] for rows in arrived)])
    twice = np.concatenate([start, *(rows[: 2 * plan.each] for rows in arrived)])
    labelled = start
    for rows in arrived:
        new = choose(task, stream, labelled, np.sort(rows), plan, seed)
        labelled = np.concatenate([labelled, new])
    return {
        "seed": seed,
        "labels_at_start": len(start),
        "labels": len(labelled),
        "labels_twice": len(twice),
        "start": auc(task, stream, start),
        "chance": auc(task, stream, chance),
        "chance_twice": auc(task, stream, twice),
        "queue": auc(task, stream, labelled),
        "cpu_s": round(time.process_time() - began, 1),
    }


def choose(
    task: Task, stream: Stream, labelled: Rows, arrived: Rows, plan: Plan, seed: int
) -> Rows:
    """The inputs of a round that the queue hands out, after a training on what is labelled."""
    data = stream.data
    known, truth = _rows(data, labelled)
    model = fit(task, task.candidates[CANDIDATE], known, truth)
    held_out = out_of_fold(task, task.candidates[CANDIDATE], known, truth)
    frame, _ = _rows(data, arrived)
    given = answers(task, model, frame)
    assert given.probability is not None
    probability, scores = given.probability.copy(), np.full(len(arrived), np.nan)
    gate = train_gate(task, known, wrong(task, truth, held_out, 0.0), known)
    if gate.threshold is not None:
        scores = score(task, gate.estimator, frame)
        probability[scores >= gate.threshold] = np.nan  # held back: the model is not asked
    onlooker = answers(task, fit(task, task.candidates[ONLOOKER], known, truth), frame).probability
    assert onlooker is not None
    said = np.stack([probability, onlooker], axis=1)
    columns = columns_of(task.features, stream.table.iloc[arrived], prefix="")
    names = [feature.name for feature in task.features]
    seen = Dataset("", known, truth, data.times_ms[labelled], data.vocabularies)
    policy = replace(plan.policy, budget=plan.each)
    worth = value(
        policy,
        uncertainty(task.kind, len(task.classes), probability, scores),
        disagreement(np.stack([1 - said, said], axis=2)),
        novelty(columns, names, profile(task, seen, held_out)),
    )
    draw = draws(seed, map(str, arrived.tolist()))
    best = np.argsort(-worth, kind="stable")[:NARROWED]
    lucky = np.argsort(draw, kind="stable")[:NARROWED]
    near = np.union1d(best, lucky)
    kinds = codes({name: column.take(near) for name, column in columns.items()}, names)
    picks = rank(policy, worth[near], draw[near], kinds, len(arrived))
    return arrived[near[[pick.row for pick in picks]]]


def auc(task: Task, stream: Stream, labelled: Rows) -> float:
    """Of a model trained on these labels, on the rows after the rounds."""
    model = fit(task, task.candidates[CANDIDATE], *_rows(stream.data, labelled))
    later = slice(stream.end, len(stream.data))
    frame, truth = stream.data.rows(later)
    given = answers(task, model, frame)
    return float(roc_auc_score(truth, given.probability))


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds, and the queue's lead over chance with its standard error."""
    names = ("start", "chance", "chance_twice", "queue")
    means = {name: round(float(np.mean([one[name] for one in found])), 4) for name in names}
    leads = np.array([one["queue"] - one["chance"] for one in found])
    error = float(leads.std(ddof=1) / np.sqrt(len(leads))) if len(leads) > 1 else float("nan")
    return {
        **means,
        "seeds": len(found),
        **{name: found[0][name] for name in ("labels_at_start", "labels", "labels_twice")},
        "lead": round(float(leads.mean()), 4),
        "lead_error": None if np.isnan(error) else round(error, 4),
        "seeds_won": int((leads > 0).sum()),
        "cpu_s": round(sum(one["cpu_s"] for one in found), 1),
    }


def evaluate(seeds: int, plan: Plan | None = None) -> Iterator[dict[str, Any]]:
    """A comparison a seed on the flights."""
    task, stream = flights()
    for seed in range(seeds):
        yield compare(task, stream, plan or Plan(), seed)


def _rows(data: Dataset, rows: Rows) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
    return data.frame.iloc[rows].reset_index(drop=True), data.target[rows]
