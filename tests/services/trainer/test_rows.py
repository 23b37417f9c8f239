"""What an event is trained on, as far as the history goes; tests/system has ClickHouse."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from services.trainer.events import Event, first_event
from services.trainer.rows import collect, query, weighed
from services.trainer.snapshot import Stopped
from streams.task import Task, Training, WeakLabels
from streams.training.errors import DataError
from tests.small_tasks import TUMOUR, tumour_task, tumours

NOBODY = {"host": "127.0.0.1", "port": 1}


def _with(event: Event, changes: dict[str, Any]) -> Event:
    fields = {name: getattr(event, name) for name in Event.__dataclass_fields__}
    return Event(**(fields | changes))


def millis(row: int) -> int:
    return int(tumours()["event_time"][row].timestamp() * 1000)


def with_history(history: Callable[[], pd.DataFrame]) -> Task:
    return tumour_task(history=history)


def test_a_first_version_learns_from_the_history_alone_without_clickhouse() -> None:
    rows = collect(TUMOUR, first_event(TUMOUR, 0), NOBODY, (), threading.Event())
    assert len(rows) == 569
    assert set(rows) == {"request_id", "event_time", "benign", *(f.name for f in TUMOUR.features)}


def test_the_bounds_of_an_event_take_their_start_and_leave_their_end() -> None:
    event = _with(first_event(TUMOUR, 0), {"data_from": millis(100), "data_to": millis(400)})
    rows = collect(TUMOUR, event, NOBODY, (), threading.Event())
    assert rows["request_id"].tolist() == [f"row-{i:04}" for i in range(100, 400)]


def test_a_history_without_request_ids_is_taken_as_it_is() -> None:
    task = with_history(lambda: tumours().drop(columns="request_id"))
    rows = collect(task, first_event(task, 0), NOBODY, (), threading.Event())
    assert len(rows) == 569
    assert "request_id" not in rows


def test_a_request_that_the_history_holds_twice_counts_once() -> None:
    task = with_history(lambda: pd.concat([tumours(), tumours()]))
    assert len(collect(task, first_event(task, 0), NOBODY, (), threading.Event())) == 569


@pytest.mark.parametrize(
    ("history", "says"),
    [
        (lambda: tumours().head(0), "there are no rows for event first-"),
        (lambda: tumours().drop(columns="event_time"), "history has no column 'event_time'"),
    ],
)
def test_where_there_are_no_rows_the_reason_is_told(
    history: Callable[[], pd.DataFrame], says: str
) -> None:
    task = with_history(history)
    with pytest.raises(DataError, match=says):
        collect(task, first_event(task, 0), NOBODY, (), threading.Event())


def test_waiting_for_clickhouse_ends_when_the_trainer_does() -> None:
    stop = threading.Event()
    stop.set()
    event = _with(first_event(TUMOUR, 0), {"trigger": "manual"})
    with pytest.raises(Stopped):
        collect(TUMOUR, event, NOBODY, (0,), stop)


def test_the_first_events_id_is_that_of_the_declaration() -> None:
    assert first_event(TUMOUR, 1).event_id == first_event(tumour_task(), 2).event_id
    assert first_event(tumour_task(seed=1), 1).event_id != first_event(TUMOUR, 1).event_id


def test_the_query_names_every_feature_by_its_own_name() -> None:
    text = query(TUMOUR)
    for feature in TUMOUR.features:
        assert f"`features.{feature.name}` AS `{feature.name}`" in text
    assert "truth AS `benign`" in text


def outcomes_of(**columns: list[Any]) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    nothing: dict[str, Any] = {
        "_weak": 0,  # as ClickHouse gives a comparison
        "_worth": 1.0,
        "_source": "system",
        "_propensity": float("nan"),
        "_held_back": 0,
        "_explored": False,
        "_model_propensity": float("nan"),
        "_selection": float("nan"),
    }
    return pd.DataFrame({"radius": [1.0] * n, **{k: [v] * n for k, v in nothing.items()}} | columns)


def test_outcomes_say_what_they_stand_for_and_what_their_labels_are_worth() -> None:
    task = tumour_task(exploration=0.02, training=Training(truths_of="answered"))
    table = outcomes_of(
        _weak=[0, 1, 1, 0],
        _worth=[1.0, 0.3, 0.0, 1.0],  # the third was taken back
        _source=["system", "signals", "signals", "system"],
        _propensity=[float("nan"), 0.5, 0.5, float("nan")],
        _held_back=[0, 0, 0, 1],
        _explored=[False, False, False, True],
        _model_propensity=[1.0, 1.0, 1.0, 0.02],
    )
    found = weighed(task, table)
    assert set(found) == {"radius", "_weak", "_worth", "_stands_for"}
    assert found["_weak"].tolist() == [False, True, False]
    assert found["_worth"].tolist() == [1.0, 0.3, 1.0]
    assert found["_stands_for"].tolist() == [1.0, 2.0, 50.0]


def test_an_outcome_that_was_shown_with_no_probability_is_refused() -> None:
    table = outcomes_of(_source=["user"], _propensity=[1.5])
    with pytest.raises(DataError, match="cannot be weighed: a propensity is a probability"):
        weighed(TUMOUR, table)


def test_weak_outcomes_are_asked_for_only_where_the_task_learns_from_them() -> None:
    assert "label != 'weak'" in query(TUMOUR)
    weak = WeakLabels(session=timedelta(hours=1))
    task = tumour_task(
        signals=["impression", "click"],
        weak_labels=weak,
        training=Training(weak_labels="where_missing"),
    )
    assert "label != 'weak'" not in query(task)
