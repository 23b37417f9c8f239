"""Few enough messages, and none of the notices forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.alerts.budget import HOUR_MS, Budget
from streams.alerts.policy import Alerts


def test_some_go_out_one_by_one_and_the_rest_in_one_message() -> None:
    budget = Budget(Alerts(burst=3, per_hour=60), 0)
    assert list(budget.cut("ab", 0)) == ["a"]
    budget.sent()
    assert budget.cut("bcdefgh", 0) == "bcdefgh"
    budget.sent()
    budget.sent()
    assert not budget.cut("i", 0)
    assert 0 < budget.wait_ms(0) <= 60_001
    assert not budget.cut("i", 59_000)
    assert budget.cut("ij", 60_001) == "ij"


def test_a_clock_that_is_set_back_takes_nothing_away() -> None:
    budget = Budget(Alerts(burst=1, per_hour=60), 1_000_000)
    budget.sent()
    assert not budget.cut("a", 0)
    assert budget.cut("a", 60_001) == "a"


@given(
    st.integers(1, 5),
    st.floats(0.5, 600),
    st.lists(st.tuples(st.integers(0, 600_000), st.integers(0, 20)), max_size=40),
)
def test_messages_are_bounded_and_everything_leaves_in_order(
    burst: int, per_hour: float, steps: list[tuple[int, int]]
) -> None:
    budget = Budget(Alerts(burst=burst, per_hour=per_hour), 0)
    now, arrived, waiting, left, times = 0, 0, [], [], []
    for pause, n in [*steps, (int(3 * HOUR_MS / per_hour), 0)]:
        now += pause
        waiting += range(arrived, arrived + n)
        arrived += n
        while some := budget.cut(waiting, now):
            budget.sent()
            left += some
            times.append(now)
            del waiting[: len(some)]
        assert not waiting or budget.wait_ms(now) > 0
    assert left == list(range(arrived))  # the last pause fills the bucket for one more at least
    for i, begin in enumerate(times):
        for j in range(i, len(times)):
            most = burst + per_hour * (times[j] - begin) / HOUR_MS
            assert j - i + 1 <= most + 1e-6
