"""Ranges counted at once are what counting each gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.verify.dominance import Dominance


@given(st.data())
def test_a_range_has_what_came_before(data: st.DataObject) -> None:
    records = data.draw(st.lists(st.tuples(st.integers(0, 40), st.integers(-9, 9)), max_size=40))
    place = st.integers(0, len(records))
    asked = data.draw(st.lists(st.tuples(place, place, st.integers(-1, 42)), max_size=20))
    offsets = np.array([offset for offset, _ in records], np.int64)
    units = np.array([unit for _, unit in records], np.int64)
    low = np.array([min(a, b) for a, b, _ in asked], np.int64)
    high = np.array([max(a, b) for a, b, _ in asked], np.int64)
    limit = np.array([offset for _, _, offset in asked], np.int64)
    count, total = Dominance(offsets, units).before(low, high, limit)
    for i in range(len(asked)):
        had = offsets[low[i] : high[i]] < limit[i]
        assert count[i] == had.sum()
        assert total[i] == units[low[i] : high[i]][had].sum()
