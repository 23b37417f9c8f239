"""Counts by client and bucket."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import Column, Columns
from streams.volume.counts import BUCKET_MS, count

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "", None]),
        st.integers(-50_000, 50_000),
        st.sampled_from(["admit", "defer", "explore", "none"]),
    ),
    min_size=1,
    max_size=60,
)


def columns(rows: list[tuple[str | None, int, str]]) -> Columns:
    entities = np.empty(len(rows), object)
    entities[:] = [entity for entity, _, _ in rows]
    return {
        "entity": Column(entities, np.array([entity is not None for entity in entities], bool)),
        "event_time": Column(np.array([time for _, time, _ in rows], np.int64)),
        "gate_decision": Column(np.array([decision for _, _, decision in rows], object)),
    }


@given(ROWS)
def test_each_request_counts_once_for_its_client_and_never_in_the_past(
    rows: list[tuple[str | None, int, str]],
) -> None:
    found = count(columns(rows))
    assert found is not None
    requests, held = Counter[tuple[str, int]](), Counter[tuple[str, int]]()
    newest = rows[0][1]
    for entity, time, decision in rows:
        newest = max(newest, time)
        requests[entity or "", newest // BUCKET_MS] += 1
        held[entity or "", newest // BUCKET_MS] += decision in ("defer", "explore")
    keys = list(zip(found.clients, found.buckets.tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    assert dict(zip(keys, found.requests.tolist(), strict=True)) == requests
    assert dict(zip(keys, found.held.tolist(), strict=True)) == dict(held)
    assert found.newest == newest


def test_requests_that_name_no_client_count_together() -> None:
    found = count(columns([(None, 1, "admit"), (None, 2, "defer")]))
    assert found is not None
    assert (found.clients, found.requests.tolist(), found.held.tolist()) == ([""], [2], [1])
    assert count(columns([])) is None
