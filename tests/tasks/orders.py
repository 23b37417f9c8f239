"""A task whose triggers ask for a new version when answers are wrong: for tests of the triggers."""

from datetime import timedelta

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from streams.task import Binary, Budget, Checks, MetricBelow, Number, Task, Trigger, Window

HOUR = timedelta(hours=1)


def history() -> pd.DataFrame:
    """Large orders come back."""
    size = np.linspace(-1, 1, 400)[np.random.default_rng(0).permutation(400)]
    times = pd.date_range("2024-03-01", periods=400, freq="1min", tz="UTC")
    return pd.DataFrame({"event_time": times, "size": size, "returned": size > 0})


Orders = Task(
    name="orders",
    features=[Number("size")],
    target=Binary("returned"),
    candidates={"logistic": LogisticRegression()},
    fallback=False,
    defer_budget=0.0,
    horizon=timedelta(days=1),
    windows=[Window(HOUR)],
    history=history,
    partitions=2,
    triggers=[
        Trigger(
            name="worse",
            when=MetricBelow("accuracy", 0.7, windows=2, least=20),
            cooldown=timedelta(days=2),
            budget=Budget(3, timedelta(days=30)),
            checks=Checks(labels=50, of_class=10),
        )
    ],
)
