"""The order of the demo's events, and where a replay goes on: pure, whatever the flights are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier

from schemas.codec import Codec
from services.demo.flights import NEW_YORK
from services.demo.resume import Published
from services.demo.timeline import REQUEST, TRUTH, Timeline
from streams.partitioner import partitions_of
from streams.task import Binary, Boolean, Category, Integer, Number, Task

TASK = Task(
    name="small",
    features=[
        Category("carrier", nullable=True),
        Integer("departure", nullable=True),
        Number("wind", nullable=True),
        Boolean("weekend"),
    ],
    target=Binary("late"),
    candidates={"prior": DummyClassifier()},
    fallback=False,
)
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""How long an example takes says how busy the machine is, and nothing about the code."""

START = datetime(2013, 3, 1, 5, tzinfo=UTC)


def frame(times: list[tuple[int, int]]) -> pd.DataFrame:
    """Flights that depart some minutes after START and are known some minutes later."""
    asked = [START + timedelta(minutes=departs) for departs, _ in times]
    known = [START + timedelta(minutes=departs + lasts) for departs, lasts in times]
    n = len(times)
    return pd.DataFrame(
        {
            "request_id": pd.Series([f"flight-{i}" for i in range(n)], dtype="str"),
            "event_time": pd.Series(asked, dtype="datetime64[ms, UTC]"),
            "known_at": pd.Series(known, dtype="datetime64[ms, UTC]"),
            "late": [i % 3 == 0 for i in range(n)],
            "carrier": pd.Series([None if i % 5 == 4 else "UA" for i in range(n)], dtype="str"),
            "departure": [float("nan") if i % 7 == 6 else i for i in range(n)],
            "wind": [float("nan") if i % 2 else 0.5 for i in range(n)],
            "weekend": [i % 2 == 0 for i in range(n)],
        }
    )


flights = st.lists(
    st.tuples(st.integers(0, 200_000), st.integers(1, 3000)), min_size=1, max_size=60
).map(frame)


@patient
@given(flights)
def test_events_come_in_order_each_once_and_a_truth_after_its_request(data: pd.DataFrame) -> None:
    timeline = Timeline(TASK, data)
    assert len(timeline) == 2 * len(data)
    assert (np.diff(timeline.times) >= 0).all()
    asked, known = timeline.positions(REQUEST), timeline.positions(TRUTH)
    assert set(asked) == set(known) == {id_.encode() for id_ in data["request_id"]}
    assert all(asked[key] < known[key] for key in asked)


@patient
@given(flights, st.data())
def test_an_event_is_the_same_however_the_timeline_is_cut(
    data: pd.DataFrame, draw: st.DataObject
) -> None:
    timeline = Timeline(TASK, data)
    cut = draw.draw(st.integers(0, len(timeline)))
    whole = timeline.encode(0, len(timeline))
    first, second = timeline.encode(0, cut), timeline.encode(cut, len(timeline) + 10)
    assert first.keys + second.keys == whole.keys
    assert first.values + second.values == whole.values
    assert first.kinds + second.kinds == whole.kinds


def test_a_record_says_what_the_flight_is_with_null_where_nothing_is_known() -> None:
    timeline = Timeline(TASK, frame([(10 * i, 5) for i in range(10)]))
    records = timeline.encode(0, len(timeline))
    requests = Codec(TASK.schemas()["request"])
    read = [
        requests.read(value)
        for kind, value in zip(records.kinds, records.values, strict=True)
        if kind == REQUEST
    ]
    assert read[0] == {
        "request_id": "flight-0",
        "event_time": int(START.timestamp() * 1000),
        "entity": None,
        "features": {"carrier": "UA", "departure": 0, "wind": 0.5, "weekend": True},
    }
    assert read[6]["features"]["departure"] is None
    assert read[9]["features"] == {
        "carrier": None,
        "departure": 9,
        "wind": None,
        "weekend": False,
    }
    truth = Codec(TASK.schemas()["truth"]).read(records.values[1])
    assert truth == {
        "request_id": "flight-0",
        "known_at": int(START.timestamp() * 1000) + 5 * 60_000,
        "truth": True,
        "source": "system",
        "selection_probability": None,
    }


def test_flights_that_cannot_be_replayed_are_refused() -> None:
    twice = frame([(0, 1), (0, 1)]).assign(request_id="one")
    with pytest.raises(ValueError, match="repeat"):
        Timeline(TASK, twice)
    with pytest.raises(ValueError, match="flight-1: known before it is asked"):
        Timeline(TASK, frame([(0, 1), (5, 0)]))


@pytest.mark.parametrize(
    ("every", "begins"), [(1, ["04-01", "05-01", "06-01"]), (2, ["05-01"]), (0, [])]
)
def test_months_begin_at_midnight_in_new_york(every: int, begins: list[str]) -> None:
    days = [(1440 * day, 60) for day in range(100)]  # to the 8th of June
    timeline = Timeline(TASK, frame(days))
    months = timeline.months(NEW_YORK, every)
    assert [moment.strftime("%m-%d") for _, moment in months] == begins
    for position, moment in months:
        assert timeline.times[position - 1] < moment.timestamp() * 1000
        assert timeline.times[position] >= moment.timestamp() * 1000


@patient
@given(flights, st.integers(1, 5), st.data())
def test_what_every_partition_holds_tells_what_is_missing(
    data: pd.DataFrame, partitions: int, draw: st.DataObject
) -> None:
    """Each partition holds some first part of its events; exactly the others are to be sent."""
    timeline = Timeline(TASK, data)
    there: set[int] = set()
    last = []
    for kind in (REQUEST, TRUTH):
        at = np.flatnonzero(timeline.kinds == kind)
        where = partitions_of([timeline.keys[timeline.rows[i]] for i in at], partitions)
        ends = []
        for number in range(partitions):
            mine = at[where == number].tolist()
            held = mine[: draw.draw(st.integers(0, len(mine)))]
            there |= set(held)
            ends.append(held[-1] if held else -1)
        last.append(ends)
    done = Published(timeline, last)
    assert {i for i in range(len(timeline)) if i in done} == there
    assert set(range(done.start)) <= there
    assert not [i for i in there if i >= done.stop]
