"""Numbers counted together are what each counted by itself gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import Column
from streams.drift.numbers import Numbers
from streams.drift.reference import Block

FLOATS = st.floats(-1e6, 1e6) | st.sampled_from([float("nan"), float("inf"), float("-inf")])


def block(name: str, edges: list[float], kind: str = "data") -> Block:
    bins = len(edges) + 1
    return Block(
        kind,
        name,
        f"features.{name}",
        None,
        np.array(edges),
        np.full(bins, 1 / bins),
        0.0,
        100,
        low=-50.0,
        high=50.0,
        clip=(-100.0, 100.0),
    )


@given(
    st.lists(st.lists(st.floats(-60, 60), unique=True, max_size=9), min_size=1, max_size=4),
    st.lists(st.tuples(*4 * [FLOATS], st.integers(0, 15), st.booleans()), max_size=20),
)
def test_together_is_one_by_one(
    edges: list[list[float]], rows: list[tuple[float, float, float, float, int, bool]]
) -> None:
    names = Block("data", "c", "features.c", ("x",), np.zeros(0), np.ones(1), 0.0, 100)
    blocks = [block(f"n{i}", sorted(given)) for i, given in enumerate(edges)]
    blocks = [names, *blocks, block("score", [0.5], kind="score")]
    starts = np.cumsum([0, *(one.width for one in blocks)]).tolist()
    columns = {}
    for i in range(len(edges)):
        values = np.array([row[i] for row in rows], np.float64)
        valid = np.array([bool(row[4] >> i & 1) for row in rows], bool)
        columns[f"features.n{i}"] = Column(values, None if valid.all() else valid)
    chosen = np.flatnonzero([row[5] for row in rows])

    cells = np.zeros(starts[-1], np.int64)
    wild, totals = np.zeros(len(blocks), np.int64), np.zeros(len(blocks))
    numbers = Numbers(blocks, starts)
    numbers.count(columns, chosen, cells, wild, totals)

    assert numbers.at == list(range(1, len(edges) + 1))
    expected = np.zeros_like(cells)
    for at in numbers.at:
        column = columns[blocks[at].path].take(chosen)
        there = ~np.isnan(column.values)
        there &= True if column.valid is None else column.valid
        expected[starts[at] : starts[at + 1]] = blocks[at].count(column.values, there)
        present = column.values[there]
        assert wild[at] == np.count_nonzero(np.abs(present) > 50)
        np.testing.assert_allclose(totals[at], np.clip(present, -100, 100).sum(), atol=1e-9)
    np.testing.assert_array_equal(cells, expected)
