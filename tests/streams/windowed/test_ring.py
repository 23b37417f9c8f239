"""The ring of the features' topic: whatever compaction removed, a reader has every sum."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.windowed import ring
from streams.windowed.table import Table
from tests.streams.tasks import START
from tests.streams.windowed.counting import MINUTE_MS, Counting, asked, feed, known

SHOPS = [f"s{i}" for i in range(12)]
few = st.integers(1, 12)


def small(homes: int) -> Any:
    """A ring that a test goes round."""
    return patch.multiple(ring, REFRESHED=homes, SLOTS=2 * homes)


@given(st.integers(0, 10**12), few)
def test_a_slot_is_of_the_batchs_own_numbers_and_the_roundest(first: int, length: int) -> None:
    numbers = range(first + 1, first + length + 1)
    roundest = max(numbers, key=lambda number: number & -number)
    assert ring.slot(first, first + length) == roundest % ring.SLOTS


@given(st.integers(0, 10**12), st.integers(0, 3 * ring.REFRESHED))
def test_a_batch_passes_a_home_for_each_number(first: int, length: int) -> None:
    homes = [home for low, high in ring.passed(first, first + length) for home in range(low, high)]
    numbers = range(first + 1, first + min(length, ring.REFRESHED) + 1)
    assert sorted(homes) == sorted(number % ring.REFRESHED for number in numbers)


def test_a_batch_of_many_records_uses_few_slots() -> None:
    ends = range(0, 100 * ring.SLOTS, 37)
    slots = {ring.slot(first, end) for first, end in pairwise(ends)}
    assert len(slots) <= ring.SLOTS / 16


@settings(max_examples=300)
@given(
    st.integers(1, 6),
    st.lists(st.tuples(few, st.sets(st.integers(0, 20), max_size=4)), min_size=1, max_size=60),
    st.integers(0, 10_000),
)
def test_what_compaction_leaves_holds_the_newest_of_every_sum(
    homes: int, batches: list[tuple[int, set[int]]], first: int
) -> None:
    """Sums here are the numbers of their last change; homes are given, the worst included."""
    with small(homes):
        newest: dict[int, int] = {}
        kept: dict[int, tuple[int, dict[int, int]]] = {}
        for at, (length, changed) in enumerate(batches):
            end = first + length
            newest |= dict.fromkeys(changed, at)
            passed = [h for low, high in ring.passed(first, end) for h in range(low, high)]
            again = {one: newest[one] for one in newest if one % homes in passed}
            kept[ring.slot(first, end)] = (at, again | dict.fromkeys(changed, at))
            first = end
            read: dict[int, int] = {}
            for _, held in sorted(kept.values(), key=lambda record: record[0]):
                read |= held
            assert read == newest


steps = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from([("outcomes", 0), ("outcomes", 1), ("predictions", 0)]),
            st.lists(
                st.tuples(st.sampled_from(SHOPS), st.integers(0, 50), st.booleans()),
                min_size=1,
                max_size=3,
            ),
            st.integers(0, 2),
        ),
        st.sampled_from(["restart", "lose the disk", "write no more"]),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(1, 8), st.integers(0, 100))
def test_a_reader_that_starts_late_knows_what_one_that_was_there_knows(
    given_steps: list[Any], homes: int, start: int
) -> None:
    requests = [asked(START + 3_600_000, features={"shop": shop}) for shop in SHOPS]
    with tempfile.TemporaryDirectory() as folder, small(homes):
        counting = Counting(Path(folder))
        for number, step in enumerate(given_steps):
            if step == "restart":
                counting.restart()
            elif step == "lose the disk":
                counting.folder = Path(folder) / str(number)
                counting.restart()
            elif step == "write no more":
                counting.writes = False
            else:
                (topic, partition), drawn, markers = step
                make = known if topic == "outcomes" else asked
                records = [
                    make(START + minute * MINUTE_MS, features={"shop": shop})
                    if topic == "predictions"
                    else known(START + minute * MINUTE_MS, truth, features={"shop": shop})
                    for shop, minute, truth in drawn
                ]
                counting.take(topic, partition, records)
                counting.gaps[topic, partition] = counting.gaps.get((topic, partition), 0) + markers
        whole, compacted = counting.table(), counting.table(compacted=True)
        # One that reads a part before compaction, and the rest as compaction left it.
        part = Table(counting.definition)
        feed(part, counting, counting.outputs[:start])
        feed(part, counting, counting.outputs, compacted=True)
        wanted = whole.snapshot()
        for table in (compacted, part):
            found = table.snapshot()
            assert found.as_of == wanted.as_of
            assert found.reached == wanted.reached
            assert counting.values(found, requests) == counting.values(wanted, requests)
        counting.stores.close()
