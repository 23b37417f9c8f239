"""The flights as a stream whose labels come late, and how good answers to it were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score

from schemas.columns import Columns
from services.demo.flights import NEW_YORK, load_flights
from services.demo.monthly import MODEL, MONTHS
from services.demo.timeline import millis
from streams.frame import PREFIX, columns_of
from streams.task import Task
from streams.training.data import Dataset, prepare
from streams.training.fitting import bare_version, fit, one_thread
from streams.version import Version
from streams.windowed.history import with_windowed

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

CANDIDATE = "trees"


@dataclass(frozen=True, eq=False)
class World:
    """The flights in order of event time.

    task: with the one estimator that all are compared with, no gate and no behavioural tests.
    table: features, windowed features, target. asked, known: (n,) when a flight is asked about and
    when its truth is known, ms. truth, month: (n,) late or not; 3 is March, by New York's
    calendar. columns: the inputs.
    """

    task: Task
    table: pd.DataFrame
    asked: Ints
    known: Ints
    truth: Mask
    month: Ints
    columns: Columns

    def __len__(self) -> int:
        return len(self.asked)

    @property
    def months(self) -> list[int]:
        """Those that are replayed."""
        return [month for month in MONTHS if (self.month == month).any()]

    @property
    def begins(self) -> int:
        """When the replay begins: in March, in milliseconds."""
        return starts(self.months[0])

    @property
    def ends(self) -> int:
        """The last request's time, and a millisecond."""
        return int(self.asked[-1]) + 1

    def rows(self, mask: Mask | Ints | slice) -> Columns:
        """The inputs of some rows."""
        return {path: column.take(mask) for path, column in self.columns.items()}


def world(
    task: Task,
    windowed: bool = True,
    upto: int = 12,
    every: int = 1,
    settings: dict[str, Any] | None = None,
) -> World:
    """All flights, asked of one estimator: that of `services.demo.monthly`.

    windowed: with the task's windowed features. upto: the last month. every: only each so
    many-th flight, counted by time (for tests). settings: of the estimator, other than MODEL's.
    """
    estimator = HistGradientBoostingClassifier(**MODEL | (settings or {}))
    task = replace(
        task,
        candidates={CANDIDATE: estimator},
        windowed=task.windowed if windowed else (),
        defer_budget=0.0,
        training=replace(task.training, behaviour=()),
    )
    # The features are of all flights, whatever is asked about: each from what was known before.
    table = with_windowed(task, load_flights())
    month = table["event_time"].dt.tz_convert(NEW_YORK).dt.month
    table = table[(month <= upto).to_numpy()].iloc[::every].reset_index(drop=True)
    return World(
        task,
        table,
        millis(table["event_time"]),
        millis(table["known_at"]),
        table[task.target.name].to_numpy(bool),
        table["event_time"].dt.tz_convert(NEW_YORK).dt.month.to_numpy(np.int64),
        columns_of(task.inputs, table, prefix=PREFIX),
    )


def starts(month: int) -> int:
    """When a month of 2013 begins in New York, milliseconds since 1970 UTC."""
    return int(pd.Timestamp(2013, month, 1, tz=NEW_YORK).timestamp() * 1000)


def learned(world: World, at: int, since: int | None = None) -> pd.DataFrame:
    """The rows that a training at a time may see: those whose truth is known by then.

    since: asked from then on; None: all.
    """
    rows = (world.known < at) & (world.asked < at)
    return world.table[rows if since is None else rows & (world.asked >= since)]


def fitted(world: World, rows: pd.DataFrame) -> Version:
    """The estimator fitted on rows, as training fits what it puts into a bundle."""
    data: Dataset = prepare(world.task, rows)
    model = fit(world.task, world.task.candidates[CANDIDATE], data.frame, data.target)
    version = bare_version(world.task, model)
    version.vocabularies = data.vocabularies
    return version


def scheduled(
    world: World, moments: Sequence[int], back: Sequence[int | None] | None = None
) -> Floats:
    """P(late) of each flight by the newest of models fitted at the moments (ms).

    back: for each moment, since when rows are learned from. Flights before the first moment have
    NaN.
    """
    found = np.full(len(world), np.nan)
    for i, at in enumerate(moments):
        until = moments[i + 1] if i + 1 < len(moments) else world.ends
        here = (world.asked >= at) & (world.asked < until)
        version = fitted(world, learned(world, at, back[i] if back else None))
        found[here] = predicted(version, world.rows(here))
    return found


def predicted(version: Version, columns: Columns) -> Floats:
    """P(true) of each row."""
    with one_thread():
        probability = version.predict(version.frame(columns)).probability
    assert probability is not None
    return probability


@dataclass(frozen=True)
class Score:
    """How good a strategy's answers were.

    auc, log_loss: by month, and (mean) the means of the months. retrainings: after the first
    model.
    """

    months: tuple[int, ...]
    auc: tuple[float, ...]
    log_loss: tuple[float, ...]
    retrainings: int

    @property
    def mean_auc(self) -> float:
        """Of the months."""
        return float(np.mean(self.auc))

    @property
    def mean_log_loss(self) -> float:
        """Of the months."""
        return float(np.mean(self.log_loss))

    def plain(self) -> dict[str, float]:
        """As the last line of the command has it."""
        return {
            "auc": round(self.mean_auc, 4),
            "log_loss": round(self.mean_log_loss, 4),
            "retrainings": self.retrainings,
        }


def score(world: World, probability: Floats, retrainings: int) -> Score:
    """The answers of a strategy, month by month."""
    auc, losses = [], []
    for month in world.months:
        here = world.month == month
        auc.append(float(roc_auc_score(world.truth[here], probability[here])))
        losses.append(float(log_loss(world.truth[here], probability[here])))
    return Score(tuple(world.months), tuple(auc), tuple(losses), retrainings)
