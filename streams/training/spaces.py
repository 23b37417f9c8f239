"""Spaces of hyper-parameters that are worth a search, for `Search.spaces`.

    Task(candidates={"trees": HistGradientBoostingClassifier(…)},
         training=Training(search=Search(spaces={"trees": HISTOGRAM_BOOSTING})))

Lists, so that a task's file imports nothing for them; the values are even in the logarithm where
the parameter's scale is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HISTOGRAM_BOOSTING: Mapping[str, Sequence[Any]] = {
    "learning_rate": [0.02, 0.03, 0.05, 0.07, 0.1, 0.15],
    "max_iter": [50, 100, 150, 200, 300],
    "max_leaf_nodes": [4, 7, 10, 15, 23, 31],
    "min_samples_leaf": [20, 50, 100, 200, 400],
    "l2_regularization": [0.0, 1.0, 10.0, 100.0],
    "max_features": [0.3, 0.5, 0.7, 1.0],
}
"""Of scikit-learn's HistGradientBoostingClassifier and …Regressor.

Many small steps with small trees are what noisy labels want; so both ends are there.
"""

LOGISTIC: Mapping[str, Sequence[Any]] = {"C": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]}
"""Of LogisticRegression; `inside` names it in a pipeline."""


def inside(step: str, space: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """The space of a pipeline's step: of the last step of ``make_pipeline(…,
    LogisticRegression())`` that is ``inside("logisticregression", LOGISTIC)``."""
    return {f"{step}__{parameter}": values for parameter, values in space.items()}
