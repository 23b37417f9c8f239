"""How fast the replay goes: event time waits for what could not be sent."""

from __future__ import annotations

import math

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from services.demo import pace
from services.demo.pace import DAY_MS, MAX_AHEAD, STALL_S, Clock, Room
from services.demo.replay import parse_speed
from tests.services.test_timeline import patient


class Time:
    """A clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(pace.time, "monotonic", lambda: self.now)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def test_event_time_runs_speed_days_a_second(wall: Time) -> None:
    clock = Clock(0.0, 2.0)
    wall.now += 0.25
    assert clock.now_ms(next_ms=0.4 * DAY_MS) == 0.5 * DAY_MS
    wall.now += 0.25
    assert clock.now_ms(next_ms=0.5 * DAY_MS) == DAY_MS


def test_event_time_is_not_more_than_a_second_ahead_of_what_was_sent(wall: Time) -> None:
    clock = Clock(0.0, 1.0)
    wall.now += 60  # the broker was away
    assert clock.now_ms(next_ms=0.0) == STALL_S * DAY_MS


def test_at_full_speed_everything_is_due(wall: Time) -> None:
    clock = Clock(0.0, math.inf)
    wall.now += 0.001
    assert clock.now_ms(next_ms=0.0) == math.inf


def test_the_backlog_is_looked_at_when_half_the_room_is_used(wall: Time) -> None:
    behind = [100, 4000, 4990]
    room = Room(lambda: behind.pop(0), MAX_AHEAD)
    assert room.free() == 4900
    room.take(2000)
    wall.now += 1
    assert room.free() == 2900  # more than half is left: nobody is asked
    room.take(1000)
    assert room.free() == 1000
    room.take(1000)
    assert room.free() == 0  # asked a moment ago
    wall.now += 1
    assert room.free() == 10


def test_there_is_no_room_while_the_broker_is_away(wall: Time) -> None:
    def away() -> int:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    assert Room(away, MAX_AHEAD).free() == 0


@patient
@given(st.lists(st.integers(0, 600), max_size=50))
def test_no_more_is_published_than_the_worker_may_be_behind(wishes: list[int]) -> None:
    """A worker that reads nothing: its backlog is all that was published."""
    published = 0
    room = Room(lambda: published, 1000)
    for wish in wishes:
        step = max(0, min(wish, room.free()))
        published += step
        room.take(step)
    assert published <= 1000


@pytest.mark.parametrize(
    ("text", "speed"), [("max", math.inf), ("0", math.inf), ("1", 1.0), ("2.5", 2.5)]
)
def test_speeds_as_they_are_typed(text: str, speed: float) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["-1", "nan", "fast"])
def test_speeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parse_speed(text)
