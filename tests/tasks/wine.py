"""A multi-class task on data that scikit-learn bundles: which cultivar is a wine from?"""

from datetime import timedelta

import pandas as pd
from sklearn.datasets import load_wine
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from streams import MultiClass, Number, Task, Training, Window

data = load_wine(as_frame=True)
NAMES = {column: column.replace("/", "_over_") for column in data.data.columns}
CULTIVARS = ["barolo", "grignolino", "barbera"]


def history() -> pd.DataFrame:
    """The bundled rows, shuffled, one an hour."""
    table = data.data.rename(columns=NAMES)
    table["cultivar"] = [CULTIVARS[number] for number in data.target]
    table = table.sample(frac=1, random_state=0, ignore_index=True)
    table["event_time"] = pd.date_range("2024-01-01", periods=len(table), freq="h", tz="UTC")
    return table


Wine = Task(
    name="wine",
    features=[Number(name, low=0, high=10_000) for name in NAMES.values()],
    target=MultiClass("cultivar", classes=CULTIVARS),
    candidates={"logistic": make_pipeline(StandardScaler(), LogisticRegression())},
    baseline=DummyClassifier(strategy="prior"),
    fallback="grignolino",
    defer_budget=0.1,
    training=Training(gate_must_pay=False),
    horizon=timedelta(days=30),
    windows=[Window(timedelta(days=1))],
    history=history,
    partitions=2,
)
