"""Event time of a join: who leaves when, whichever topic is ahead."""

from __future__ import annotations

import pytest

from streams.horizon import DAY_MS, HOUR_MS, IDLE_MS, Horizon

H = 3 * DAY_MS
NOW = 1_000_000


def begin(packed: bytes | None = None) -> Horizon:
    return Horizon.begin(H, NOW, packed)


def test_at_first_nobody_leaves() -> None:
    horizon = begin()
    assert horizon.predictions_leave(NOW) is None
    assert horizon.truths_leave(NOW) is None
    assert horizon.prediction_hour(5 * HOUR_MS + 1) == 5
    assert horizon.truth_hour(-1) == -1


def test_predictions_wait_until_truths_are_past_their_horizon_and_a_grace() -> None:
    horizon = begin()
    horizon.saw_predictions(100 * DAY_MS, NOW)
    assert horizon.predictions_leave(NOW) is None
    horizon.saw_truths(10 * DAY_MS, NOW)
    # Three days of horizon and one of grace before the slower of the two.
    assert horizon.predictions_leave(NOW) == (None, 6 * 24)
    horizon.saw_truths(200 * DAY_MS, NOW)
    assert horizon.predictions_leave(NOW) == (6 * 24, 96 * 24)


@pytest.mark.parametrize("truths", [None, 10 * DAY_MS])
def test_truths_that_do_not_come_hold_nobody_up(truths: int | None) -> None:
    horizon = begin()
    horizon.saw_truths(truths, NOW)
    horizon.saw_predictions(100 * DAY_MS, NOW + IDLE_MS)
    before = None if truths is None else 6 * 24
    waits = None if truths is None else (None, before)
    assert horizon.predictions_leave(NOW + IDLE_MS - 1) == waits
    assert horizon.predictions_leave(NOW + IDLE_MS) == (before, 96 * 24)


def test_truths_wait_for_predictions_alone() -> None:
    horizon = begin()
    horizon.saw_truths(100 * DAY_MS, NOW)
    assert horizon.truths_leave(NOW) is None
    horizon.saw_predictions(10 * DAY_MS, NOW)
    assert horizon.truths_leave(NOW) == (None, 7 * 24)
    # Predictions that do not come hold nobody up either.
    assert horizon.truths_leave(NOW + IDLE_MS) == (7 * 24, 97 * 24)


def test_no_hour_leaves_twice_and_none_comes_back() -> None:
    horizon = begin()
    horizon.saw_predictions(10 * DAY_MS, NOW)
    horizon.saw_truths(10 * DAY_MS, NOW)
    assert horizon.predictions_leave(NOW) == (None, 6 * 24)
    assert horizon.predictions_leave(NOW) == (6 * 24, 6 * 24)
    horizon.saw_predictions(DAY_MS, NOW)
    assert horizon.predictions == 10 * DAY_MS
    assert horizon.predictions_leave(NOW) == (6 * 24, 6 * 24)
    # What arrives later than its hour leaves with the next one.
    assert horizon.prediction_hour(DAY_MS) == 6 * 24
    assert horizon.truth_hour(DAY_MS) == 24
    horizon.truths_leave(NOW)
    assert horizon.truth_hour(DAY_MS) == 7 * 24


def test_a_short_horizon_has_a_short_grace() -> None:
    horizon = Horizon.begin(2 * HOUR_MS, NOW)
    horizon.saw_predictions(10 * HOUR_MS, NOW)
    horizon.saw_truths(10 * HOUR_MS, NOW)
    assert horizon.predictions_leave(NOW) == (None, 6)


def test_a_restart_before_any_event_time_knows_of_none() -> None:
    assert begin(begin().pack()) == begin()
    horizon = begin()
    horizon.saw_truths(0, NOW)
    assert begin(horizon.pack()) == horizon


def test_a_restart_goes_on_where_it_was() -> None:
    horizon = begin()
    horizon.saw_predictions(10 * DAY_MS, NOW)
    horizon.saw_truths(9 * DAY_MS, NOW)
    horizon.predictions_leave(NOW)
    horizon.truths_leave(NOW)
    assert begin(horizon.pack()) == horizon
