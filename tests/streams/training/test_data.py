from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from streams.task import Category
from streams.training.data import MAX_WORDS, prepare
from streams.training.errors import DataError
from tests.small_tasks import DIABETES, TUMOUR, WINE, patients, tumour_task, tumours, wines


def test_rows_are_put_in_order_of_time_and_then_of_request_id() -> None:
    table = tumours()
    table.loc[:4, "event_time"] = table.loc[0, "event_time"]
    shuffled = table.sample(frac=1, random_state=3)
    data, again = prepare(TUMOUR, table), prepare(TUMOUR, shuffled)
    assert (np.diff(data.times_ms) >= 0).all()
    assert data.id == again.id
    pd.testing.assert_frame_equal(data.frame, again.frame)
    assert data.target.tolist() == again.target.tolist() == table["benign"].tolist()


def test_the_same_rows_in_other_types_have_the_same_id() -> None:
    table = tumours()
    other = table.assign(
        shape=pd.Categorical(table["shape"]),
        smooth=table["smooth"].astype("boolean"),
        benign=table["benign"].astype(int),
        event_time=table["event_time"].dt.tz_localize(None),
        more=1,
    )
    assert prepare(TUMOUR, other).id == prepare(TUMOUR, table).id


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("radius", 1.0),
        ("texture", None),
        ("shape", "bent"),
        ("benign", None),
        ("event_time", pd.Timestamp("2023-01-01", tz="UTC")),
    ],
)
def test_one_other_value_gives_another_id(column: str, value: Any) -> None:
    table = tumours()
    row = int(np.flatnonzero((table["shape"] != "bent") & table["texture"].notna())[0])
    changed = table.copy()
    changed.loc[row, column] = not table.loc[row, column] if column == "benign" else value
    assert prepare(TUMOUR, changed).id != prepare(TUMOUR, table).id


def test_the_parts_are_stretches_of_time_that_cover_all_rows() -> None:
    data = prepare(TUMOUR, tumours())
    parts = [range(len(data))[part] for part in (data.train, data.validation, data.test)]
    assert [row for part in parts for row in part] == list(range(569))
    assert [len(part) for part in parts] == [398, 85, 86]


def test_declared_names_are_the_vocabulary_and_open_ones_are_learned() -> None:
    assert prepare(TUMOUR, tumours()).vocabularies == {"shape": ["bent", "ragged", "round"]}


def test_of_very_many_names_the_most_frequent_are_known() -> None:
    table = pd.concat([tumours()] * 2, ignore_index=True)
    table["shape"] = ["often"] * 400 + [f"rare-{i}" for i in range(len(table) - 400)]
    (words,) = prepare(TUMOUR, table).vocabularies.values()
    assert len(words) == MAX_WORDS
    assert "often" in words
    assert list(words) == sorted(words)


def change(column: str, value: Any, rows: Any = slice(None)) -> pd.DataFrame:
    table = tumours()
    table[column] = table[column].astype(object)
    table.loc[rows, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (tumours().head(59), "59 rows are too few to train on; 60 are needed"),
        (tumours().drop(columns="benign"), "no column 'benign'"),
        (tumours().drop(columns="event_time"), "no column 'event_time'"),
        (tumours().drop(columns="radius"), "no column 'radius', which is a feature"),
        (change("benign", None, 3), "target 'benign' is null in 1 rows"),
        (change("benign", "maybe", 3), "holds more than true and false"),
        (change("benign", True), "is True 398 times in the first 70% of the rows"),
        (change("radius", None, 3), "'radius' is null in 1 rows; declare it nullable=True"),
        (change("radius", np.inf, 3), "'radius' is infinite"),
        (change("radius", "wide", 3), "'radius' of the data is not double"),
        (change("event_time", None, 3), "1 rows have no event_time"),
        (change("event_time", "yesterday", 3), "does not hold times"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_refused_with_the_rule(
    table: pd.DataFrame, says: str
) -> None:
    with pytest.raises(DataError, match=says):
        prepare(TUMOUR, table)


def test_classes_that_the_task_does_not_have_are_refused() -> None:
    table = wines().assign(cultivar="merlot")
    with pytest.raises(DataError, match="holds merlot: not classes of it"):
        prepare(WINE, table)


def test_an_infinite_number_to_predict_is_refused() -> None:
    table = patients()
    table.loc[1, "progression"] = np.inf
    with pytest.raises(DataError, match="infinite"):
        prepare(DIABETES, table)


def test_a_name_outside_the_declared_ones_is_missing() -> None:
    features = [*TUMOUR.features[:3], Category("shape", values=["round", "bent"], nullable=True)]
    data = prepare(tumour_task(features=features), tumours())
    assert data.frame["shape"].cat.categories.tolist() == ["round", "bent"]
    assert data.frame["shape"].isna().sum() == (~tumours()["shape"].isin(["round", "bent"])).sum()
