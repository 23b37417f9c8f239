"""The demo's task: will a flight from New York arrive more than 15 minutes late?"""

from datetime import UTC, datetime, timedelta

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler

from services.demo.flights import flights_before_march
from streams.task import (
    Behaviour,
    Binary,
    Budget,
    Category,
    Checks,
    Directional,
    Drifted,
    Functionality,
    Integer,
    Invariance,
    Number,
    Schedule,
    Task,
    Training,
    Trigger,
    Window,
    Windowed,
)

CATEGORIES = ["carrier", "origin", "dest"]
SCHEDULE = ["departure", "weekday", "duration", "distance"]
WEATHER = ["temperature", "humidity", "wind", "precipitation", "pressure", "visibility"]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FLIGHT = ["carrier", "origin", "dest", "departure"]  # what is scheduled at the same time each day
# How late flights are now. Three hours by origin, carrier and destination bring most of it.
LATE = [
    Windowed("origin_late_1h", HOUR, by="origin"),
    Windowed("origin_late_3h", 3 * HOUR, by="origin"),
    Windowed("origin_late_24h", DAY, by="origin"),
    Windowed("carrier_late_3h", 3 * HOUR, by="carrier"),
    Windowed("dest_late_3h", 3 * HOUR, by="dest"),
    Windowed("carrier_origin_late_3h", 3 * HOUR, by=["carrier", "origin"]),
    Windowed("carrier_origin_late_24h", DAY, by=["carrier", "origin"]),
    Windowed("all_late_1h", HOUR),
    Windowed("route_late_14d", 14 * DAY, by=["carrier", "dest"], every=6 * HOUR),
    Windowed("flight_late_28d", 28 * DAY, by=FLIGHT, every=6 * HOUR),
]
# Few that arrived for the many that were to leave: those that are still to come are late.
TRAFFIC = [
    Windowed("origin_known_3h", 3 * HOUR, by="origin", aggregate="count"),
    Windowed("dest_known_3h", 3 * HOUR, by="dest", aggregate="count"),
    Windowed("carrier_origin_known_3h", 3 * HOUR, by=["carrier", "origin"], aggregate="count"),
    Windowed("origin_asked_3h", 3 * HOUR, by="origin", of="requests", aggregate="count"),
    Windowed(
        "carrier_origin_asked_3h",
        3 * HOUR,
        by=["carrier", "origin"],
        of="requests",
        aggregate="count",
    ),
]
WINDOWED = [*LATE, *TRAFFIC]

NUMBERS = SCHEDULE + WEATHER + [windowed.name for windowed in WINDOWED]

one_hot = OneHotEncoder(min_frequency=20, handle_unknown="infrequent_if_exist")
scaled = make_pipeline(SimpleImputer(), StandardScaler())
delays_grow_over_the_day = KBinsDiscretizer(18, strategy="uniform", quantile_method="linear")


def a_minute_later(flights: pd.DataFrame) -> pd.DataFrame:
    """The same flights, scheduled a minute later."""
    return flights.assign(departure=(flights["departure"] + 1).clip(upper=1439))


def a_little_off(flights: pd.DataFrame) -> pd.DataFrame:
    """The same flights in weather that is reported with a small error."""
    return flights.assign(
        temperature=flights["temperature"] + 1,
        humidity=(flights["humidity"] + 1).clip(upper=100),
        wind=flights["wind"] + 1,
        pressure=flights["pressure"] + 0.5,
    )


Flight = dict[str, float | str]


def flight(late: float, **others: float | str) -> Flight:
    """A flight on a day on which this share of all others is late."""
    calm: Flight = {
        "temperature": 60,
        "humidity": 50,
        "wind": 5,
        "precipitation": 0,
        "pressure": 1020,
    }
    to_chicago: Flight = {"dest": "ORD", "duration": 150, "distance": 719, "visibility": 10}
    shares: Flight = {windowed.name: late for windowed in LATE}
    return {"carrier": "UA", "origin": "EWR", **to_chicago, **calm, **shares, **others}


STORM: Flight = {"humidity": 95, "precipitation": 0.3, "pressure": 1000, "visibility": 1}
# What any sensible version does. Boosted trees are not monotone: the shares leave them room (the
# most that a year's versions need is told in docs/verdict.md).
BEHAVIOUR: list[Behaviour] = [
    Invariance(
        name="a minute is nothing",
        features=["departure"],
        change=a_minute_later,
        at_most=0.05,
        share=0.01,
    ),
    Invariance(
        name="instruments are a little off",
        features=["temperature", "humidity", "wind", "pressure"],
        change=a_little_off,
        at_most=0.1,
        share=0.02,
    ),
    Directional(
        name="late flights are no good sign",
        feature="origin_late_3h",
        by=0.2,
        expect="not_lower",
        at_most=0.05,
        share=0.02,
    ),
    Directional(
        name="fog is no good sign",
        feature="visibility",
        by=-5.0,
        expect="not_lower",
        at_most=0.05,
        share=0.02,
        severity="warn",
    ),
    Functionality(
        name="a calm morning, and an evening of storms",
        rows=[
            flight(0.05, departure=360, weekday=2),
            flight(0.05, departure=360, weekday=2, carrier="DL", origin="JFK"),
            flight(0.9, departure=1200, weekday=4, **STORM),
            flight(0.9, departure=1200, weekday=4, carrier="DL", origin="JFK", **STORM),
        ],
        answers=[False, False, True, True],
    ),
    *(
        Functionality(
            name=f"{origin} is answered well enough",
            where={"origin": origin},
            measure="accuracy",
            at_least=0.6,
        )
        for origin in ("EWR", "JFK", "LGA")
    ),
]

FlightDelay = Task(
    name="flight_delay",
    doc="Asked at the scheduled departure, with what is known then.",
    features=[
        Category("carrier", doc="airline, IATA code"),
        Category("origin", values=["EWR", "JFK", "LGA"], doc="airport of departure"),
        Category("dest", doc="airport of arrival"),
        Integer("departure", unit="min", low=0, high=1439, doc="scheduled, after midnight, local"),
        Integer("weekday", low=1, high=7, doc="1 is Monday"),
        Integer("duration", unit="min", low=10, high=1500, doc="scheduled, gate to gate"),
        Number("distance", unit="mi", low=10, high=10_000),
        # At the origin in the last full hour; an hour may lack an observation.
        Number("temperature", unit="°F", low=-60, high=140, nullable=True),
        Number("humidity", unit="%", low=0, high=100, nullable=True),
        Number("wind", unit="mph", low=0, high=200, nullable=True),
        Number("precipitation", unit="in", low=0, high=15, nullable=True),
        Number("pressure", unit="mbar", low=850, high=1100, nullable=True),
        Number("visibility", unit="mi", low=0, high=100, nullable=True),
    ],
    windowed=WINDOWED,
    target=Binary("late", doc="arrives more than 15 minutes late, or not at all"),
    candidates={
        "logistic": make_pipeline(
            make_column_transformer((one_hot, CATEGORIES), (scaled, NUMBERS)),
            LogisticRegression(max_iter=500),
        ),
        "trees": HistGradientBoostingClassifier(
            categorical_features="from_dtype", max_leaf_nodes=15, min_samples_leaf=200
        ),
    },
    baseline=make_pipeline(
        make_column_transformer((delays_grow_over_the_day, ["departure"])), LogisticRegression()
    ),
    fallback=False,  # most flights are on time
    defer_budget=0.005,  # some five flights a day, for people to look at
    segments=["origin", "carrier"],
    # People are the better for it, whatever it spares the model.
    # The network would be fitted for longer than all else, at each training.
    training=Training(behaviour=BEHAVIOUR, gate_must_pay=False, gate_forms=["errors"]),
    horizon=timedelta(days=7),
    signals=["rebooked", "dismissed"],
    windows=[Window(timedelta(days=1)), Window(timedelta(days=7), every=timedelta(days=1))],
    history=flights_before_march,
    event_times=(datetime(2013, 1, 1, tzinfo=UTC), datetime(2014, 1, 2, tzinfo=UTC)),
    triggers=[
        Trigger(
            name="hurts",
            when=Drifted(hurts=True),
            cooldown=21 * DAY,
            budget=Budget(2, 30 * DAY),
            checks=Checks(labels=2000, of_class=200),
        ),
        Trigger(
            name="monthly",
            when=Schedule("0 0 1 * *", zone="America/New_York"),
            cooldown=7 * DAY,
            budget=Budget(2, 30 * DAY),
            checks=Checks(labels=2000, of_class=200),
        ),
    ],
    partitions=4,
)
