"""What windowed features are worth on the flights: monthly retraining, with them and without.

For each month from March to December a model is trained on all flights whose truth was known when
it began, and judged on the flights of the month. The model is the same for both: boosted trees as
the demo's, but more and smaller steps, and no early stopping, whose draw of rows would be noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score

from services.demo.flights import NEW_YORK
from streams.task import Task
from streams.windowed.history import with_windowed

MONTHS = range(3, 13)
MODEL: dict[str, Any] = {
    "categorical_features": "from_dtype",
    "max_leaf_nodes": 15,
    "min_samples_leaf": 200,
    "learning_rate": 0.05,
    "max_iter": 300,
    "early_stopping": False,
}


@dataclass(frozen=True)
class Month:
    """How good a month's model was. ``month``: 3 is March. ``train``, ``test``: rows."""

    month: int
    train: int
    test: int
    auc: float
    log_loss: float


def monthly(
    task: Task,
    flights: pd.DataFrame,
    inputs: Sequence[str],
    passed: Callable[[Month], object] = lambda _: None,
) -> list[Month]:
    """The months in order. flights: as `services.demo.flights.load_flights`, with the inputs."""
    month = flights["event_time"].dt.tz_convert(NEW_YORK).dt.month.to_numpy()
    late = flights[task.target.name].to_numpy(bool)
    frame = flights[list(inputs)]
    found = []
    for number in MONTHS:
        begins = pd.Timestamp(2013, number, 1, tz=NEW_YORK)
        train = (flights["known_at"] < begins).to_numpy()
        test = month == number
        model = HistGradientBoostingClassifier(**MODEL).fit(frame[train], late[train])
        p = model.predict_proba(frame[test])[:, 1]
        found.append(
            Month(
                number,
                int(train.sum()),
                int(test.sum()),
                float(roc_auc_score(late[test], p)),
                float(log_loss(late[test], p)),
            )
        )
        passed(found[-1])
    return found


def compared(
    task: Task, flights: pd.DataFrame, passed: Callable[[str, Month], object]
) -> dict[str, dict[str, float]]:
    """Mean AUC and log loss over the months: ``without`` and ``with`` the windowed features."""
    features = [feature.name for feature in task.features]
    inputs = [feature.name for feature in task.inputs]
    whole = with_windowed(task, flights)
    found = {}
    for name, columns in (("without", features), ("with", inputs)):
        months = monthly(task, whole, columns, partial(passed, name))
        found[name] = {
            "features": len(columns),
            "auc": round(float(np.mean([month.auc for month in months])), 4),
            "log_loss": round(float(np.mean([month.log_loss for month in months])), 4),
        }
    return found
