"""The flights as sets for estimates: will one be late (binary), and by how much (regression)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from services.demo.flight_delay import CATEGORIES, SCHEDULE, WEATHER
from services.demo.flights import load_flights
from services.evaluate.sets import WEEKLY, Predicted, periods

LEARNED, REFERENCE = pd.Timestamp("2013-03-01", tz="UTC"), pd.Timestamp("2013-05-01", tz="UTC")
"""The model learns from the flights before the first, the reference ends at the second."""

_TREES: dict[str, Any] = {
    "categorical_features": "from_dtype",
    "max_leaf_nodes": 15,
    "min_samples_leaf": 200,
    "random_state": 0,
}
"""As the demo's candidate."""


def flights() -> Predicted:
    """Will a flight be late? By the demo's boosted trees."""
    return _predicted("flights", "binary", load_flights())


def flights_delay() -> Predicted:
    """By how many minutes will a flight that lands be late? By the same trees for the median."""
    data = load_flights()
    data = data[~data["cancelled"] & ~data["diverted"]].reset_index(drop=True)
    return _predicted("flights_delay", "regression", data)


def _predicted(name: str, kind: Any, data: pd.DataFrame) -> Predicted:
    features = [*CATEGORIES, *SCHEDULE, *WEATHER]
    frame = data[features].copy()
    if kind == "binary":
        frame["truth"] = data["late"].astype(int)
    else:
        took = (data["known_at"] - data["event_time"]).dt.total_seconds() / 60
        frame["truth"] = took - data["duration"]
    frame["chunk"] = periods(data["event_time"].dt.tz_localize(None), WEEKLY)
    known = data["event_time"]
    learned, after = frame[known < LEARNED], frame[known >= LEARNED]
    x, later = learned[features], after[features]
    after = after.copy()
    if kind == "binary":
        model = HistGradientBoostingClassifier(**_TREES).fit(x, learned["truth"])
        after["probability"] = model.predict_proba(later)[:, 1]
        after["answer"] = (after["probability"] >= 0.5).astype(int)
    else:
        regressor = HistGradientBoostingRegressor(loss="absolute_error", **_TREES)
        after["answer"] = regressor.fit(x, learned["truth"]).predict(later)
    after[CATEGORIES] = after[CATEGORIES].astype("str")
    before = np.asarray(known[known >= LEARNED] < REFERENCE)
    parts = [after[before].reset_index(drop=True), after[~before].reset_index(drop=True)]
    return Predicted(name, kind, (), tuple(features), tuple(CATEGORIES), *parts)
