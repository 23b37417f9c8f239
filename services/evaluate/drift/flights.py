"""The demo's flights with changes put into them.

A model learns from half of January's and February's flights; the other half, drawn from again and
again with replacement, is traffic in which nothing changes, until something is done to it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from services.evaluate.drift.streams import BEFORE, REFERENCE, Made, Stream

AFTER = 10_000
CATEGORIES = ("carrier", "origin", "dest")
NUMBERS = ("departure", "weekday", "duration", "distance", "temperature", "humidity", "wind",
           "precipitation", "pressure", "visibility")  # fmt: skip
Change = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]


@lru_cache(maxsize=1)
def learned() -> tuple[Any, pd.DataFrame]:
    """The model, and rows that it did not learn from."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    from services.demo.flights import load_flights

    table = load_flights()
    table = table[table["event_time"] < pd.Timestamp("2013-03-01", tz="UTC")]
    order = np.random.default_rng(0).permutation(len(table))
    table = table.iloc[order].reset_index(drop=True)
    half = len(table) // 2
    model = HistGradientBoostingClassifier(
        categorical_features="from_dtype", max_leaf_nodes=15, min_samples_leaf=200, random_state=0
    ).fit(inputs_of(table[:half]), table["late"][:half])
    return model, table[half:].reset_index(drop=True)


def inputs_of(table: pd.DataFrame) -> pd.DataFrame:
    """The model's inputs."""
    return table[[*CATEGORIES, *NUMBERS]]


def _stream(change: Change | None) -> Callable[[int], Made]:
    def make(seed: int) -> Made:
        return drawn(seed, REFERENCE + BEFORE + (AFTER if change else 0), change)

    return make


def drawn(seed: int, n: int, change: Change | None = None) -> Made:
    """n flights, the last AFTER of them changed."""
    _, pool = learned()
    draw = np.random.default_rng(seed)
    table = pool.iloc[draw.integers(0, len(pool), n)].reset_index(drop=True)
    start = n - AFTER if change else n
    if change is not None:
        later = change(table[start:].reset_index(drop=True), draw)
        table = pd.concat([table[:start], later], ignore_index=True)
    return answered(table, (start,) if change else ())


def answered(table: pd.DataFrame, changes: tuple[int, ...]) -> Made:
    """Flights and what the model says of them; changes: positions at which something changes."""
    model, pool = learned()
    # What the model knows of names is what it learned: the others are missing to it.
    known = inputs_of(table).copy()
    for name in CATEGORIES:
        known[name] = pd.Categorical(table[name].astype(object), pool[name].cat.categories)
    probability = model.predict_proba(known)[:, 1]
    answer, truth = probability >= 0.5, table["late"].to_numpy(bool)
    return Made(
        REFERENCE,
        changes,
        {name: table[name].to_numpy(float) for name in NUMBERS},
        {name: _texts(table[name]) for name in CATEGORIES},
        answer != truth,
        answer,
        probability,
        truth,
    )


def _texts(column: pd.Series) -> npt.NDArray[Any]:
    texts: npt.NDArray[Any] = column.astype(object).where(column.notna(), None).to_numpy(object)
    return texts


def _longer(table: pd.DataFrame, _: np.random.Generator) -> pd.DataFrame:
    """Distances and durations a third longer."""
    return table.assign(distance=table["distance"] * 1.33, duration=table["duration"] * 1.33)


def _kilometres(table: pd.DataFrame, _: np.random.Generator) -> pd.DataFrame:
    return table.assign(distance=table["distance"] * 1.609)


def _nulls(table: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    """The wind is missing in three records of ten."""
    return table.assign(wind=table["wind"].mask(draw.random(len(table)) < 0.3))


def _new_names(table: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    """One flight in ten is of an airline that training did not have."""
    carrier = table["carrier"].astype(object).mask(draw.random(len(table)) < 0.1, "ZZ")
    return table.assign(carrier=carrier)


def _later(table: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    """Late flights are half as many again, of the same kind as those that were late before."""
    late = table["late"].to_numpy(bool)
    weights = np.where(late, 1.75, 1.0)
    rows = draw.choice(len(table), len(table), p=weights / weights.sum())
    return table.iloc[rows].reset_index(drop=True)


def _another_truth(table: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    """Of the flights of one origin's morning half become late: inputs stay, their meaning not."""
    chosen = ((table["origin"] == "EWR") & (table["departure"] < 720)).to_numpy(bool)
    late = table["late"].to_numpy(bool) | (chosen & (draw.random(len(table)) < 0.5))
    return table.assign(late=late)


FLIGHTS = (
    Stream("flights_longer", "table", "data, abrupt", _stream(_longer)),
    Stream("flights_kilometres", "table", "data (a unit), abrupt", _stream(_kilometres)),
    Stream("flights_nulls", "table", "schema, abrupt", _stream(_nulls)),
    Stream("flights_new_names", "table", "schema, abrupt", _stream(_new_names)),
    Stream("flights_later", "table", "target, abrupt", _stream(_later)),
    Stream("flights_another_truth", "table", "concept, abrupt", _stream(_another_truth)),
)
