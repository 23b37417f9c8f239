"""Features that tell the label by themselves: what is known only after the event, most likely."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.preprocessing import TargetEncoder
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from schemas.features import Category
from streams.task import Task

Floats = npt.NDArray[np.float64]

MOST_ROWS = 20_000
"""Rows that are looked at, spread evenly over time: a leak shows in few."""
LEAST_ROWS = 200
"""On fewer a feature may order all labels by chance, or because the task is easy."""
LEAVES = 16
"""Steps of the function of a number that is tried: more would learn single rows by heart."""


def skills(task: Task, table: pd.DataFrame) -> dict[str, float]:
    """How well each feature alone tells the label: AUC of a classification, else R²; 1 is perfect.

    Of a number it is a tree of few leaves, of a name its mean label; learned from every second row
    and judged on those between. ``table`` holds numbers as float64 and names as str or None, and no
    null labels; {} where it has too few rows.
    """
    if len(table) < LEAST_ROWS:
        return {}
    some = np.linspace(0, len(table) - 1, min(len(table), MOST_ROWS)).astype(int)
    table = table.iloc[some].reset_index(drop=True)
    label = table[task.target.name]
    target = (
        label.to_numpy(np.float64) if task.kind == "regression" else label.astype(str).to_numpy()
    )
    found = {}
    for feature in task.inputs:
        if feature.name not in table:
            continue
        values = table[feature.name]
        skill = (
            _of_names(task, values, target)
            if isinstance(feature, Category)
            else _of_numbers(task, values, target)
        )
        if skill is not None:
            found[feature.name] = skill
    return found


def _of_numbers(task: Task, values: pd.Series, target: npt.NDArray[Any]) -> float | None:
    column = values.to_numpy(np.float64).reshape(-1, 1)
    column = np.where(np.isinf(column), np.nan, column)
    if task.kind == "regression":
        regressor = DecisionTreeRegressor(max_leaf_nodes=LEAVES, random_state=0)
        regressor.fit(column[::2], target[::2])
        return _explained(target[1::2], regressor.predict(column[1::2]))
    tree = DecisionTreeClassifier(max_leaf_nodes=LEAVES, random_state=0)
    tree.fit(column[::2], target[::2])
    return _ordered(target[1::2], tree.predict_proba(column[1::2]), tree.classes_)


def _of_names(task: Task, values: pd.Series, target: npt.NDArray[Any]) -> float | None:
    kinds = {"regression": "continuous", "binary": "binary", "multiclass": "multiclass"}
    column = values.where(values.notna(), "").to_numpy(object).reshape(-1, 1)
    if task.kind != "regression" and len(np.unique(target[::2])) < 3:
        kinds["multiclass"] = "binary"
    encoder = TargetEncoder(target_type=kinds[task.kind])
    try:
        encoder.fit(column[::2], target[::2])
    except ValueError:
        return None  # one class alone
    encoded = np.asarray(encoder.transform(column[1::2]), np.float64)
    if task.kind == "regression":
        return _explained(target[1::2], encoded[:, 0])
    if encoded.shape[1] == 1:  # P(the second class)
        encoded = np.hstack([1 - encoded, encoded])
    return _ordered(target[1::2], encoded, encoder.classes_)


def _ordered(truth: npt.NDArray[Any], scores: Floats, classes: npt.NDArray[Any]) -> float | None:
    """The mean AUC of each class against the others; of classes that are in the truth."""
    found = []
    for name, score in zip(classes, scores.T, strict=True):
        yes = truth == name
        if 0 < yes.sum() < len(yes):
            found.append(float(roc_auc_score(yes, score)))
    return float(np.mean(found)) if found else None


def _explained(truth: Floats, given: Floats) -> float | None:
    return float(r2_score(truth, given)) if np.ptp(truth) > 0 else None
