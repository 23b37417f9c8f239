"""The windows' metrics by their plain definition, from all predictions and outcomes at once.

Nothing here adds up partial sums: a window's rows are taken together, each request with its last
truth, and measured with scikit-learn. What the definitions of the metrics share with the system
is the grid of scores for the areas under curves, which is part of their definition.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from streams.quality import CALIBRATION_BINS, EPSILON, bin_of, score_of
from streams.task import Window
from streams.windows import begun, spans_of

Key = tuple[str, int, str, str, str, str]
"""Window, its start, version, role, segment, value: what a metric record is about."""

KEY = ("window", "window_start", "version", "role", "segment", "value")
COUNTS = ("predictions", "deferred", "rejected", "outcomes", "scored")
QUALITY = (
    *("base_rate", "accuracy", "precision", "recall", "f1"),
    *("roc_auc", "log_loss", "brier", "calibration_error"),
)
TOLERANCE = 1e-6
"""Relative and absolute: sums of a million losses in another order differ by far less."""


def windows(
    predictions: pd.DataFrame,
    outcomes: pd.DataFrame,
    declared: Sequence[Window],
    segments: Sequence[str],
) -> dict[Key, dict[str, Any]]:
    """The fields that each metric record is to have in the end.

    predictions: a row a prediction record with ``event_time`` (ms), ``status``, ``version``,
    ``role`` and a column a segment (None where the request had no readable features).
    outcomes: the same columns, and ``answer``, ``truth``, ``probability``, one row a request:
    its last outcome. Of a binary task.
    """
    times = [
        frame.loc[frame["status"] != "rejected", "event_time"] for frame in (predictions, outcomes)
    ]
    newest = max((int(some.max()) for some in times if len(some)), default=None)
    if newest is None:
        return {}
    found: dict[Key, dict[str, Any]] = {}
    for window in declared:
        slide = round(window.slide.total_seconds() * 1000)
        asked = _by_group(predictions, slide, segments)
        known = _by_group(outcomes, slide, segments)
        spans: dict[Any, list[Any]] = {}
        for pane, *who in asked.keys() | known.keys():
            for span in spans_of(window, pane):
                if begun(span, window, newest):
                    spans.setdefault((span, *who), []).append((pane, *who))
        for (span, *who), panes in spans.items():
            there = predictions.iloc[_rows(asked, panes)]
            joined = outcomes.iloc[_rows(known, panes)]
            found[(span.name, span.start, *who)] = {
                "window_end": span.end,
                "complete": newest >= span.end,
                **measures(there["status"], joined),
            }
    return found


def measures(status: pd.Series, joined: pd.DataFrame) -> dict[str, Any]:
    """Counts and quality of one window's predictions and last outcomes."""
    predictions = int((status != "rejected").sum())
    deferred = int((status == "deferred").sum())
    scored = joined[joined["status"] == "answered"]
    return {
        "predictions": predictions,
        "deferred": deferred,
        "rejected": int((status == "rejected").sum()),
        "outcomes": len(joined),
        "scored": len(scored),
        "share_deferred": deferred / predictions if predictions else 0.0,
        "share_labelled": len(joined) / predictions if predictions else 0.0,
        **dict.fromkeys(QUALITY),
        **(quality(*_arrays(scored)) if len(scored) else {}),
    }


def quality(
    truth: npt.NDArray[np.bool_], answer: npt.NDArray[np.bool_], p: npt.NDArray[np.float64]
) -> dict[str, float | None]:
    """Quality of answers and probabilities p of true, by scikit-learn."""
    clipped = np.clip(p, EPSILON, 1 - EPSILON)
    cells = bin_of(clipped)
    both = truth.any() and not truth.all()
    return {
        "base_rate": float(truth.mean()),
        "accuracy": float(accuracy_score(truth, answer)),
        "precision": float(precision_score(truth, answer, zero_division=0.0)),
        "recall": float(recall_score(truth, answer, zero_division=0.0)),
        "f1": float(f1_score(truth, answer, zero_division=0.0)),
        "roc_auc": float(roc_auc_score(truth, cells)) if both else None,
        "log_loss": float(log_loss(truth, clipped, labels=[False, True])),
        "brier": float(brier_score_loss(truth, clipped)),
        "calibration_error": _calibration_error(truth, score_of(cells)),
    }


def differences(
    wanted: Mapping[Key, Mapping[str, Any]], found: Mapping[Key, Mapping[str, Any]]
) -> list[str]:
    """What is wrong with each metric record, one line a window; empty where all is right."""
    lines = [f"{key}: there is no such record" for key in wanted.keys() - found.keys()]
    lines += [f"{key}: no prediction is in this window" for key in found.keys() - wanted.keys()]
    for key in wanted.keys() & found.keys():
        wrong = [
            f"{name} is {found[key].get(name)}, not {value}"
            for name, value in wanted[key].items()
            if not _same(value, found[key].get(name))
        ]
        if wrong:
            lines.append(f"{key}: {'; '.join(wrong)}")
    return sorted(lines)


def latest(records: Iterator[dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    """Of metric records in the order of their topic, the last revision by key."""
    found: dict[Key, dict[str, Any]] = {}
    for record in records:
        key: Any = tuple(record[name] for name in KEY)
        if key not in found or record["revision"] >= found[key]["revision"]:
            found[key] = record
    return found


def _by_group(frame: pd.DataFrame, pane_ms: int, segments: Sequence[str]) -> dict[Any, Any]:
    """Positions of rows by pane, version, role, segment and its value."""
    pane = (frame["event_time"] // pane_ms * pane_ms).rename("pane")
    keys = [pane, frame["version"], frame["role"]]
    by: dict[Any, Any] = frame.groupby(keys, observed=True).indices
    groups = {
        (int(start), str(version), str(role), "", ""): rows
        for (start, version, role), rows in by.items()
    }
    for segment in segments:
        parted = frame.groupby([*keys, frame[segment]], observed=True)
        with_value: dict[Any, Any] = parted.indices
        groups |= {
            (int(start), str(version), str(role), segment, str(value)): rows
            for (start, version, role, value), rows in with_value.items()
        }
    return groups


def _rows(groups: Mapping[Any, Any], keys: Sequence[Any]) -> npt.NDArray[np.int64]:
    some = [groups[key] for key in keys if key in groups]
    return np.concatenate(some) if some else np.zeros(0, np.int64)


def _arrays(scored: pd.DataFrame) -> tuple[Any, Any, Any]:
    return (
        scored["truth"].to_numpy(bool),
        scored["answer"].to_numpy(bool),
        scored["probability"].to_numpy(float),
    )


def _calibration_error(truth: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> float:
    """Expected calibration error over equal-width bins, weighted by count."""
    bins = np.minimum((scores * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [abs(scores[bins == b].sum() - truth[bins == b].sum()) for b in range(CALIBRATION_BINS)]
    return float(sum(gaps) / len(truth))


def _same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, float) and isinstance(found, float | int):
        return math.isclose(wanted, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(wanted == found)
