"""Requests against the task's rules, and the words for what is broken."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.columns import Column
from schemas.features import Category, Integer, Number
from streams.task import Task
from streams.validate import DAY_MS, MAX_CATEGORY_BYTES, Checked, validate
from tests.streams.tasks import FEATURES, START, task_of

TASK = task_of()
CODEC = Codec(TASK.schemas()["request"])
NOW = START + 1000
GOOD = {"size": 1.0, "age": 3, "fresh": True, "colour": "red", "shop": "x"}


def request(id_: str = "r", event_time: int = START, **features: Any) -> dict[str, Any]:
    entity = features.pop("entity", None)
    return {
        "request_id": id_,
        "event_time": event_time,
        "entity": entity,
        "features": {**GOOD, **features},
    }


def check(*records: dict[str, Any], task: Task = TASK) -> Checked:
    codec = CODEC if task is TASK else Codec(task.schemas()["request"])
    return validate(task, codec.decode([codec.write(record) for record in records]).columns, NOW)


def test_no_requests_are_all_good() -> None:
    checked = check()
    assert len(checked.good) == 0
    assert checked.reasons == {}


def test_good_requests_are_left_as_they_are() -> None:
    records = [request(f"r{i}", size=float(i)) for i in range(50)]
    columns = CODEC.decode([CODEC.write(record) for record in records]).columns
    checked = validate(TASK, columns, NOW)
    assert checked.good.all()
    assert (checked.reasons, checked.bad_ids, checked.bad_times) == ({}, frozenset(), frozenset())
    assert all(checked.columns[path] is columns[path] for path in columns)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (request(""), "request_id has 0 bytes; it must have 1 to 128"),
        (request("x" * 129), "request_id has 129 bytes; it must have 1 to 128"),
        (request("ü" * 65), "request_id has 130 bytes; it must have 1 to 128"),
        (request(size=math.nan), "size is nan; it must be finite"),
        (request(size=math.inf), "size is inf; it must be finite; size is inf, above 100 m"),
        (request(size=-0.5), "size is -0.5, below 0 m"),
        (request(size=100.5), "size is 100.5, above 100 m"),
        (request(shop="x" * 1025), "shop has 1025 bytes; at most 1024"),
        (request(shop="ü" * 513), "shop has 1026 bytes; at most 1024"),
        (request(entity="x" * 1025), "entity has 1025 bytes; at most 1024"),
        (
            request(event_time=-1),
            "event_time 1969-12-31T23:59:59.999Z is not between 1970-01-01T00:00:00.000Z and "
            "2023-11-16T00:00:01.000Z",
        ),
        (request(event_time=NOW + DAY_MS + 1), "event_time 2023-11-16T00:00:01.001Z is not"),
        (request(event_time=2**63 - 1), "event_time "),
        (request(event_time=-(2**63)), "event_time "),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_broken_rule_names_field_value_and_rule(bad: dict[str, Any], said: str) -> None:
    checked = check(request("before"), bad, request("after"))
    assert checked.good.tolist() == [True, False, True]
    assert list(checked.reasons) == [1]
    assert checked.reasons[1].startswith(said)
    assert checked.bad_ids == ({1} if said.startswith("request_id") else set())
    assert checked.bad_times == ({1} if said.startswith("event_time") else set())


@pytest.mark.parametrize(
    "good",
    [
        request("x" * 128),
        request("ü" * 64),
        request("\0"),
        request(size=0.0),
        request(size=100.0),
        request(age=None, fresh=None, colour=None),
        request(age=-(2**63)),
        request(shop=""),
        request(shop="x" * MAX_CATEGORY_BYTES),
        request(entity="x" * MAX_CATEGORY_BYTES),
        request(event_time=0),
        request(event_time=NOW + DAY_MS),
    ],
    ids=str,
)
def test_the_limits_themselves_are_good(good: dict[str, Any]) -> None:
    assert check(good).good.all()


def test_all_problems_of_a_request_are_told_at_once() -> None:
    checked = check(request("", event_time=-1, size=math.nan, shop="x" * 2000))
    problems = checked.reasons[0].split("; ")
    assert [problem.split()[0] for problem in problems[:3]] == ["request_id", "it", "event_time"]
    assert "size is nan" in checked.reasons[0]
    assert "shop has 2000 bytes" in checked.reasons[0]


def test_an_unknown_category_is_missing_where_the_task_says_so() -> None:
    columns = CODEC.decode([CODEC.write(request(colour=c)) for c in ("red", "pink", None)]).columns
    checked = validate(TASK, columns, NOW)
    assert checked.good.all()
    assert checked.columns["features.colour"].valid is not None
    assert checked.columns["features.colour"].valid.tolist() == [True, False, False]
    # The request's own column is not changed.
    assert columns["features.colour"].valid is not None
    assert columns["features.colour"].valid.tolist() == [True, True, False]


def test_an_unknown_category_is_refused_where_the_task_says_so() -> None:
    strict = Category("colour", values=[f"c{i}" for i in range(10)])
    task = task_of(features=[strict], segments=[])
    records = [{"request_id": "r", "event_time": 0, "features": {"colour": "pi'nk"}}]
    (reason,) = check(*records, task=task).reasons.values()
    assert reason == 'colour is "pi\'nk"; known are c0, c1, c2, c3, c4, c5, c6, c7, …'


def test_the_tasks_own_bounds_of_event_time_hold() -> None:
    bounds = (datetime(2013, 1, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC))
    task = task_of(event_times=bounds)
    low, high = (int(bound.timestamp() * 1000) for bound in bounds)
    times = [low - 1, low, high, high + 1]
    checked = check(*(request(event_time=time) for time in times), task=task)
    assert checked.good.tolist() == [False, True, True, False]
    assert checked.bad_times == {0, 3}
    assert "between 2013-01-01T00:00:00.000Z and 2014-01-01T00:00:00.000Z" in checked.reasons[0]


def test_bounds_beyond_64_bits_are_no_trouble() -> None:
    task = task_of(features=[Integer("n", low=-(2**70), high=2**70)], segments=[])
    records = [{"request_id": "r", "event_time": 0, "features": {"n": n}} for n in (0, 2**63 - 1)]
    assert check(*records, task=task).good.all()


def test_integers_are_compared_exactly() -> None:
    task = task_of(features=[Integer("n", high=2**53)], segments=[])
    records = [
        {"request_id": "r", "event_time": 0, "features": {"n": n}} for n in (2**53, 2**53 + 1)
    ]
    assert check(*records, task=task).good.tolist() == [True, False]


def test_a_null_is_not_judged_by_what_stands_in_its_place() -> None:
    task = task_of(features=[Number("x", low=5, nullable=True)], segments=[])
    columns = Codec(task.schemas()["request"]).decode([]).columns
    column = Column(np.array([np.nan, 1.0, 7.0]), np.array([False, False, True]))
    one = {
        "request_id": Column(np.array(["a", "b", "c"], object)),
        "event_time": Column(np.zeros(3, np.int64)),
        "entity": Column(np.full(3, None, object), np.zeros(3, bool)),
    }
    assert validate(task, {**columns, **one, "features.x": column}, NOW).good.all()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=140) | st.just("x" * 1025)
REQUESTS = st.builds(
    request,
    TEXTS,
    st.integers(-(2**63), 2**63 - 1) | st.integers(0, NOW),
    size=st.floats() | st.floats(0, 100),
    age=st.none() | st.integers(-(2**63), 2**63 - 1),
    fresh=st.none() | st.booleans(),
    colour=st.none() | TEXTS | st.sampled_from(["red", "green", "blue"]),
    shop=TEXTS,
    entity=st.none() | TEXTS,
)


@given(st.lists(REQUESTS, max_size=30))
def test_what_passes_obeys_every_rule_and_what_does_not_breaks_one(
    records: list[dict[str, Any]],
) -> None:
    checked = check(*records)
    assert set(checked.reasons) == set(np.flatnonzero(~checked.good).tolist())
    for row, record in enumerate(records):
        obeys = (
            0 < len(record["request_id"].encode()) <= 128
            and 0 <= record["event_time"] <= NOW + DAY_MS
            and 0 <= record["features"]["size"] <= 100
            and len(record["features"]["shop"].encode()) <= 1024
            and len((record["features"]["colour"] or "").encode()) <= 1024
            and len((record["entity"] or "").encode()) <= 1024
        )
        assert checked.good[row] == obeys
    known = FEATURES[3].values  # type: ignore[attr-defined]
    colours = checked.columns["features.colour"]
    for row in np.flatnonzero(checked.good):
        if colours.valid is None or colours.valid[row]:
            assert colours.values[row] in known
