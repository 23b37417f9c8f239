"""The demo's data: what a flight's request knows, and when its truth is known."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from services.demo.flights import (
    LATE_BEYOND_MIN,
    MARCH,
    NEW_YORK,
    data_folder,
    flights_before_march,
    flights_from_march,
    load_flights,
    next_at,
)

MINUTE = pd.Timedelta(minutes=1)
HOUR = pd.Timedelta(hours=1)


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    return load_flights()


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    """The file as it is, indexed by request id made in another way than the loader's."""
    raw = pd.read_csv(data_folder() / "flights.csv.zip")
    time = raw["sched_dep_time"].map("{:04d}".format)
    date = pd.to_datetime(raw[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    flight = raw["carrier"] + raw["flight"].map(str)
    return raw.set_index(date + "-" + flight + "-" + raw["origin"] + "-" + time)


def test_every_flight_is_there_once(flights: pd.DataFrame, raw: pd.DataFrame) -> None:
    assert len(flights) == 336_776
    assert flights["request_id"].is_unique
    assert set(flights["request_id"]) == set(raw.index)
    assert flights["request_id"].str.encode("utf-8").str.len().max() <= 128


def test_the_request_that_the_readme_traces_is_in_the_replay(flights: pd.DataFrame) -> None:
    readme = Path(__file__).parents[2] / "README.md"
    (traced,) = re.findall(r"weir trace (\S+)", readme.read_text("utf-8"))
    replayed = flights[flights["event_time"] >= MARCH]
    assert traced in set(replayed["request_id"])
    assert f"``{traced}``" in str(load_flights.__doc__)


def test_flights_come_in_order_of_departure_then_id(flights: pd.DataFrame) -> None:
    order = np.lexsort((flights["request_id"].to_numpy(object), flights["event_time"]))
    assert (order == np.arange(len(flights))).all()


def test_a_flight_is_asked_for_at_its_scheduled_departure(
    flights: pd.DataFrame, raw: pd.DataFrame
) -> None:
    facts = raw.loc[flights["request_id"]].reset_index(drop=True)
    hour = pd.to_datetime(facts["time_hour"])  # the file's own idea of UTC
    assert (flights["event_time"] == hour + facts["minute"] * MINUTE).all()
    assert (flights["departure"] == facts["hour"] * 60 + facts["minute"]).all()


def test_weather_was_observed_before_departure(flights: pd.DataFrame) -> None:
    """The hour of the observation is over when the request is made, and no newer hour is."""
    age = flights["event_time"] - flights["observed_at"]
    assert age.min() == HOUR
    assert age.max() == 2 * HOUR - MINUTE


def test_weather_is_that_of_the_origin_and_hour(flights: pd.DataFrame) -> None:
    weather = pd.read_csv(data_folder() / "weather.csv")
    seen = weather.set_index(["origin", pd.to_datetime(weather["time_hour"], utc=True)])
    assert seen.index.is_unique
    wanted = pd.MultiIndex.from_arrays([flights["origin"].astype("str"), flights["observed_at"]])
    expected = seen.reindex(wanted)
    for ours, theirs in (("temperature", "temp"), ("wind", "wind_speed"), ("pressure", "pressure")):
        np.testing.assert_array_equal(flights[ours], expected[theirs])
    assert flights["temperature"].isna().sum() == 1364
    assert flights["pressure"].isna().mean() == pytest.approx(0.114, abs=0.001)


def test_truth_is_known_after_the_request_and_within_the_horizon(flights: pd.DataFrame) -> None:
    delay = flights["known_at"] - flights["event_time"]
    assert delay.min() >= 18 * MINUTE
    assert delay.max() < pd.Timedelta(days=2)


def test_a_landed_flight_is_known_when_it_has_flown(
    flights: pd.DataFrame, raw: pd.DataFrame
) -> None:
    """Departure + time in the air leaves a plausible rest for taxiing: zones and days are right."""
    facts = raw.loc[flights["request_id"]].reset_index(drop=True)
    landed = ~flights["cancelled"] & ~flights["diverted"]
    gate_to_gate = flights["known_at"] - flights["event_time"] - facts["dep_delay"] * MINUTE
    taxi = (gate_to_gate - facts["air_time"] * MINUTE)[landed]
    assert taxi.between(2 * MINUTE, 240 * MINUTE).all()


def test_late_means_more_than_15_minutes_or_never(flights: pd.DataFrame, raw: pd.DataFrame) -> None:
    delay = raw.loc[flights["request_id"], "arr_delay"].to_numpy()
    expected = np.where(np.isnan(delay), True, delay > LATE_BEYOND_MIN)
    np.testing.assert_array_equal(flights["late"], expected)
    assert flights["late"].mean() == pytest.approx(0.2585, abs=0.0001)


def test_a_cancelled_flight_is_late_and_known_after_two_hours(flights: pd.DataFrame) -> None:
    cancelled = flights[flights["cancelled"]]
    assert len(cancelled) == 8255
    assert cancelled["late"].all()
    assert (cancelled["known_at"] - cancelled["event_time"] == 2 * HOUR).all()


def test_a_diverted_flight_is_late_and_known_when_it_is_certain(
    flights: pd.DataFrame, raw: pd.DataFrame
) -> None:
    diverted = flights[flights["diverted"]]
    assert len(diverted) == 1175
    assert diverted["late"].all()
    facts = raw.loc[diverted["request_id"]].reset_index(drop=True)
    times = diverted.reset_index(drop=True)
    left = times["event_time"] + facts["dep_delay"] * MINUTE
    assert (times["known_at"] > left).all()
    due = times["event_time"] + times["duration"] * MINUTE
    never = facts["arr_time"].isna()
    assert (times["known_at"] - due >= 15 * MINUTE)[never].all()


def test_arrivals_count_calendar_days_when_a_day_has_25_hours() -> None:
    """New York, 2 to 3 November 2013: from 23:30 to 23:10 the next day are 24 h 40 min."""
    date = pd.Series(pd.to_datetime(["2013-11-02", "2013-11-02"]))
    after = pd.Series(pd.to_datetime(["2013-11-03T03:30Z", "2013-11-03T03:30Z"]))
    found = next_at(date, pd.Series([2310, 130]), pd.Series([NEW_YORK] * 2), after)
    assert list(found) == [pd.Timestamp("2013-11-04T04:10Z"), pd.Timestamp("2013-11-03T06:30Z")]


def test_history_and_replay_share_no_flight_and_history_knows_no_future(
    flights: pd.DataFrame,
) -> None:
    history, replayed = flights_before_march(), flights_from_march()
    assert (history["known_at"] < MARCH).all()
    assert (replayed["event_time"] >= MARCH).all()
    assert not set(history["request_id"]) & set(replayed["request_id"])
    left_out = len(flights) - len(history) - len(replayed)
    assert 0 < left_out < 100  # in the air when March began
    assert replayed["request_id"].str[:10].min() == "2013-03-01"
