"""A task with windowed features like the demo's: seven series of truths and one of requests."""

from datetime import timedelta

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from streams import Binary, Category, Number, Task, Window, Windowed

ROWS = 4000
CARRIERS = [f"c{i:02}" for i in range(15)]
ORIGINS = [f"o{i:02}" for i in range(3)]
DESTS = [f"d{i:03}" for i in range(100)]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FLIGHT = ["carrier", "origin", "dest"]

WINDOWED = [
    Windowed("origin_late_1h", HOUR, by="origin"),
    Windowed("origin_late_24h", DAY, by="origin"),
    Windowed("carrier_late_3h", 3 * HOUR, by="carrier"),
    Windowed("dest_late_3h", 3 * HOUR, by="dest"),
    Windowed("carrier_origin_late_3h", 3 * HOUR, by=["carrier", "origin"]),
    Windowed("all_late_1h", HOUR),
    Windowed("route_late_14d", 14 * DAY, by=["carrier", "dest"], every=6 * HOUR),
    Windowed("flight_late_28d", 28 * DAY, by=FLIGHT, every=6 * HOUR),
    Windowed("origin_known_3h", 3 * HOUR, by="origin", aggregate="count"),
    Windowed("origin_asked_3h", 3 * HOUR, by="origin", of="requests", aggregate="count"),
]


def inputs(n: int, seed: int) -> list[dict[str, str | float]]:
    """Features of n requests."""
    rng = np.random.default_rng(seed)
    drawn = zip(
        rng.choice(CARRIERS, n).tolist(),
        rng.choice(ORIGINS, n).tolist(),
        rng.choice(DESTS, n).tolist(),
        rng.normal(size=n).tolist(),
        strict=True,
    )
    names = ["carrier", "origin", "dest", "x"]
    return [dict(zip(names, row, strict=True)) for row in drawn]


def history() -> pd.DataFrame:
    """Labelled rows, one a minute, each known ten minutes after it was asked."""
    table = pd.DataFrame(inputs(ROWS, seed=1))
    rng = np.random.default_rng(2)
    asked = pd.date_range("2026-01-01", periods=ROWS, freq="min", tz="UTC")
    return table.assign(
        request_id=[f"old-{i}" for i in range(ROWS)],
        event_time=asked,
        known_at=asked + timedelta(minutes=10),
        late=rng.random(ROWS) < 1 / (1 + np.exp(-2 * table["x"])),
    )


_numbers = make_pipeline(SimpleImputer(), StandardScaler())

Flights = Task(
    name="live_flights",
    features=[
        Category("carrier", values=CARRIERS),
        Category("origin", values=ORIGINS),
        Category("dest", values=DESTS),
        Number("x"),
    ],
    windowed=WINDOWED,
    target=Binary("late"),
    candidates={
        "logistic": make_pipeline(
            make_column_transformer((_numbers, ["x", *(w.name for w in WINDOWED)])),
            LogisticRegression(),
        )
    },
    fallback=False,
    defer_budget=0.0,
    horizon=HOUR,
    windows=[Window(timedelta(minutes=1))],
    history=history,
    partitions=4,
)
