"""The demo's task with a rollout in steps, as `weir evaluate lifecycle` runs it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from services.demo.flight_delay import FlightDelay
from streams.rollout.policy import Rollout
from streams.task import Checks, NewLabels, Trigger
from streams.training.comparison import Comparison

DAY = timedelta(days=1)

Lifecycle = replace(
    FlightDelay,
    doc="The demo's flights, whose new versions look on, then answer some requests, then all.",
    # One family: on two months of flights a validation of eleven days takes now one, now the other.
    candidates={"trees": FlightDelay.candidates["trees"]},
    # The rollout judges in service: what held-out days cannot tell apart goes on to it.
    training=replace(FlightDelay.training, comparison=Comparison(margin=0.05)),
    rollout=Rollout(
        strategy="canary",
        shares=(0.2,),
        loss="log_loss",
        tolerance=0.01,
        min_outcomes=2000,
        patience=21 * DAY,
        watch=21 * DAY,
    ),
    triggers=[
        Trigger(
            name="labels",
            when=NewLabels(14_000),
            cooldown=120 * DAY,  # one event in a run
            checks=Checks(labels=2000, of_class=200),
        )
    ],
)
