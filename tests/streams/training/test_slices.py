"""Slices: what is clearly worse is named, what chance makes of them is not."""

from __future__ import annotations

import numpy as np
import pandas as pd

from streams.task import Comparison, Training
from streams.training.slices import slices, worst_first
from tests.streams.tasks import task_of

COLOURS = ["red", "green", "blue"]


def frame(n: int, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    codes = draw.integers(-1, 3, n)  # some are null
    return pd.DataFrame(
        {
            "fresh": draw.choice([0.0, 1.0, np.nan], n),
            "colour": pd.Categorical.from_codes(codes, categories=pd.Index(COLOURS, dtype=object)),
        }
    )


def test_the_segment_that_got_worse_is_named() -> None:
    task, rows = task_of(), frame(900)
    draw = np.random.default_rng(1)
    theirs = draw.exponential(0.5, len(rows))
    mine = theirs * 0.8  # better by far ...
    blue = (rows["colour"] == "blue").to_numpy()
    mine[blue] = theirs[blue] + draw.exponential(0.2, blue.sum())  # ... but not everywhere
    found = slices(task, rows, mine, theirs, None)
    assert mine.mean() < theirs.mean()
    assert {(one.segment, one.value) for one in found} == {
        *(("colour", colour) for colour in COLOURS),
        ("fresh", "true"),
        ("fresh", "false"),
    }
    (worse,) = worst_first(found)
    assert (worse.segment, worse.value, worse.rows) == ("colour", "blue", blue.sum())
    assert worse.loss > worse.champion_loss
    assert 0 < worse.low < worse.difference
    assert worse.p <= worse.adjusted_p < 0.05


def test_a_slice_of_few_rows_is_not_judged() -> None:
    rows = frame(900)
    rows.loc[rows["colour"] == "blue", "colour"] = "red"
    rows.loc[:48, "colour"] = "blue"
    loss = np.random.default_rng(1).random(900)
    assert ("colour", "blue") not in {
        (one.segment, one.value) for one in slices(task_of(), rows, loss, loss, None)
    }
    wider = task_of(training=Training(comparison=Comparison(segment_rows=40)))
    assert ("colour", "blue") in {
        (one.segment, one.value) for one in slices(wider, rows, loss, loss, None)
    }


def test_by_chance_no_slice_is_found_oftener_than_it_says() -> None:
    # All slices are at the margin itself: of 300 comparisons, each of five slices, more than 5 % +
    # 3.7 standard errors would be found in one of ten thousand cases. The seeds are fixed.
    task = task_of(training=Training(comparison=Comparison(segment_margin=0.0)))
    found = 0
    for seed in range(300):
        draw = np.random.default_rng(seed)
        rows = frame(600, seed)
        theirs = draw.exponential(0.5, 600)
        mine = theirs + draw.normal(0, 0.3, 600)
        found += bool(worst_first(slices(task, rows, mine, theirs, None)))
    assert found / 300 <= 0.097


def test_rows_count_by_their_weights() -> None:
    rows = frame(900)
    draw = np.random.default_rng(1)
    theirs = draw.exponential(0.5, 900)
    rare = np.arange(900) % 3 == 0
    mine = np.where(rare, theirs + 1.0, theirs - 0.2)  # worse on few rows that stand for many
    weight = np.where(rare, 20.0, 1.0)
    by_weight = slices(task_of(), rows, mine, theirs, weight)
    assert all(one.worse for one in by_weight)
    blue = next(one for one in by_weight if one.value == "blue")
    where = (rows["colour"] == "blue").to_numpy()
    assert blue.loss == np.average(mine[where], weights=weight[where])
    lighter = slices(task_of(), rows, mine, theirs, np.where(rare, 0.01, 1.0))
    assert not worst_first(lighter)


def test_a_task_without_segments_has_no_slices() -> None:
    loss = np.ones(900)
    assert slices(task_of(segments=[]), frame(900), loss, loss, None) == []
