"""How far the sink is with the offsets that an event names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.snapshot import missing

OFFSETS = st.lists(st.integers(0, 20), max_size=4)


@pytest.mark.parametrize(
    ("ends", "held", "passed", "left"),
    [
        ([], {}, [], 0),
        ([0, 0], {}, [], 0),
        ([5], {}, [], 5),
        ([5], {0: 4}, [], 0),
        ([5], {0: 3}, [], 1),  # a record, or the mark of a transaction's end: the table cannot say
        ([5], {0: 3}, [5], 0),
        ([5, 9], {0: 9, 1: 3}, [0, 6], 3),
        ([5, 9], {1: 8}, [5], 0),
    ],
)
def test_an_offset_is_done_with_where_a_row_or_the_sink_is_past_it(
    ends: list[int], held: dict[int, int], passed: list[int], left: int
) -> None:
    assert missing(ends, held, passed) == left


@given(OFFSETS, st.dictionaries(st.integers(0, 3), st.integers(0, 20)), OFFSETS)
def test_nothing_is_missing_only_where_every_partition_is_past_its_end(
    ends: list[int], held: dict[int, int], passed: list[int]
) -> None:
    def past(partition: int, end: int) -> bool:
        by_rows = held.get(partition, -1) >= end - 1
        return by_rows or (partition < len(passed) and passed[partition] >= end)

    assert (missing(ends, held, passed) == 0) == all(past(p, e) for p, e in enumerate(ends))
