"""The last N outcomes: bounded, and the same whatever order and batches they came in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import Column, Columns
from streams.last import LastOutcomes, fields_of, newest_of, rows_of, width
from streams.task import LastN, TaskError
from tests.streams.tasks import HORIZON, task_of

WHO = ("v1", "champion")


def columns_of(orders: list[tuple[int, str]]) -> Columns:
    ids = np.empty(len(orders), object)
    ids[:] = [id_ for _, id_ in orders]
    return {
        "event_time": Column(np.array([time for time, _ in orders], np.int64)),
        "request_id": Column(ids),
    }


ids = st.text(alphabet="abc", min_size=1, max_size=2)
ORDERS = st.lists(st.tuples(st.integers(0, 5), ids), min_size=1, max_size=40)


@given(ORDERS, st.integers(1, 8))
def test_a_batch_carries_its_newest_requests_and_all_that_is_said_of_them(
    orders: list[tuple[int, str]], n: int
) -> None:
    rows = newest_of(columns_of(orders), np.arange(len(orders)), n)
    newest = set(sorted(set(orders))[-n:])
    assert {orders[row] for row in rows} >= newest
    if len(orders) > n:
        assert [row for row, order in enumerate(orders) if order in newest] == rows.tolist()


@given(ORDERS, st.integers(1, 6), st.randoms(use_true_random=False))
def test_neither_order_nor_what_has_left_matters(
    orders: list[tuple[int, str]], n: int, random: Any
) -> None:
    """Each pane here is one unit of time; the panes leave one by one, oldest first."""
    wanted = sorted(set(orders))
    orders = list(set(orders))
    random.shuffle(orders)
    last = LastOutcomes(n)
    for time, id_ in orders:
        last.add(time, WHO, {(time, id_): (float(time),)})
    for left in range(6):
        for end in range(left + 1, 7):
            before = [order for order in wanted if order[0] < end][-n:]
            _, since, said = last.before(end, WHO, n)
            assert since == (before[0][0] if before else None)
            assert sorted(said) == [(float(time),) for time, _ in before]
        assert all(len(kept.rows) <= n for _, kept in last.leave(left))


def test_a_correction_replaces_what_was_said_and_moves_nothing() -> None:
    last = LastOutcomes(2)
    for i in range(3):
        last.add(0, WHO, {(i, "a"): (0.0,)})
    last.add(0, WHO, {(1, "a"): (1.0,)})
    assert last.before(10, WHO, 2)[1:] == (1, [(0.0,), (1.0,)])
    last.add(0, WHO, {(0, "a"): (9.0,)})  # of one that has been pushed out
    changes, since, said = last.before(10, WHO, 2)
    assert (changes, since, said) == (5, 1, [(0.0,), (1.0,)])


def test_a_task_says_how_many() -> None:
    assert LastN(500).name == "last_500_1d"
    for n in (1, 1_000_000):
        with pytest.raises(TaskError, match=f"window of the last {n} outcomes"):
            task_of("binary", windows=[LastN(n)], horizon=HORIZON)


def test_segments_that_every_task_has_cannot_be_declared() -> None:
    with pytest.raises(TaskError, match="segment 'source': every task has one"):
        task_of("binary", segments=["source"])


def test_a_tally_whose_parts_do_not_fit_is_refused() -> None:
    task = task_of("binary")
    fields = fields_of({(1, "a"): (0.0,) * width(task)})
    assert rows_of(task, fields) == {(1, "a"): (0.0, 0.0, 0.0)}
    with pytest.raises(ValueError, match="2 numbers tell of 1 outcomes, not 3 of each"):
        rows_of(task, {**fields, "last_said": [0.0, 1.0]})
