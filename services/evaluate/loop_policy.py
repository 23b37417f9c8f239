"""What the evaluation of the loop gives to the flights' task: triggers, and continual learning."""

from __future__ import annotations

from datetime import timedelta

from river.compose import SelectType
from river.linear_model import LogisticRegression
from river.optim import SGD
from river.preprocessing import OneHotEncoder, StandardScaler

from streams.task import Budget, Continual, NewLabels, Trigger

WEEK, REPLAY = timedelta(days=7), timedelta(days=306)

# A model of few labels gains most from new ones; nine retrainings in all, as a calendar's. Storms
# are found as concept drift and are over the next day: docs/loop.md says why they do not retrain.
RETRAIN = (
    Trigger(name="young", when=NewLabels(14_000), cooldown=WEEK, budget=Budget(1, REPLAY)),
    Trigger(name="growing", when=NewLabels(22_000), cooldown=WEEK, budget=Budget(3, REPLAY)),
    Trigger(name="grown", when=NewLabels(32_000), cooldown=WEEK, budget=Budget(9, REPLAY)),
)

# Both together: a linear model that learns from each flight has 0.3 of the answer's log odds, and
# the newest boosted trees the rest. Chosen on March to June (docs/loop.md).
CONTINUAL = Continual(
    learner=(
        (SelectType(str) | OneHotEncoder()) + (SelectType(float) | StandardScaler())
        | LogisticRegression(SGD(0.001))
    ),
    share=0.3,
    every=250,
)
