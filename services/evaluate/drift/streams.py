"""Streams whose changes are known: errors of a model, and tables of its inputs.

Each begins with the reference: every detector gets it first, as its training data or as a stream
like any other, as it is made to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

REFERENCE = 10_000
"""Records of it."""
BEFORE = 10_000
"""Records after the reference in which nothing changes."""
FEATURES = 50


@dataclass(frozen=True, eq=False)
class Made:
    """One stream, drawn.

    reference: records of it, from the first on. changes: positions at which something becomes
    another than before for some time. numbers, names: columns of inputs. wrong: which answers are
    errors. answer, probability, truth: where there is a model.
    """

    reference: int
    changes: tuple[int, ...]
    numbers: Mapping[str, Floats] = field(default_factory=dict)
    names: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    wrong: Bools | None = None
    answer: Bools | None = None
    probability: Floats | None = None
    truth: Bools | None = None

    def __len__(self) -> int:
        columns = [*self.numbers.values(), *self.names.values()]
        return len(self.wrong) if self.wrong is not None else len(columns[0])


@dataclass(frozen=True)
class Stream:
    """What can be drawn by seed. kind: ``errors`` or ``table``. drift: of what, and how."""

    name: str
    kind: str
    drift: str
    make: Callable[[int], Made]


def _errors(change: Callable[[npt.NDArray[np.int64]], Floats], after: int, *at: int) -> Any:
    """Errors at the rate that ``change`` gives for the records after the first change."""

    def make(seed: int) -> Made:
        draw = np.random.default_rng(seed)
        start = REFERENCE + BEFORE
        p = np.full(start + after, 0.1)
        p[start:] = change(np.arange(after))
        changes = tuple(start + one for one in (at or (0,)))
        return Made(REFERENCE, changes, wrong=draw.random(len(p)) < p)

    return make


def _abrupt(rate: float) -> Callable[[npt.NDArray[np.int64]], Floats]:
    return lambda at: np.full(len(at), rate)


def _gradual(at: npt.NDArray[np.int64]) -> Floats:
    """Both concepts by turns, the new one ever more often, for 2,000 records."""
    draw = np.random.default_rng(7)
    return np.where(draw.random(len(at)) < at / 2_000, 0.2, 0.1)


def _incremental(at: npt.NDArray[np.int64]) -> Floats:
    """Rising evenly for 5,000 records."""
    return 0.1 + 0.1 * np.minimum(at / 5_000, 1.0)


RECURS = 5_000


def _recurring(at: npt.NDArray[np.int64]) -> Floats:
    """There and gone by turns, each for RECURS records."""
    return np.where(at // RECURS % 2 == 0, 0.2, 0.1)


def _generated(variant: str) -> Callable[[int], Made]:
    """Errors of a tree that learned river's SEA or Agrawal, whose concept then changes."""

    def make(seed: int) -> Made:
        from river.datasets import synth
        from sklearn.tree import DecisionTreeClassifier

        learned, after = 5_000, 10_000

        def rows(concept: int, n: int, seed: int) -> tuple[Floats, Bools]:
            made = (
                synth.SEA(variant=concept, noise=0.1, seed=seed)
                if variant == "sea"
                else synth.Agrawal(classification_function=concept, perturbation=0.05, seed=seed)
            )
            pairs = list(made.take(n))
            return np.array([list(x.values()) for x, _ in pairs]), np.array([y for _, y in pairs])

        first, second = (0, 3) if variant == "sea" else (0, 1)
        x, y = rows(first, learned + REFERENCE + BEFORE, seed)
        x2, y2 = rows(second, after, seed + 1_000_000)
        model = DecisionTreeClassifier(max_depth=8, min_samples_leaf=20, random_state=0)
        model.fit(x[:learned], y[:learned])
        x, y = np.concatenate([x[learned:], x2]), np.concatenate([y[learned:], y2])
        answer = model.predict(x).astype(bool)
        columns = {f"x{i}": x[:, i] for i in range(x.shape[1])}
        return Made(
            REFERENCE,
            (REFERENCE + BEFORE,),
            columns,
            wrong=answer != y.astype(bool),
            answer=answer,
            probability=model.predict_proba(x)[:, 1],
            truth=y.astype(bool),
        )

    return make


def _normal(shift: Callable[[npt.NDArray[np.int64]], Floats], after: int, *at: int) -> Any:
    """FEATURES independent normal numbers; the mean of the first is moved by ``shift``."""

    def make(seed: int) -> Made:
        draw = np.random.default_rng(seed)
        start = REFERENCE + BEFORE
        x = draw.normal(size=(FEATURES, start + after))
        x[0, start:] += shift(np.arange(after))
        changes = tuple(start + one for one in (at or (0,)))
        return Made(REFERENCE, changes, {f"x{i:02}": x[i] for i in range(FEATURES)})

    return make


def _joint(seed: int) -> Made:
    """Two of the numbers go together (correlation 0.9), and then no more; each alone stays."""
    draw = np.random.default_rng(seed)
    start, after = REFERENCE + BEFORE, 10_000
    x = draw.normal(size=(FEATURES, start + after))
    x[1, :start] = 0.9 * x[0, :start] + np.sqrt(1 - 0.81) * x[1, :start]
    return Made(REFERENCE, (start,), {f"x{i:02}": x[i] for i in range(FEATURES)})


def _mixed(at: npt.NDArray[np.int64]) -> Floats:
    draw = np.random.default_rng(7)
    return np.where(draw.random(len(at)) < at / 5_000, 1.0, 0.0)


ERRORS = (
    Stream("errors_10_to_20", "errors", "concept, abrupt", _errors(_abrupt(0.2), 10_000)),
    Stream("errors_10_to_15", "errors", "concept, abrupt", _errors(_abrupt(0.15), 20_000)),
    Stream("errors_10_to_12", "errors", "concept, abrupt", _errors(_abrupt(0.12), 50_000)),
    Stream("errors_gradual", "errors", "concept, gradual", _errors(_gradual, 10_000)),
    Stream("errors_incremental", "errors", "concept, incremental", _errors(_incremental, 15_000)),
    Stream(
        "errors_recurring",
        "errors",
        "concept, recurring",
        _errors(_recurring, 6 * RECURS, 0, 2 * RECURS, 4 * RECURS),
    ),
)
GENERATED = (
    Stream("sea", "table", "concept, abrupt", _generated("sea")),
    Stream("agrawal", "table", "concept, abrupt", _generated("agrawal")),
)
NORMAL = (
    Stream("normal_abrupt", "table", "data, abrupt", _normal(_abrupt(0.5), 10_000)),
    Stream(
        "normal_incremental",
        "table",
        "data, incremental",
        _normal(lambda at: np.minimum(at / 10_000, 1.0), 15_000),
    ),
    Stream("normal_gradual", "table", "data, gradual", _normal(_mixed, 10_000)),
    Stream(
        "normal_recurring",
        "table",
        "data, recurring",
        _normal(lambda at: 1.0 * (at // RECURS % 2 == 0), 6 * RECURS, 0, 2 * RECURS, 4 * RECURS),
    ),
    Stream("normal_joint", "table", "data, jointly", _joint),
)


def stationary_errors(seed: int, n: int) -> Made:
    """No change: one answer in ten is wrong."""
    return Made(REFERENCE, (), wrong=np.random.default_rng(seed).random(n) < 0.1)


def stationary_normal(seed: int, n: int) -> Made:
    """No change of FEATURES normal numbers."""
    draw = np.random.default_rng(seed)
    return Made(REFERENCE, (), {f"x{i:02}": draw.normal(size=n) for i in range(FEATURES)})
