"""What the evaluation of the verdict's test draws, and that it draws the same again."""

from __future__ import annotations

import numpy as np
import pytest

from services.evaluate import judging
from services.evaluate.judging import TESTS, Losses, accepted, drawn, levels, made_up


def real(n: int = 4000, per_day: int = 200) -> Losses:
    """Days that differ from each other more than their rows do."""
    draw = np.random.default_rng(1)
    day = np.arange(n) // per_day
    return Losses(draw.normal(size=n) + draw.normal(size=day[-1] + 1)[day], 1.0, day)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "ROWS", {"made up": (300,), "flights": (2000,)})
    monkeypatch.setattr(judging, "JUDGED", (500,))
    monkeypatch.setattr(judging, "RESAMPLES", 20)


def test_a_coin_a_day_keeps_what_the_rows_of_a_day_have_in_common() -> None:
    losses = real()
    rows = drawn(losses, 2000, np.random.default_rng(2))
    at = next(
        i for i in range(2001) if np.array_equal(np.abs(losses.apart[i : i + 2000]), abs(rows))
    )
    signs = rows / losses.apart[at : at + 2000]
    for day in np.unique(losses.day[at : at + 2000]):
        assert len(set(signs[losses.day[at : at + 2000] == day])) == 1
    assert set(signs) == {-1.0, 1.0}


def test_made_up_rows_are_alike_as_said() -> None:
    rows = made_up(20_000, 0.9, np.random.default_rng(3))
    assert np.corrcoef(rows[1:], rows[:-1])[0, 1] == pytest.approx(0.9, abs=0.02)


def test_levels_and_acceptance_are_the_same_again() -> None:
    found = list(levels(real(), 30))
    assert found == list(levels(real(), 30))
    assert [one["test"] for one in found[: len(TESTS)]] == list(TESTS)
    assert {one["stream"] for one in found} == {
        *(f"alike {alike:g}" for alike in judging.ALIKE),
        "flights",
    }
    by = {(one["stream"], one["test"]): one["level"] for one in found}
    # Single rows take days for evidence; blocks that are longer than a day do not.
    assert by["flights", "single rows"] > by["flights", "5 blocks"]
    rule = list(accepted(real(), 30))
    assert rule == list(accepted(real(), 30))
    assert all(one["refuse"] <= one["estimate"] for one in rule)
    assert rule[0]["estimate"] >= rule[-1]["estimate"]
