"""A version that remembers answers as the version itself does."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.cache import LOOKED_UP, CachedVersion
from streams.frame import columns_of
from streams.version import Version
from tests.streams.tasks import KINDS, task_of
from tests.streams.versions import version_of

ROW = st.fixed_dictionaries(
    {
        "size": st.sampled_from([0.0, 12.5, 60.0, 99.0]),
        "age": st.sampled_from([None, 0, 41]),
        "fresh": st.sampled_from([None, True, False]),
        "colour": st.sampled_from([None, "red", "blue", "mauve"]),
        "shop": st.sampled_from(["x", "y"]),
    }
)
BATCHES = st.lists(st.lists(ROW, min_size=1, max_size=12), min_size=1, max_size=6)


@lru_cache
def plain(kind: str) -> Version:
    return version_of(task_of(kind))


def frame_of(version: Version, rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(
        {name: pd.Series([r[name] for r in rows], dtype=object) for name in rows[0]}
    )
    return version.frame(columns_of(version.task.features, table))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(batches=BATCHES, entries=st.sampled_from([1, 3, 1000]))
def test_answers_are_those_of_the_version(
    kind: str, batches: list[list[dict[str, Any]]], entries: int
) -> None:
    version = plain(kind)
    cached = CachedVersion(version, entries)
    for rows in batches:
        frame = frame_of(version, rows)
        np.testing.assert_array_equal(cached.gate_scores(frame), version.gate_scores(frame))
        ours, theirs = cached.predict(frame), version.predict(frame)
        assert ours.answer.dtype == theirs.answer.dtype
        np.testing.assert_array_equal(ours.answer, theirs.answer)
        for mine, its in (
            (ours.probability, theirs.probability),
            (ours.probabilities, theirs.probabilities),
        ):
            assert (mine is None) == (its is None)
            if mine is not None:
                np.testing.assert_array_equal(mine, its)


def test_what_was_asked_before_is_not_asked_again() -> None:
    version = plain("binary")
    asked: list[int] = []

    class Counting:
        classes_ = version.model.classes_

        def predict_proba(self, frame: pd.DataFrame) -> Any:
            asked.append(len(frame))
            return version.model.predict_proba(frame)

    cached = CachedVersion(version_of(version.task, model=Counting(), gated=False), 100)
    rows = [
        {"size": float(size), "age": 1, "fresh": True, "colour": "red", "shop": "x"}
        for size in range(10)
    ]
    before = LOOKED_UP.labels("model", "hit")._value.get()
    cached.predict(frame_of(version, rows[:6]))
    cached.predict(frame_of(version, rows[:6]))
    cached.predict(frame_of(version, rows))
    assert asked == [6, 4]
    assert LOOKED_UP.labels("model", "hit")._value.get() - before == 12
    assert cached.gate_scores(frame_of(version, rows)) is None


def test_only_the_last_inputs_are_kept() -> None:
    cached = CachedVersion(plain("regression"), 4)
    rows = [
        {"size": float(size), "age": 1, "fresh": True, "colour": "red", "shop": "x"}
        for size in range(10)
    ]
    cached.predict(frame_of(cached, rows))
    assert len(cached._known) == 4
