"""Does the queue choose better than chance? A closed loop on the flights, repeated by seed.

A model starts with few labels. Round after round inputs arrive, people label some of them, and the
model is trained again on all labels so far; at the end it is asked about later flights. Who
chooses what is labelled is the only difference: the queue, as `streams.labelling` ranks it, or
chance.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
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
from streams.windowed.history import with_windowed

Rows = npt.NDArray[np.int64]

CANDIDATE = "logistic"
ONLOOKER = "trees"
"""The version in service, and one that looks on (a shadow); both learn from the same labels."""
DRAWS = 3
FIRST_SEED = 100
"""The seeds below were used to settle the weights of `Labelling`: they prove nothing."""
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

    table = with_windowed(FlightDelay, load_flights())
    at = {month: pd.Timestamp(datetime(2013, month, 1, tzinfo=UTC)) for month in (3, 7, 9)}
    table = table[table["event_time"] < at[9]].reset_index(drop=True)
    data = prepare(FlightDelay, table)
    times = table["event_time"]
    return FlightDelay, Stream(data, table, int((times < at[3]).sum()), int((times < at[7]).sum()))


def compare(task: Task, stream: Stream, plan: Plan, seed: int) -> dict[str, Any]:
    """One seed's ROC AUC on the later rows, by who chose the labels.

    start: before the first round. chance: the mean of DRAWS draws; chance_twice: with twice as
    many labels in each round. queue: the queue with a version that looks on; queue_alone: without.
    """
    began = time.process_time()
    generator = np.random.default_rng(seed)
    start = np.sort(generator.choice(stream.begin, plan.start, replace=False))
    edges = np.linspace(stream.begin, stream.end, plan.rounds + 1).astype(int)
    arrived = [
        generator.choice(np.arange(low, high), plan.arrive, replace=False)
        for low, high in pairwise(edges)
    ]

    def by_chance(first: int, last: int) -> float:
        drawn = [rows[first * plan.each : last * plan.each] for rows in arrived]
        return auc(task, stream, np.concatenate([start, *drawn]))

    def by_queue(onlooker: bool) -> float:
        labelled = start
        for rows in arrived:
            new = choose(task, stream, labelled, np.sort(rows), plan, seed, onlooker)
            labelled = np.concatenate([labelled, new])
        return auc(task, stream, labelled)

    return {
        "seed": seed,
        "start": auc(task, stream, start),
        "chance": float(np.mean([by_chance(i, i + 1) for i in range(DRAWS)])),
        "chance_twice": by_chance(0, 2),
        "queue_alone": by_queue(onlooker=False),
        "queue": by_queue(onlooker=True),
        "cpu_s": round(time.process_time() - began, 1),
    }


def choose(
    task: Task,
    stream: Stream,
    labelled: Rows,
    arrived: Rows,
    plan: Plan,
    seed: int,
    onlooker: bool = True,
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
    apart = np.zeros(len(arrived))
    if onlooker:
        shadow = fit(task, task.candidates[ONLOOKER], known, truth)
        looked = answers(task, shadow, frame).probability
        assert looked is not None
        said = np.stack([probability, looked], axis=1)
        apart = disagreement(np.stack([1 - said, said], axis=2))
    columns = columns_of(task.inputs, stream.table.iloc[arrived], prefix="")
    names = [feature.name for feature in task.inputs]
    seen = Dataset("", known, truth, data.times_ms[labelled], data.vocabularies)
    policy = replace(plan.policy, budget=plan.each)
    worth = value(
        policy,
        uncertainty(task.kind, len(task.classes), probability, scores),
        apart,
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


def summary(found: Sequence[Mapping[str, Any]], plan: Plan) -> dict[str, Any]:
    """Means over the seeds, and the queue's lead over chance with its standard error."""
    told: dict[str, Any] = {
        name: round(float(np.mean([one[name] for one in found])), 4)
        for name in ("start", "chance", "chance_twice", "queue_alone", "queue")
    }
    for name in ("queue", "queue_alone"):
        leads = np.array([one[name] - one["chance"] for one in found])
        told[f"{name}_lead"] = round(float(leads.mean()), 4)
        told[f"{name}_lead_error"] = round(float(leads.std(ddof=1) / np.sqrt(len(leads))), 4)
        told[f"{name}_seeds_won"] = int((leads > 0).sum())
    return told | {
        "seeds": len(found),
        "labels_at_start": plan.start,
        "labels": plan.start + plan.rounds * plan.each,
        "cpu_s": round(sum(one["cpu_s"] for one in found), 1),
    }


def evaluate(seeds: int, plan: Plan) -> Iterator[dict[str, Any]]:
    """A comparison a seed on the flights."""
    task, stream = flights()
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        yield compare(task, stream, plan, seed)


def _rows(data: Dataset, rows: Rows) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
    return data.frame.iloc[rows].reset_index(drop=True), data.target[rows]
