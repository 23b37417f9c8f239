"""Buckets of several partitions, where refused requests tell no event time."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.event_time import latest, to_number
from streams.volume.buckets import IDLE_MS, Buckets
from streams.volume.counts import BUCKET_MS

SOURCES = ("t/0", "t/1")
BATCHES = st.lists(
    st.tuples(
        st.sampled_from(SOURCES),
        st.integers(1, 9),  # refused, before the batch tells a time
        st.none() | st.integers(0, 40),  # the bucket that it tells
    ),
    min_size=1,
    max_size=30,
)


def add(buckets: Buckets, source: str, refused: int, bucket: int | None, at_ms: int) -> int:
    """A batch in which requests are refused before one is answered, if one is."""
    numbers = [to_number(None)] + ([] if bucket is None else [bucket])
    return buckets.add(
        source,
        None if bucket is None else bucket * BUCKET_MS,
        [""] * len(numbers),
        np.array(numbers, np.int64),
        np.array([refused, 1][: len(numbers)], np.int64),
        np.zeros(len(numbers), np.int64),
        at_ms,
    )


@given(BATCHES)
def test_refused_requests_count_when_their_source_was_or_else_at_its_first_time(
    batches: list[tuple[str, int, int | None]],
) -> None:
    buckets, expected = Buckets(SOURCES), Counter[int]()
    newest: dict[str, int | None] = dict.fromkeys(SOURCES)
    waiting = Counter[str]()
    for source, refused, bucket in batches:
        state = buckets.state()
        buckets = Buckets(SOURCES)
        buckets.restore(state)
        assert add(buckets, source, refused, bucket, 0) == 0
        waiting[source] += refused
        now = newest[source] if newest[source] is not None else bucket
        if now is not None:
            expected[now] += waiting.pop(source)
        if bucket is not None:
            expected[bucket] += 1
        newest[source] = latest(newest[source], bucket)
    found = {number: cells[""][0] for number, cells in buckets.state()["open"]}
    assert found == dict(expected)


def test_a_source_of_refused_requests_alone_is_not_waited_for_and_never_late() -> None:
    buckets = Buckets(SOURCES)
    over, counted = [], 0
    for step in range(10):
        at_ms = step * IDLE_MS // 2
        assert add(buckets, "t/0", 1, step, at_ms) == 0
        assert add(buckets, "t/1", 5, 0 if step == 0 else None, at_ms) == 0
        for bucket, _, requests, _ in buckets.over(at_ms):
            over.append(bucket)
            counted += int(requests.sum())
    assert over[-1] == 8
    waiting = sum(cells[""][0] for _, cells in buckets.state()["open"])
    assert counted + waiting == 10 * (1 + 1) + 10 * 5 + 1  # one of t/1 is answered
