"""A task with windowed features: will a parcel be late, given how late its depot is right now?"""

from datetime import timedelta

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from streams import Binary, Category, Number, Task, Window, Windowed

DEPOTS = ["north", "south"]
HALF_HOUR = timedelta(minutes=30)
NUMBERS = ["weight", "depot_late", "depot_known", "asked"]


def history() -> pd.DataFrame:
    """Parcels of a day, one every two minutes, known to be late or not after ten."""
    n = 720
    drawn = np.random.default_rng(0)
    asked = pd.date_range("2024-01-01", periods=n, freq="2min", tz="UTC")
    return pd.DataFrame(
        {
            "request_id": [f"old-{i}" for i in range(n)],
            "event_time": asked,
            "known_at": asked + timedelta(minutes=10),
            "depot": drawn.choice(DEPOTS, n),
            "weight": drawn.uniform(0, 10, n),
            "late": drawn.random(n) < 0.4,
        }
    )


numbers = make_column_transformer((make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS))

Parcels = Task(
    name="parcels",
    features=[Category("depot", values=DEPOTS), Number("weight", unit="kg", low=0, high=100)],
    windowed=[
        Windowed("depot_late", HALF_HOUR, by="depot"),
        Windowed("depot_known", HALF_HOUR, by="depot", aggregate="count"),
        Windowed("asked", HALF_HOUR, of="requests", aggregate="rate"),
    ],
    target=Binary("late"),
    candidates={"logistic": make_pipeline(numbers, LogisticRegression())},
    fallback=False,
    defer_budget=0.0,
    horizon=timedelta(days=2),
    windows=[Window(timedelta(days=1))],
    history=history,
    partitions=2,
)
