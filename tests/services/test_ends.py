"""Unplanned ends: when several are a crash loop, and what is kept of them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from services.supervisor import ends
from services.supervisor.crashes import LOOP_OVER_S, LOOP_WITHIN_S, CrashHistory
from services.supervisor.ends import (
    UnplannedEnd,
    record_end,
    restarts,
    trim_ends,
    unplanned_ends,
)

LIVES = st.lists(st.tuples(st.floats(0, 700), st.floats(0, 60)), max_size=12)
"""How long a process lived each time, and how long it was away after it (s)."""


def ended_at(*times: float) -> CrashHistory:
    history = CrashHistory()
    for at in times:
        history = history.started(at - 1).ended(at)
    return history


def test_three_ends_within_five_minutes_are_a_crash_loop() -> None:
    assert not ended_at(100, 200).looping(200)
    assert ended_at(100, 200, 100 + LOOP_WITHIN_S).looping(400)
    assert not ended_at(100, 200, 101 + LOOP_WITHIN_S).looping(401)


def test_a_crash_loop_is_over_when_the_process_has_lived_for_five_minutes() -> None:
    loop = ended_at(1, 2, 3).started(10)
    assert loop.looping(9 + LOOP_OVER_S)
    assert not loop.looping(10 + LOOP_OVER_S)
    # Away is not living: it waits for its next start.
    assert ended_at(1, 2, 3).looping(10_000)


def test_a_crash_loop_goes_on_with_rarer_ends_that_leave_no_five_minutes_between_them() -> None:
    loop = ended_at(1, 2, 3)
    for at in (250, 500, 790):  # never three within five minutes
        loop = loop.started(at - 240).ended(at)
        assert loop.looping_since == 3


def test_an_end_after_five_minutes_of_life_begins_anew() -> None:
    over = ended_at(1, 2, 3).started(4).ended(5 + LOOP_OVER_S)
    assert not over.looping(6 + LOOP_OVER_S)


@given(LIVES)
def test_a_loop_begins_with_three_close_ends_and_ends_with_a_long_life(
    lives: list[tuple[float, float]],
) -> None:
    """Against the rule as it stands in the documentation, told from all ends."""
    history, now, times, looping = CrashHistory(), 1000.0, [], False
    for lived, away in lives:
        history = history.started(now)
        began, now = now, now + lived
        looping = looping and now - began < LOOP_OVER_S
        assert history.looping(now) == looping
        times.append(now)
        history = history.ended(now)
        looping = looping or (len(times) > 2 and now - times[-3] <= LOOP_WITHIN_S)
        assert history.looping(now) == looping
        now += away
        assert history.looping(now) == looping


def end(name: str, at: str = "2026-11-30T09:00:00.000+00:00") -> UnplannedEnd:
    return UnplannedEnd(name, 12, at, "exit code 1", "", f"logs/{name}.log")


def test_ends_are_kept_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert unplanned_ends(tmp_path) == []
    later = end("worker", "2026-11-30T10:00:00.000+00:00")
    for one in (end("worker"), end("sink"), later):
        record_end(tmp_path, one)
    assert unplanned_ends(tmp_path) == [end("worker"), end("sink"), later]
    assert unplanned_ends(tmp_path, datetime.fromisoformat(later.at)) == [later]
    assert restarts(unplanned_ends(tmp_path)) == {"worker": 2, "sink": 1}


def test_a_line_that_a_crash_cut_short_is_left_out_and_dropped(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    trim_ends(tmp_path)
    record_end(tmp_path, end("worker"))
    with (tmp_path / "run" / ends.ENDS).open("a") as file:
        file.write('{"name": "si')
    assert unplanned_ends(tmp_path) == [end("worker")]
    trim_ends(tmp_path)
    record_end(tmp_path, end("sink"))
    assert unplanned_ends(tmp_path) == [end("worker"), end("sink")]
