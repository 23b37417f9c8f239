"""A regression on data that scikit-learn bundles: how far does diabetes progress in a year?"""

from datetime import timedelta

import pandas as pd
from sklearn.datasets import load_diabetes
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from streams import Boolean, LastN, Number, Regression, Task, Training, Window


def history() -> pd.DataFrame:
    """The bundled rows, shuffled, one an hour."""
    table = load_diabetes(as_frame=True, scaled=False).frame
    table["female"] = table.pop("sex") == 2
    table = table.rename(columns={"target": "progression"})
    table = table.sample(frac=1, random_state=0, ignore_index=True)
    table["event_time"] = pd.date_range("2024-01-01", periods=len(table), freq="h", tz="UTC")
    return table


Diabetes = Task(
    name="diabetes",
    features=[
        Number("age", unit="years", low=0, high=120),
        Boolean("female"),
        Number("bmi", unit="kg/m²", low=5, high=100),
        Number("bp", unit="mmHg", low=20, high=300),
        *(Number(f"s{i}", doc="blood serum measurement") for i in range(1, 7)),
    ],
    target=Regression("progression", wrong_beyond=80.0),
    candidates={"ridge": make_pipeline(StandardScaler(), Ridge())},
    baseline=DummyRegressor(),
    fallback=150.0,
    defer_budget=0.1,
    training=Training(gate_must_pay=False),
    segments=["female"],
    horizon=timedelta(days=30),
    windows=[Window(timedelta(days=1)), LastN(50)],
    history=history,
    partitions=2,
)
