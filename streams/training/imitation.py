"""A small network that says beforehand how sure a model can be of an input.

It is fitted to the probabilities that models give (Buciluǎ, Caruana and Niculescu-Mizil 2006):
to the mean of the model itself and of a committee, the same estimator fitted without one stretch
of time each. What a model is sure of owing to one stretch alone, the committee is less sure of.

Models answer any input, so there is more to learn from than the rows: each row that the network
is fitted on takes some of its features from other rows. Fitted on the rows alone it followed
the flights' trees where these had learned, and lost them in the weather of the month after.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from schemas.features import Category
from streams.bends import Bends
from streams.task import Task
from streams.training.errors import FitError
from streams.training.fitting import answers, one_thread
from streams.version import Answers, Floats

UNITS = 256
"""Of the hidden layer: with half as many it followed trees on the flights of May less well, with
twice as many no better."""
BATCH = 500
EACH, FEWEST, MOST = 4, 2_000, 250_000
"""Rows that the network is fitted on: so many for each known one, within these bounds."""
FEWEST_STEPS, MOST_STEPS = 150, 6_000
"""Of the descent; one for every twenty known rows, within these bounds."""
RATES = ((0.003, 0.75), (0.0005, 0.25))
"""Rates of the descent, and shares of its steps: small ones at the end, which do not overshoot."""
TAKEN = (0.0, 0.1, 0.3, 0.5)
"""Shares of a row's features that come from other rows; each is as frequent as the others."""
RARE = 20
"""A category's names with fewer rows than this share one weight."""


def imitate(
    task: Task,
    models: Sequence[Any],
    frame: pd.DataFrame,
    calibration: Mapping[str, Any] | None = None,
) -> Any:
    """The network fitted to the mean of what classifiers give to rows like some. Raises FitError.

    calibration: what sets their probabilities right, as a manifest has it.
    A pipeline that gives P(true), (n,) float64, or of each class in the task's order, (n, k).
    """
    rows = mixed(frame, int(np.clip(EACH * len(frame), FEWEST, MOST)), task.seed)
    given = np.mean(
        [probabilities(answers(task, one, rows, calibration)) for one in models], axis=0
    )
    target = given[:, 0] if given.shape[1] == 1 else given
    steps = np.clip(len(frame) / 20, FEWEST_STEPS, MOST_STEPS)
    epochs = max(1, round(float(steps) * BATCH / len(rows)))
    units = MLPRegressor(
        hidden_layer_sizes=(UNITS,), batch_size=BATCH, warm_start=True, random_state=task.seed
    )
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it ends after its steps
        columns = _columns(task).fit(frame)
        inputs = columns.transform(rows).astype(np.float32)  # half the memory and the time
        for rate, share in RATES:
            units.set_params(learning_rate_init=rate, max_iter=max(1, round(share * epochs)))
            units.fit(inputs, target.astype(np.float32))
    units.coefs_ = [weights.astype(np.float64) for weights in units.coefs_]
    units.intercepts_ = [bias.astype(np.float64) for bias in units.intercepts_]
    if not all(np.isfinite(weights).all() for weights in units.coefs_):
        raise FitError("the network that imitates the model did not converge")
    return make_pipeline(columns, units)


def _columns(task: Task) -> Any:
    """The features as a network's inputs, unfitted."""
    numbers = [f.name for f in task.inputs if not isinstance(f, Category)]
    categories = [f.name for f in task.inputs if isinstance(f, Category)]
    steps: list[tuple[Any, list[str]]] = []
    if numbers:
        steps.append((Bends(), numbers))
    if categories:
        one_hot = OneHotEncoder(
            min_frequency=RARE, handle_unknown="infrequent_if_exist", sparse_output=False
        )
        steps.append((one_hot, categories))
    return make_column_transformer(*steps)


def mixed(frame: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """So many rows, each some row of a frame with a share of its features from other rows."""
    chance = np.random.default_rng(seed)
    own = chance.integers(0, len(frame), count)
    taken = chance.choice(TAKEN, count)
    columns = {}
    for name in frame:
        other = chance.random(count) < taken
        at = np.where(other, chance.integers(0, len(frame), count), own)
        columns[name] = frame[name].array.take(at)
    return pd.DataFrame(columns)


def probabilities(given: Answers) -> Floats:
    """(n, 1) of true, or (n, k) by class."""
    if given.probabilities is not None:
        return given.probabilities
    assert given.probability is not None
    return given.probability[:, None]
