"""Faded means do not depend on how outcomes came in batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.continual.prequential import Faded


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40), st.integers(1, 50), st.integers(0, 40))
def test_the_mean_is_weighted_by_age_whatever_the_batches(
    losses: list[float], window: int, cut: int
) -> None:
    whole, parts = Faded(window), Faded(window)
    whole.add({"a": np.array(losses)})
    for part in (losses[:cut], losses[cut:]):
        if part:
            parts.add({"a": np.array(part)})
    weights = np.exp(-np.arange(len(losses) - 1, -1, -1) / window)
    expected = np.average(losses, weights=weights)
    assert whole.means()["a"] == pytest.approx(expected)
    assert parts.means()["a"] == pytest.approx(expected)
    assert parts.outcomes == len(losses)
    again = Faded.of_plain(window, parts.plain())
    assert again == parts
