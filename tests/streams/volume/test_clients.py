"""The busiest clients are remembered, in bounded memory."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.volume.clients import Clients

BUCKETS = st.lists(
    st.dictionaries(st.sampled_from("abcdefghij"), st.integers(1, 9), max_size=10), max_size=30
)


@given(BUCKETS, st.integers(1, 8))
def test_a_client_with_more_than_its_share_is_always_remembered(
    buckets: list[dict[str, int]], most: int
) -> None:
    """Space-saving: who has more than n / m of n requests is in a table of m (one bucket at a
    time here, whose clients all find room)."""
    clients, total = Clients(most), Counter[str]()
    for bucket in buckets:
        for name, n in bucket.items():
            clients.rows([name], np.array([n]), ())
            total[name] += n
    remembered = {clients.name(row) for row in range(1, len(clients) + 1)}
    assert len(remembered) == len(clients) <= most
    for name, n in total.items():
        if n > total.total() / most:
            assert name in remembered


@given(BUCKETS, st.integers(1, 8))
def test_rows_are_told_apart_and_a_new_one_begins_without_a_history(
    buckets: list[dict[str, int]], most: int
) -> None:
    clients = Clients(most)
    for bucket in buckets:
        before = {clients.name(row) for row in range(1, len(clients) + 1)}
        rows = clients.rows(list(bucket), np.array(list(bucket.values()), np.int64), ())
        known = rows[rows >= 0]
        assert len(set(known.tolist())) == len(known)
        assert 0 not in known
        assert len(known) == min(most, len(bucket))
        for name, row in zip(bucket, rows.tolist(), strict=True):
            if row >= 0:
                assert clients.name(row) == name
                if name not in before:
                    assert clients.column("requests")[row] == 0
                clients.column("requests")[row] += 1


def test_those_to_be_kept_stay() -> None:
    clients = Clients(2)
    clients.rows(["a", "b"], np.array([1, 5]), ())
    (row,) = clients.rows(["c"], np.array([1]), ("a",))
    assert {clients.name(1), clients.name(2)} == {"a", "c"}
    assert clients.rows(["d"], np.array([1]), ("a", "c")).tolist() == [-1]
    assert clients.name(row) == "c"


@given(BUCKETS)
def test_what_is_saved_is_what_goes_on(buckets: list[dict[str, int]]) -> None:
    one, two = Clients(4), Clients(4)
    for bucket in buckets:
        names, n = list(bucket), np.array(list(bucket.values()), np.int64)
        two.restore(*two.state())
        assert one.rows(names, n, ()).tolist() == two.rows(names, n, ()).tolist()
    assert one.state()[0] == two.state()[0]
