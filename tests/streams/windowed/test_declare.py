"""The declaration of windowed features: all that is wrong is told at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from schemas.features import Number
from streams.declaration import declaration
from streams.task import TaskError, Windowed
from streams.windowed.definition import Definition
from tests.streams.tasks import FEATURES, task_of

HOUR = timedelta(hours=1)


def test_a_task_tells_everything_that_is_wrong_with_its_windowed_features() -> None:
    with pytest.raises(TaskError) as caught:
        task_of(
            windowed=[
                Windowed("Late", HOUR),
                Windowed("odd", timedelta(minutes=7)),
                Windowed("by_size", HOUR, by="size"),
                Windowed("by_nothing", HOUR, by=["shop", "shops"]),
                Windowed("traffic", HOUR, of="requests"),
                Windowed("mean", HOUR, aggregate="mean"),
                Windowed("age", HOUR),
            ]
        )
    told = "\n".join(caught.value.problems)
    for words in (
        "'Late': a name is lower-case",
        "'odd': over is a multiple of every",
        "by 'size' is a Number",
        "by 'shops' is no feature",
        "a share is of truths",
        "a binary target has a share",
        "feature 'age' is declared twice",
    ):
        assert words in told
    assert len(caught.value.problems) == 7


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("regression", {"aggregate": "share"}, "a regression has a mean"),
        ("regression", {"aggregate": "mean", "resolution": 0.0}, "resolution is a positive"),
        ("multiclass", {"value": "d"}, "value is one of the classes"),
        ("binary", {"value": "a"}, "value belongs to the share"),
        ("binary", {"every": timedelta(0)}, "every is whole milliseconds"),
        ("binary", {"every": timedelta(microseconds=1_000_500)}, "every is whole milliseconds"),
        ("binary", {"every": 2 * HOUR}, "over is a multiple"),
        ("binary", {"over": timedelta(days=91)}, "up to 90 days"),
        ("binary", {"over": timedelta(days=60)}, "make every longer"),
        ("binary", {"of": "signals"}, "of is 'truth' or"),
        ("binary", {"aggregate": "max"}, "aggregate is share"),
        ("binary", {"by": ["shop", "shop"]}, "names a feature twice"),
    ],
)
def test_what_cannot_be_computed_is_refused(kind: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        task_of(kind, windowed=[Windowed("made", **{"over": HOUR, **given})])


def test_inputs_are_the_features_and_the_windowed_ones_after_them() -> None:
    task = task_of(windowed=[Windowed("shop_late", HOUR, by="shop")])
    assert [feature.name for feature in task.inputs] == [f.name for f in FEATURES] + ["shop_late"]
    made = task.inputs[-1]
    assert isinstance(made, Number)
    assert (made.nullable, made.low, made.high) == (True, 0.0, 1.0)


def test_the_request_does_not_carry_them_and_every_other_record_does() -> None:
    schemas = task_of(windowed=[Windowed("shop_late", HOUR, by="shop")]).schemas()

    def names(record: str) -> list[str]:
        fields = {field["name"]: field["type"] for field in schemas[record]["fields"]}
        features = fields["features"]
        features = features if isinstance(features, dict) else features[1]
        return [field["name"] for field in features["fields"]]

    assert "shop_late" not in names("request")
    assert all("shop_late" in names(record) for record in ("prediction", "deferred", "outcome"))


def test_features_of_other_lengths_share_a_series_and_a_clock() -> None:
    task = task_of(
        windowed=[
            Windowed("late_1h", HOUR, by="shop"),
            Windowed("late_3h", 3 * HOUR, by="shop"),
            Windowed("known_3h", 3 * HOUR, by="shop", aggregate="count"),
            Windowed("asked_1h", HOUR, by="shop", of="requests", aggregate="rate"),
        ],
        partitions=2,
    )
    definition = Definition(task)
    assert [series.name for series in definition.series] == [
        "truth by shop, 300 s",
        "requests by shop, 300 s",
        "truth by nothing, 300 s",
        "requests by nothing, 300 s",
    ]
    assert definition.sources == [
        "binary_task.outcomes/0",
        "binary_task.outcomes/1",
        "binary_task.predictions/0",
        "binary_task.predictions/1",
    ]


def test_another_definition_gives_another_model_version() -> None:
    one, other = (
        task_of(windowed=[Windowed("shop_late", hours * HOUR, by="shop")]) for hours in (1, 2)
    )
    assert declaration(one) != declaration(other)
    assert "windowed" not in declaration(task_of())
