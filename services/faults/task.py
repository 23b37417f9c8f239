"""The task of the harness: small, so that the machine's time goes to the faults."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from services.faults.traffic import SITES, START_MS, draw
from streams.task import Binary, Category, LastN, Number, Task, Training, Window
from streams.windowed.declare import Windowed

HISTORY_ROWS = 6_000
WINDOWED = [
    Windowed("site_fails_2h", timedelta(hours=2), by="site"),
    Windowed("all_fails_6h", timedelta(hours=6), every=timedelta(minutes=15)),
    Windowed("site_known_2h", timedelta(hours=2), by="site", aggregate="count"),
    Windowed("site_asked_1h", timedelta(hours=1), by="site", of="requests", aggregate="rate"),
]
NUMBERS = ["load", "heat", "age", *(feature.name for feature in WINDOWED)]
KNOWN_AFTER = timedelta(minutes=10)


def history() -> pd.DataFrame:
    """Rows of the hours before the load, drawn as the load's are."""
    drawn = draw(np.random.default_rng(20_260_101), HISTORY_ROWS)
    at = START_MS - 1000 * (HISTORY_ROWS - np.arange(HISTORY_ROWS))
    times = pd.to_datetime(at, unit="ms", utc=True)
    return pd.DataFrame(
        {
            "request_id": [f"h{i}" for i in range(HISTORY_ROWS)],
            "event_time": times,
            "known_at": times + KNOWN_AFTER,
            "site": np.array(SITES)[drawn.site],
            "load": drawn.load,
            "heat": drawn.heat,
            "age": np.where(drawn.age_known, drawn.age, np.nan),
            "fails": drawn.fails,
        }
    )


one_hot = OneHotEncoder(handle_unknown="ignore")
scaled = make_pipeline(SimpleImputer(), StandardScaler())

Probe = Task(
    name="fault_probe",
    doc="What the fault harness asks: machines that fail by load, heat and age.",
    features=[
        Category("site", values=SITES),
        Number("load", low=-20, high=20),
        Number("heat", low=-20, high=20),
        Number("age", low=-20, high=20, nullable=True),
    ],
    target=Binary("fails"),
    candidates={
        "logistic": make_pipeline(
            make_column_transformer((one_hot, ["site"]), (scaled, NUMBERS)), LogisticRegression()
        )
    },
    baseline=make_pipeline(make_column_transformer((scaled, ["age"])), LogisticRegression()),
    fallback=False,
    defer_budget=0.1,
    training=Training(gate_must_pay=False),  # what it costs is not what is tested
    segments=["site"],
    # Many times the span of the load: nothing leaves the join while it runs.
    horizon=timedelta(days=7),
    signals=["seen"],
    windowed=WINDOWED,
    windows=[
        Window(timedelta(hours=1)),
        Window(timedelta(hours=6), every=timedelta(hours=1)),
        LastN(500, every=timedelta(hours=2)),
    ],
    history=history,
    event_times=(datetime(2013, 1, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC)),
    partitions=4,
)
