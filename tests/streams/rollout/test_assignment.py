"""Who answers a request: by chance, for ever the same, and moving no more than it must."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.rollout.assignment import drawn

KEYS = [f"request-{i}" for i in range(20_000)]
ids = st.lists(st.text(min_size=1, max_size=20), max_size=30)


def test_each_version_gets_its_share() -> None:
    shares = {"v1": 0.7, "v2": 0.2, "v3": 0.1}
    got = np.bincount(drawn(KEYS, "e", shares), minlength=3) / len(KEYS)
    # Keys and hash are fixed: this is no draw. 0.01 is three standard errors.
    assert np.abs(got - list(shares.values())).max() < 0.01


def test_experiments_draw_independently() -> None:
    halves = {"v1": 0.5, "v2": 0.5}
    one, other = (drawn(KEYS, experiment, halves) for experiment in ("a", "b"))
    assert abs(float(np.corrcoef(one, other)[0, 1])) < 0.03


@given(ids, st.floats(0.01, 0.99))
@settings(max_examples=50)
def test_a_request_keeps_its_version_whatever_comes_with_it(keys: list[str], share: float) -> None:
    shares = {"v1": 1 - share, "v2": share}
    together = drawn(keys, "e", shares).tolist()
    alone = [int(drawn([key], "e", shares)[0]) for key in keys]
    turned = [1 - v for v in drawn(keys, "e", {"v2": share, "v1": 1 - share}).tolist()]
    assert together == alone == turned


@given(st.floats(0.01, 0.5), st.floats(0.01, 0.49))
@settings(max_examples=30)
def test_where_a_share_grows_nobody_leaves_it(first: float, more: float) -> None:
    keys = KEYS[:500]
    before = drawn(keys, "e", {"v1": 1 - first, "v2": first})
    after = drawn(keys, "e", {"v1": 1 - first - more, "v2": first + more})
    assert (after[before == 1] == 1).all()


def test_a_version_without_a_share_gets_nothing() -> None:
    assert not drawn(KEYS, "e", {"v1": 1.0, "v2": 0.0}).any()
    assert len(drawn([], "e", {"v1": 1.0})) == 0
