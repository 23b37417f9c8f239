"""The triggers that the evaluation of the loop gives to the flights' task."""

from __future__ import annotations

from datetime import timedelta

from streams.task import Budget, NewLabels, Trigger

WEEK, REPLAY = timedelta(days=7), timedelta(days=306)

# A model of few labels gains most from new ones; nine retrainings in all, as a calendar's. Storms
# are found as concept drift and are over the next day: docs/loop.md says why they do not retrain.
RETRAIN = (
    Trigger(name="young", when=NewLabels(14_000), cooldown=WEEK, budget=Budget(1, REPLAY)),
    Trigger(name="growing", when=NewLabels(22_000), cooldown=WEEK, budget=Budget(3, REPLAY)),
    Trigger(name="grown", when=NewLabels(32_000), cooldown=WEEK, budget=Budget(9, REPLAY)),
)
