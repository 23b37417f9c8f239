"""Weir's family of detectors on a stream, by the functions that its stages call."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.dummy import DummyClassifier

from schemas.columns import Column, Columns, constant
from services.evaluate.drift.judge import Seen
from services.evaluate.drift.streams import Made
from streams.drift.concept import Concept
from streams.drift.counts import Counts, count_outcomes, count_predictions
from streams.drift.family import Family
from streams.drift.finding import Finding
from streams.drift.policy import Drift
from streams.drift.reference import Reference
from streams.task import Binary, Category, Number, Task
from streams.training.profile import answers_of, category, numbers
from streams.training.usual import errors_by_score, joint_of

VERSION = "evaluated"
BATCH = 50
"""Records of a micro-batch."""
LABELS = 10
"""Labels of one, of streams that are of labels alone: they come by few."""
TIMED = 20_000
"""Labels of a draw by whose time all of them are timed."""
SECOND_MS = 1_000


def watch(made: Made, policy: Drift, size: int = BATCH) -> tuple[Seen, dict[str, Seen]]:
    """The whole policy, and each kind of finding by itself (of the same run, at the same cost).

    size: records of a micro-batch.
    """
    reference = reference_of(made)
    family = Family(reference.task, reference, policy)
    found: list[tuple[int, Finding]] = []
    spent = 0.0
    for start in range(made.reference, len(made), size):
        rows = slice(start, min(start + size, len(made)))
        predictions, outcomes = columns_of(made, rows)
        began = time.process_time()
        all_rows = np.arange(rows.stop - rows.start)
        batch: list[Counts] = []
        if made.numbers or made.names:
            batch.append(count_predictions(reference.task, reference, predictions, all_rows))
        if made.wrong is not None:
            batch.append(count_outcomes(reference.task, reference, outcomes, all_rows))
        for counts in batch:
            found += [(rows.stop - 1, one) for one in family.update(counts)]
        spent += time.process_time() - began
    n = len(made) - made.reference

    def seen(alarms: list[int]) -> Seen:
        return Seen(n, made.reference, made.changes, tuple(sorted(set(alarms))), spent)

    kinds: list[str] = sorted({one.kind for _, one in found})
    by_kind = {kind: seen([at for at, one in found if one.kind == kind]) for kind in kinds}
    return seen([at for at, _ in found]), by_kind


def watch_together(draws: Sequence[Made], policy: Drift) -> list[Seen]:
    """`watch` of many draws that are of labels alone and of one length, side by side.

    Of labels alone a family is one `Concept`, and that of many rows is many of them. The CPU time
    is that of the first draw, by itself.
    """
    first, n = draws[0], draws[0].reference
    wrong = np.stack([made.wrong for made in draws if made.wrong is not None])
    errors = wrong[:, :n].sum(axis=1).astype(np.float64)
    base = np.stack([np.full(len(draws), float(n)), errors, errors], axis=1)
    concept = Concept(np.full(len(draws), float(policy.false_alarm_every)), base)
    usual = (errors + 0.5) / (n + 1)
    alarms: list[list[int]] = [[] for _ in draws]
    for start in range(n, len(first), LABELS):
        hits = wrong[:, start : start + LABELS]
        size = np.full((1, len(draws)), float(hits.shape[1]))
        for alarm in concept.update(size, hits.sum(axis=1)[None].astype(np.float64), size * usual):
            alarms[alarm.row].append(start + hits.shape[1] - 1)
    cut = replace(first, changes=(), wrong=wrong[0, : n + TIMED])
    alone, _ = watch(cut, policy, LABELS)
    spent = alone.cpu_s / alone.records * (len(first) - n)
    return [
        Seen(len(made) - n, n, made.changes, tuple(found), spent)
        for made, found in zip(draws, alarms, strict=True)
    ]


def task_of(made: Made) -> Task:
    """A task with the stream's inputs."""
    features = [
        *(Number(name, nullable=True) for name in made.numbers),
        *(Category(name, nullable=True) for name in made.names),
    ]
    return Task(
        name="evaluated",
        features=features or [Number("none")],
        target=Binary("outcome"),
        candidates={"any": DummyClassifier()},
        fallback=False,
    )


def reference_of(made: Made, segments: Sequence[str] = ()) -> Reference:
    """The reference that the stream's first records make, as training makes it of its rows.

    segments: names by whose values errors are looked at, too.
    """
    task, n = replace(task_of(made), segments=segments), made.reference
    profile: dict[str, Any] = {
        "rows": n,
        "features": {
            **{name: numbers(values[:n]) for name, values in made.numbers.items()},
            **{
                name: category(pd.Series(pd.Categorical(values[:n])))
                for name, values in made.names.items()
            },
        },
    }
    more: dict[str, Any] = {}
    if made.truth is not None and made.answer is not None:
        profile["target"] = answers_of(made.truth[:n])
        profile["answers"] = answers_of(made.answer[:n])
    if made.probability is not None:
        profile["probability"] = numbers(made.probability[:n])
    if made.wrong is not None:
        wrong = made.wrong[:n]
        scores = None if made.probability is None else made.probability[:n]
        edges, by_score, expected = errors_by_score(scores, wrong)
        more["errors"] = {
            "size": n,
            "errors": int(wrong.sum()),
            "expected": float(expected.sum()),
            "score_edges": edges.tolist(),
            "by_score": by_score.tolist(),
            "segments": {
                f"{name}={value}": [
                    int(of_it.sum()),
                    int(wrong[of_it].sum()),
                    expected[of_it].sum(),
                ]
                for name in segments
                for value in sorted({one for one in made.names[name][:n] if one is not None})
                for of_it in [made.names[name][:n] == value]
            },
        }
    more["joint"] = joint_of(task, _table(made, n))
    return Reference(task, VERSION, {**profile, "drift": more})


def _table(made: Made, n: int) -> Mapping[str, npt.NDArray[Any]]:
    return {name: values[:n] for name, values in {**made.numbers, **made.names}.items()}


def columns_of(made: Made, rows: slice) -> tuple[Columns, Columns]:
    """Predictions and outcomes as a worker decodes them, a record a second."""
    n = rows.stop - rows.start
    columns: Columns = {
        "event_time": Column(SECOND_MS * np.arange(rows.start, rows.stop, dtype=np.int64)),
        "version": constant(VERSION, n),
        "status": constant("answered", n),
        "gate_decision": constant("none", n),
        "gate_score": constant(None, n),
        "label": constant("true", n),
        "source": constant("system", n),
        "previous_truth": constant(None, n),
        "features.none": constant(0.0, n),
    }
    for name, values in made.numbers.items():
        part = values[rows]
        missing = np.isnan(part)
        columns[f"features.{name}"] = Column(part, ~missing if missing.any() else None)
    for name, values in made.names.items():
        part = values[rows]
        there = np.array([value is not None for value in part], bool)
        columns[f"features.{name}"] = Column(part, None if there.all() else there)
    if made.answer is not None and made.truth is not None:
        columns["answer"] = Column(made.answer[rows])
        columns["truth"] = Column(made.truth[rows])
    elif made.wrong is not None:
        columns["answer"] = Column(made.wrong[rows])
        columns["truth"] = constant(False, n)
    else:
        columns["answer"] = constant(False, n)
    if made.probability is not None:
        columns["probability"] = Column(made.probability[rows])
    else:
        columns["probability"] = Column(np.full(n, np.nan), np.zeros(n, bool))
    return columns, columns
