from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from schemas.columns import Column, constant
from streams.frame import columns_of, frame
from streams.task import Binary, Boolean, Category, Integer, Number, Task
from tests.small_tasks import TUMOUR

TASK = Task(
    name="mixed",
    features=[
        Category("colour"),
        Number("size", nullable=True),
        Boolean("round", nullable=True),
        Category("shape", nullable=True),
        Integer("count"),
    ],
    target=Binary("good"),
    candidates={"any": TUMOUR.candidates["linear"]},
    fallback=False,
)
WORDS = {"colour": ["red", "blue"], "shape": ["flat", "tall", "wide"]}


def batch() -> dict[str, Column]:
    valid = np.array([True, False, True])
    return {
        "request_id": Column(np.array(["a", "b", "c"], object)),
        "features.colour": Column(np.array(["blue", "green", "red"], object)),
        "features.size": Column(np.array([1.5, 7.0, 2.5]), valid),
        "features.round": Column(np.array([True, True, False]), valid),
        "features.shape": Column(np.array(["tall", "flat", "odd"], object), valid),
        "features.count": Column(np.array([3, 4, 5])),
    }


def test_features_come_in_the_tasks_order_with_nulls_as_missing() -> None:
    made = frame(TASK, batch(), WORDS)
    assert list(made.columns) == ["colour", "size", "round", "shape", "count"]
    assert made["size"].tolist()[::2] == [1.5, 2.5]
    assert np.isnan(made["size"][1])
    assert made["round"].tolist()[::2] == [1.0, 0.0]
    assert np.isnan(made["round"][1])
    assert made["count"].tolist() == [3.0, 4.0, 5.0]
    assert {made[name].dtype for name in ("size", "round", "count")} == {np.dtype("float64")}


def test_categories_have_the_versions_vocabulary_and_unknown_names_are_missing() -> None:
    made = frame(TASK, batch(), WORDS)
    assert made["colour"].cat.categories.tolist() == ["red", "blue"]
    assert made["colour"].cat.codes.tolist() == [1, -1, 0]
    assert made["shape"].cat.codes.tolist() == [1, -1, -1]  # null although its place holds a name


def test_a_repeated_value_fills_its_column() -> None:
    columns = batch() | {
        "features.colour": constant("red", 3),
        "features.size": constant(None, 3),
        "features.shape": constant(None, 3),
    }
    made = frame(TASK, columns, WORDS)
    assert made["colour"].tolist() == ["red"] * 3
    assert made["size"].isna().all()
    assert made["shape"].isna().all()


def test_the_frame_is_what_pandas_would_make() -> None:
    made = frame(TASK, batch(), WORDS)
    again = pd.DataFrame({name: made[name].array for name in made.columns})
    pd.testing.assert_frame_equal(made, again)
    pd.testing.assert_frame_equal(made[made["count"] > 3], again[again["count"] > 3])


def test_two_versions_of_a_task_keep_their_own_vocabularies() -> None:
    assert frame(TASK, batch(), WORDS)["colour"].cat.codes.tolist() == [1, -1, 0]
    other = WORDS | {"colour": ["green"]}
    assert frame(TASK, batch(), other)["colour"].cat.codes.tolist() == [-1, 0, -1]


def test_more_names_than_a_byte_counts_have_their_codes() -> None:
    words = {**WORDS, "colour": [f"colour-{i}" for i in range(300)]}
    columns = batch() | {"features.colour": Column(np.array(["colour-299"] * 3, object))}
    assert frame(TASK, columns, words)["colour"].tolist() == ["colour-299"] * 3


def test_a_table_goes_the_same_way_as_a_batch() -> None:
    table = pd.DataFrame(
        {
            "colour": pd.Categorical(["blue", "green", "red"]),
            "size": [1.5, None, 2.5],
            "round": pd.array([True, None, False], "boolean"),
            "shape": ["tall", None, "odd"],
            "count": [3, 4, 5],
        }
    )
    columns = columns_of(TASK.features, table)
    pd.testing.assert_frame_equal(frame(TASK, columns, WORDS), frame(TASK, batch(), WORDS))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": ["big"] * 3}, "'size' of the data is not double"),
        ({"round": [0, 1, 2]}, "'round' of the data holds more than true and false"),
        ({"count": None}, "no column 'count'"),
    ],
)
def test_a_table_of_other_types_is_refused_by_column(change: dict[str, object], says: str) -> None:
    table = pd.DataFrame(
        {"colour": ["red"] * 3, "size": 1.0, "round": True, "shape": "flat", "count": 1}
    )
    table = table.assign(**change) if change != {"count": None} else table.drop(columns="count")
    with pytest.raises(ValueError, match=says):
        columns_of(TASK.features, table)
