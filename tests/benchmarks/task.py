"""The benchmark's task: 20 doubles, scaler and logistic regression, and a gate that has work.

How sure a label is depends on the input, so that training finds a gate; it defers 5 %.
"""

import os
from datetime import timedelta

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from streams import Binary, Number, Task, Training, Window
from streams.drift.policy import LOOKED_AT, Drift

NAMES = [f"x{i}" for i in range(20)]
ROWS = 4000


def inputs(n: int, seed: int) -> np.ndarray:
    """Rows of features, (n, 20) float64."""
    return np.random.default_rng(seed).normal(size=(n, len(NAMES)))


def history() -> pd.DataFrame:
    """Labelled rows, one a minute."""
    x = inputs(ROWS, seed=1)
    rng = np.random.default_rng(2)
    certain = np.where(x[:, 0] > 1.0, 0.2, 4.0)  # where x0 is large nobody can tell
    odds = x @ np.linspace(-1, 1, len(NAMES)) * certain
    table = pd.DataFrame(x, columns=NAMES)
    table["label"] = rng.random(ROWS) < 1 / (1 + np.exp(-odds))
    table["event_time"] = pd.date_range("2026-01-01", periods=ROWS, freq="min", tz="UTC")
    return table


Bench = Task(
    # A name of its own for each measurement: fresh topics, group and state.
    name=os.environ.get("WEIR_BENCH_TASK", "bench"),
    features=[Number(name, low=-100, high=100) for name in NAMES],
    target=Binary("label"),
    candidates={"logistic": make_pipeline(StandardScaler(), LogisticRegression())},
    baseline=DummyClassifier(strategy="prior"),
    fallback=False,
    defer_budget=0.05,
    training=Training(gate_must_pay=False),
    horizon=timedelta(hours=1),
    windows=[Window(timedelta(minutes=1))],
    history=history,
    drift=Drift(kinds=() if os.environ.get("WEIR_BENCH_DRIFT") == "off" else LOOKED_AT),
    partitions=int(os.environ.get("WEIR_BENCH_PARTITIONS", "4")),
)
