from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.bends import KNOTS, Bends

numbers = st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=40)


@given(numbers, numbers)
def test_columns_are_shares_and_grow_with_the_number(
    known: list[float], asked: list[float]
) -> None:
    bends = Bends().fit(np.array(known)[:, None])
    asked_of = np.sort(np.array(asked))
    found = bends.transform(asked_of[:, None])
    across, missing = found[:, :-1], found[:, -1]
    assert across.shape[1] == len(KNOTS) - 1
    assert ((across >= 0) & (across <= 1)).all()
    assert (missing == np.isnan(asked_of)).all()
    there = across[~np.isnan(asked_of)]
    assert (np.diff(there, axis=0) >= -1e-9).all()


def test_beyond_the_outer_knots_nothing_changes() -> None:
    bends = Bends().fit(np.arange(1000.0)[:, None])
    low, high = bends.transform(np.array([[-5.0], [-5000.0]])), bends.transform([[999.0], [1e9]])
    np.testing.assert_array_equal(low[0], low[1])
    np.testing.assert_array_equal(high[0], high[1])
    assert low[0].sum() == 0
    assert high[0].sum() == len(KNOTS) - 1


def test_a_column_of_one_number_or_of_none_gives_zeros() -> None:
    bends = Bends().fit(np.column_stack([np.full(9, 3.0), np.full(9, np.nan)]))
    found = bends.transform(np.array([[3.0, 1.0], [7.0, np.nan]]))
    assert found[:, :-2].sum() == 0
    np.testing.assert_array_equal(found[:, -2:], [[0, 0], [0, 1]])
