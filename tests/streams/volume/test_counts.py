"""Counts by client and bucket."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import Column, Columns
from streams.event_time import from_number, latest
from streams.volume.counts import BUCKET_MS, count

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "", None]),
        st.integers(-50_000, 50_000),
        st.sampled_from(["admit", "defer", "explore", "none"]),
        st.sampled_from([None, None, None, "invalid: size is nan", "throttled: send again"]),
    ),
    min_size=1,
    max_size=60,
)


def columns(rows: list[tuple[str | None, int, str, str | None]]) -> Columns:
    entities, reasons = np.empty(len(rows), object), np.empty(len(rows), object)
    entities[:] = [entity for entity, *_ in rows]
    reasons[:] = [reason for *_, reason in rows]
    there = np.array([reason is not None for reason in reasons], bool)
    return {
        "entity": Column(entities, np.array([entity is not None for entity in entities], bool)),
        "event_time": Column(np.array([time for _, time, *_ in rows], np.int64)),
        "gate_decision": Column(np.array([decision for *_, decision, _ in rows], object)),
        "status": Column(np.where(there, "rejected", "answered").astype(object)),
        "reason": Column(reasons, there),
    }


@given(ROWS)
def test_each_request_counts_once_for_its_client_and_at_no_time_but_one_that_is_known(
    rows: list[tuple[str | None, int, str, str | None]],
) -> None:
    found = count(columns(rows))
    assert found is not None
    requests, held = Counter[tuple[str, int | None]](), Counter[tuple[str, int | None]]()
    newest = None
    for entity, time, decision, reason in rows:
        if reason is None or reason.startswith("throttled"):
            newest = latest(newest, time)
        bucket = None if newest is None else newest // BUCKET_MS
        requests[entity or "", bucket] += 1
        held[entity or "", bucket] += decision in ("defer", "explore")
    keys = list(zip(found.clients, map(from_number, found.buckets.tolist()), strict=True))
    assert len(set(keys)) == len(keys)
    assert dict(zip(keys, found.requests.tolist(), strict=True)) == requests
    assert dict(zip(keys, found.held.tolist(), strict=True)) == dict(held)
    assert found.newest == newest


def test_requests_that_name_no_client_count_together() -> None:
    found = count(columns([(None, 1, "admit", None), (None, 2, "defer", None)]))
    assert found is not None
    assert (found.clients, found.requests.tolist(), found.held.tolist()) == ([""], [2], [1])
    assert count(columns([])) is None
