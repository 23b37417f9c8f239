"""Springs that break: by load alone; their width and maker say nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from streams.task import Binary, Category, Number, Task, Training

MAKERS = ["ash", "birch", "cedar"]
ROWS = 3_000


def draw(n: int, seed: int, wider: float = 0.0) -> pd.DataFrame:
    """Springs and whether they break; ``wider``: by how many standard deviations all are."""
    chance = np.random.default_rng(seed)
    load = chance.normal(50, 10, n)
    odds = (load - 55) / 3
    return pd.DataFrame(
        {
            "load": load,
            "width": chance.normal(8 + 2 * wider, 2, n),
            "maker": chance.choice(MAKERS, n, p=[0.5, 0.3, 0.2]),
            "breaks": chance.random(n) < 1 / (1 + np.exp(-odds)),
        }
    )


def history() -> pd.DataFrame:
    """Rows of the days before, one a minute."""
    table = draw(ROWS, seed=1)
    table["request_id"] = [f"h{i}" for i in range(ROWS)]
    table["event_time"] = pd.date_range("2024-03-01", periods=ROWS, freq="min", tz="UTC")
    return table


Springs = Task(
    name="springs",
    doc="Does the spring break?",
    features=[
        Number("load", unit="kg"),
        Number("width", unit="mm"),
        Category("maker", values=MAKERS),
    ],
    target=Binary("breaks"),
    candidates={
        "linear": make_pipeline(
            make_column_transformer(
                (StandardScaler(), ["load", "width"]),
                (OneHotEncoder(handle_unknown="ignore"), ["maker"]),
            ),
            LogisticRegression(),
        )
    },
    fallback=False,
    defer_budget=0.1,
    training=Training(gate_must_pay=False),
    segments=["maker"],
    history=history,
    partitions=2,
)
