"""The reference profile: what training data and scores looked like, to compare serving with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.features import Category
from streams.task import Task
from streams.training.data import Dataset
from streams.version import Answers

QUANTILES = 21
"""Quantiles kept of a distribution: 0, 0.05, …, 1."""
BINS = 10
"""Bins of a histogram; their edges are deciles, so that each holds about a tenth of the rows."""


def profile(task: Task, data: Dataset, held_out: Answers) -> dict[str, Any]:
    """JSON data: rows, one entry a feature, the target, and the scores of ``held_out`` answers.

    A distribution of numbers has ``count``, ``missing`` (share), ``mean``, ``std``,
    ``quantiles``, and ``edges`` (inner edges of the bins, ascending, different) with ``shares``
    (one more than edges, of the values that are there). A category has ``missing`` and
    ``shares`` by name of the vocabulary; names outside it count as missing.
    """
    features = {
        feature.name: (
            category(data.frame[feature.name])
            if isinstance(feature, Category)
            else numbers(data.frame[feature.name].to_numpy(float))
        )
        for feature in task.inputs
    }
    return {
        "rows": len(data),
        "features": features,
        "target": answers_of(data.target),
        "answers": answers_of(held_out.answer),
        "probability": None if held_out.probability is None else numbers(held_out.probability),
    }


def numbers(values: npt.NDArray[np.float64]) -> dict[str, Any]:
    """The distribution of numbers, NaN counted as missing."""
    present = values[~np.isnan(values)]
    missing = 1 - len(present) / max(len(values), 1)
    if len(present) == 0:
        return {"count": 0, "missing": missing, "quantiles": [], "edges": [], "shares": []}
    quantiles = np.quantile(present, np.linspace(0, 1, QUANTILES))
    inner = np.unique(np.quantile(present, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = np.bincount(np.searchsorted(inner, present, side="right"), minlength=len(inner) + 1)
    return {
        "count": len(present),
        "missing": missing,
        "mean": float(present.mean()),
        "std": float(present.std()),
        "quantiles": quantiles.tolist(),
        "edges": inner.tolist(),
        "shares": (counts / len(present)).tolist(),
    }


def category(series: pd.Series) -> dict[str, Any]:
    """The distribution of a categorical series."""
    codes = series.cat.codes.to_numpy()
    known = codes[codes >= 0]
    counts = np.bincount(known, minlength=len(series.cat.categories)) / max(len(known), 1)
    return {
        "count": len(known),
        "missing": 1 - len(known) / max(len(codes), 1),
        "shares": dict(zip(series.cat.categories, counts.tolist(), strict=True)),
    }


def answers_of(values: npt.NDArray[Any]) -> dict[str, Any]:
    """The distribution of answers or truths."""
    if values.dtype == np.float64:
        return numbers(values)
    names, counts = np.unique(values, return_counts=True)
    shares = zip(names.tolist(), (counts / len(values)).tolist(), strict=True)
    return {
        "count": len(values),
        "shares": {
            str(name).lower() if isinstance(name, bool) else name: share for name, share in shares
        },
    }
