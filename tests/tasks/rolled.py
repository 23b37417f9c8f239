"""A task whose versions become champion by way of a canary: for tests of the rollout."""

from datetime import timedelta

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from streams.task import Binary, Number, Rollout, Task, Window


def history() -> pd.DataFrame:
    """Large parcels come late, nine times in ten."""
    draw = np.random.default_rng(0)
    size = np.linspace(-1, 1, 400)[draw.permutation(400)]
    late = (size > 0) ^ (draw.random(400) < 0.1)
    times = pd.date_range("2024-03-01", periods=400, freq="1min", tz="UTC")
    return pd.DataFrame({"event_time": times, "size": size, "late": late})


Rolled = Task(
    name="rolled",
    features=[Number("size")],
    target=Binary("late"),
    candidates={"logistic": LogisticRegression(C=100)},
    fallback=False,
    defer_budget=0.0,
    horizon=timedelta(days=1),
    windows=[Window(timedelta(hours=1))],
    history=history,
    partitions=2,
    triggers=[],
    rollout=Rollout(strategy="canary", shares=(0.25,), min_outcomes=100, watch=timedelta(days=365)),
)
