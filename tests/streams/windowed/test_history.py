"""Windowed features of a history: what serving would have logged, had it been there."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.columns import Column
from streams.codecs import codecs
from streams.frame import columns_of
from streams.task import Task, Windowed
from streams.training.data import prepare
from streams.training.errors import DataError
from streams.windowed.definition import Definition
from streams.windowed.history import seed, with_windowed
from streams.windowed.table import Table
from tests.streams.tasks import START, task_of

MINUTE = timedelta(minutes=1)
MINUTE_MS = 60_000
BY_KIND = {
    "binary": Windowed("made", 30 * MINUTE, by="shop"),
    "multiclass": Windowed("made", 30 * MINUTE, by="shop", value="b"),
    "regression": Windowed("made", 30 * MINUTE, by="shop", aggregate="mean", resolution=0.25),
}
TRUTHS: dict[str, st.SearchStrategy[Any]] = {
    "binary": st.booleans(),
    "multiclass": st.sampled_from(["a", "b", "c"]),
    "regression": st.integers(-40, 40).map(lambda quarters: quarters / 4),
}


def task(kind: str) -> Task:
    counted = Windowed("asked", 20 * MINUTE, by=["age", "fresh"], of="requests", aggregate="count")
    return task_of(kind, windowed=[BY_KIND[kind], counted])


def table_of(task: Task, rows: list[tuple[int, int, Any, Any, Any, Any]]) -> pd.DataFrame:
    names = ["asked_min", "after_min", "truth", "shop", "age", "fresh"]
    table = pd.DataFrame(rows, columns=names)
    asked = START + table.pop("asked_min") * MINUTE_MS + 7
    known = asked + table.pop("after_min") * MINUTE_MS
    table["event_time"] = pd.to_datetime(asked, unit="ms", utc=True)
    table["known_at"] = pd.to_datetime(known, unit="ms", utc=True)
    return table.rename(columns={"truth": task.target.name}).assign(size=1.0, colour="red")


def last(times: pd.Series, at: pd.Timestamp) -> pd.Timestamp:
    """The end of the last five minutes before a time in which there is anything."""
    before = times[times < at.floor("5min")]
    if before.empty:
        return pd.Timestamp(0, tz="UTC")
    return before.max().floor("5min") + 5 * MINUTE


def naive(task: Task, table: pd.DataFrame, at: int) -> list[float]:
    row = table.loc[at]
    end = last(table["known_at"], row["event_time"])
    known = table[(table["known_at"] >= end - 30 * MINUTE) & (table["known_at"] < end)]
    truths = known.loc[known["shop"] == row["shop"], task.target.name]
    if task.kind == "multiclass":
        truths = truths == "b"
    made = float(truths.sum()) / len(truths) if len(truths) else np.nan
    end = last(table["event_time"], row["event_time"])
    asked = table[(table["event_time"] >= end - 20 * MINUTE) & (table["event_time"] < end)]
    if pd.isna(row["age"]) or pd.isna(row["fresh"]) or end < pd.Timestamp("2000-01-01", tz="UTC"):
        return [made, np.nan]
    same = (asked["age"] == row["age"]) & (asked["fresh"] == row["fresh"])
    return [made, float(same.sum())]


@pytest.mark.parametrize("kind", BY_KIND)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_each_row_knows_what_was_known_at_its_time(kind: str, data: st.DataObject) -> None:
    row = st.tuples(
        *(st.integers(0, 90), st.integers(1, 60), TRUTHS[kind], st.sampled_from(["x", "y"])),
        *(st.sampled_from([1, 2, None]), st.sampled_from([True, False, None])),
    )
    one = task(kind)
    table = table_of(one, data.draw(st.lists(row, min_size=1, max_size=25)))
    found = with_windowed(one, table)[["made", "asked"]].to_numpy(float)
    wanted = np.array([naive(one, table, at) for at in range(len(table))])
    np.testing.assert_array_equal(found, wanted)


def test_a_history_without_known_at_is_told_what_it_lacks() -> None:
    one = task("binary")
    table = table_of(one, [(i, 5, i % 2 == 0, "x", 1, True) for i in range(80)])
    with pytest.raises(DataError, match="no column known_at, which its windowed features need"):
        prepare(one, table.drop(columns="known_at"))
    assert {"made", "asked"} <= set(prepare(one, table).frame.columns)


def test_values_that_were_logged_are_trained_on_as_they_are() -> None:
    one = task("binary")
    table = table_of(one, [(i, 5, i % 2 == 0, "x", 1, True) for i in range(80)])
    logged = table.assign(made=0.125, asked=3.0).drop(columns="known_at")
    frame = prepare(one, logged).frame
    assert set(frame["made"]) == {0.125}
    assert set(frame["asked"]) == {3.0}


@pytest.mark.parametrize("kind", BY_KIND)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_first_requests_are_served_by_the_windows_of_the_history(
    kind: str, data: st.DataObject
) -> None:
    """What a request after the history gets is what training would have made of its row."""
    row = st.tuples(
        *(st.integers(0, 90), st.integers(1, 60), TRUTHS[kind], st.sampled_from(["x", "y"])),
        *(st.sampled_from([1, 2, None]), st.sampled_from([True, False, None])),
    )
    one = task(kind)
    rows = data.draw(st.lists(row, min_size=1, max_size=25))
    truth = rows[0][2]
    asked = table_of(one, [(150 + data.draw(st.integers(0, 40)), 1, truth, "x", 1, True)])
    history = table_of(one, rows)
    one = replace(one, history=lambda: history)
    definition, table = Definition(one), Table(Definition(one))
    codec = codecs(one)["feature_update"]
    records = list(seed(definition, history))
    assert len({key for key, _ in records}) == len(records)
    for _, record in records:
        table.take(codec.read(codec.write(record)))
    snapshot = table.snapshot()
    assert snapshot.as_of[-2:] == (len(rows), len(rows))
    columns = columns_of(one.features, asked)
    columns["event_time"] = Column(asked["event_time"].to_numpy("datetime64[ms]").astype(np.int64))
    served = snapshot.columns(columns, 1)
    wanted = with_windowed(one, pd.concat([history, asked], ignore_index=True)).iloc[-1]
    for name in ("made", "asked"):
        column = served[f"features.{name}"]
        found = column.values[0] if column.valid is None or column.valid[0] else np.nan
        np.testing.assert_array_equal(found, wanted[name])


def test_a_history_that_brings_its_windowed_features_itself_seeds_nothing() -> None:
    one = task("binary")
    table = table_of(one, [(i, 5, True, "x", 1, True) for i in range(3)]).drop(columns="known_at")
    one = replace(one, history=lambda: table)
    assert list(seed(Definition(one), table)) == []
