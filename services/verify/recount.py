"""The windows' metrics by their plain definition, from all predictions and outcomes at once.

Nothing here adds up partial sums: a window's rows are taken together, each request with its last
truth, and measured with scikit-learn (`scores`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from services.verify import limits
from services.verify.expectations import FIELDS, estimates
from services.verify.scores import quality
from streams.task import LastN, Task, Window
from streams.windows import begun, spans_of

Key = tuple[str, int, str, str, str, str]
"""Window, its start, version, role, segment, value: what a metric record is about."""

KEY = ("window", "window_start", "version", "role", "segment", "value")
COUNTS = ("predictions", "deferred", "rejected", "outcomes", "scored")
_BOUNDED = (
    *("share_deferred", "base_rate", "accuracy", "precision", "recall", "f1", "roc_auc"),
    *("log_loss", "brier", "mae", "rmse"),
)
QUALITY = (
    *("weight", "base_rate", "accuracy", "precision", "recall", "f1", "roc_auc"),
    *("log_loss", "brier", "calibration_error", "mae", "rmse", "r2"),
    *(f"{name}_{end}" for name in _BOUNDED for end in ("low", "high")),
)
UNIT = 0.001
"""Weights count in thousandths."""
TOLERANCE = 1e-6
"""Relative and absolute: sums of a million losses in another order differ by far less."""

OF_TELLING = ("revision", "computed_at", "watermark")
"""Fields of a metric record that say when it was told, not what."""


def windows(
    predictions: pd.DataFrame,
    outcomes: pd.DataFrame,
    task: Task,
    passed: Callable[[int, int], object] = lambda _done, _of: None,
) -> dict[Key, dict[str, Any]]:
    """The fields that each metric record is to have in the end.

    predictions: a row a prediction record with ``event_time`` (ms), ``status``, ``version``,
    ``role``, ``gate_decision`` and a column a segment (None where the request had no readable
    features); with ``expected`` and what `expectations.estimates` names beside it the estimates
    are recounted too. outcomes: the same columns, ``label``, ``source`` and those of
    `scores.quality`, one row a request and label: its last outcome.
    passed: told now and then how many windows are done, of how many.
    """
    newest = _newest(predictions, outcomes)
    outcomes = _weighed(outcomes)
    if newest is None:
        return {}
    found: dict[Key, dict[str, Any]] = {}
    parts = [
        _Part(window, predictions, outcomes, task, newest)
        for window in task.windows
        if isinstance(window, Window)
    ]
    for window in task.windows:
        if isinstance(window, LastN):
            found |= _last(window, outcomes, task, newest)
    total = sum(len(part.panes) for part in parts)
    # Windows that slide, and segments with one value, often hold the very same rows.
    measured: dict[Any, dict[str, Any]] = {}
    for part in parts:
        for (span, *who), panes in part.panes.items():
            if len(found) % 100 == 0:
                passed(len(found), total)
            asked, known = _rows(part.asked, panes), _rows(part.known, panes)
            same = (_digest(asked), _digest(known), *_judged(who))
            if same not in measured:
                status, joined = predictions["status"].iloc[asked], outcomes.iloc[known]
                realised = measures(status, joined, task, who)
                if "expected" in predictions:
                    realised |= estimates(predictions.iloc[asked], realised, task)
                measured[same] = realised
            key: Any = (span.name, span.start, *who)
            found[key] = {
                "window_end": span.end,
                "complete": newest >= span.end,
                "since": None,
                **measured[same],
            }
    passed(total, total)
    return found


def _digest(rows: npt.NDArray[np.int64]) -> bytes:
    return hashlib.blake2b(rows.tobytes(), digest_size=16).digest()


def _judged(who: Sequence[str]) -> tuple[bool, bool, bool]:
    """Of a group (version, role, segment, value): whether it is all traffic, that of the inputs
    that were held back, that of a kind of weak labels."""
    return not who[2], tuple(who[2:]) == ("gate_decision", "defer"), who[2] == "label"


def _newest(*frames: pd.DataFrame) -> int | None:
    """The watermark: the newest event time of all but the rejected."""
    times = [frame.loc[frame["status"] != "rejected", "event_time"] for frame in frames]
    return max((int(some.max()) for some in times if len(some)), default=None)


def _last(
    window: LastN, outcomes: pd.DataFrame, task: Task, newest: int
) -> dict[Key, dict[str, Any]]:
    """The last N outcomes as of each checkpoint before which there are new ones."""
    counted = outcomes[(outcomes["status"] == "answered") & (outcomes["label"] == "true")]
    every = round(window.every.total_seconds() * 1000)
    found: dict[Key, dict[str, Any]] = {}
    nobody = pd.Series([], dtype=object)
    for who, rows in counted.groupby(["version", "role"], observed=True):
        ordered = rows.sort_values(["event_time", "request_id"])
        for start in sorted(set(ordered["event_time"] // every * every)):
            before = ordered[ordered["event_time"] < start + every].tail(window.n)
            key: Any = (window.name, int(start), *map(str, who), "", "")
            found[key] = {
                "window_end": int(start) + every,
                "complete": newest >= start + every,
                "since": int(before["event_time"].iloc[0]),
                **measures(nobody, before, task),
                **dict.fromkeys(FIELDS),
            }
    return found


class _Part:
    """The windows of one kind: by span and group, the panes and groups whose rows they hold."""

    def __init__(
        self,
        window: Window,
        predictions: pd.DataFrame,
        outcomes: pd.DataFrame,
        task: Task,
        newest: int,
    ) -> None:
        slide = round(window.slide.total_seconds() * 1000)
        self.asked = _by_group(predictions, slide, _parts(predictions, task))
        self.known = _by_group(outcomes, slide, _parts(outcomes, task))
        self.panes: dict[tuple[Any, ...], list[Any]] = {}
        for pane, *who in self.asked.keys() | self.known.keys():
            for span in spans_of(window, pane):
                if begun(span, window, newest):
                    self.panes.setdefault((span, *who), []).append((pane, *who))


def _weighed(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Those that count: without weak labels that have no weight (users took them back)."""
    if "weight" not in outcomes:
        return outcomes.assign(weight=1.0, label="true")
    weak = outcomes["label"] == "weak"
    weight = (outcomes["weight"] / UNIT).round() * UNIT
    outcomes = outcomes.assign(weight=weight.where(weak, 1.0))
    return outcomes[~weak | (outcomes["weight"] > 0)]


def _parts(frame: pd.DataFrame, task: Task) -> dict[str, pd.Series]:
    """By segment its value of each row, None where the row is in none; '' is all traffic."""
    found = {"": pd.Series("", frame.index), **{name: frame[name] for name in task.segments}}
    if "gate_decision" in frame:
        held, answered = frame["gate_decision"] == "defer", frame["status"] == "answered"
        admitted = (frame["gate_decision"] == "admit") & (frame["status"] != "rejected")
        found["gate_decision"] = pd.Series(
            np.select([held & answered, held, admitted], ["explore", "defer", "admit"], ""),
            frame.index,
            object,
        ).replace("", None)
    if "label" in frame:
        weak = frame["label"] == "weak"
        if "source" in frame:
            found["source"] = frame["source"]
        # Nothing of weak labels is in any other group.
        found = {name: values.astype(object).where(~weak, None) for name, values in found.items()}
        found["label"] = frame["label"].astype(object).where(weak, None)
    return found


def measures(
    status: pd.Series, joined: pd.DataFrame, task: Task, who: Sequence[str] = ("", "", "", "")
) -> dict[str, Any]:
    """Counts and quality of one window's predictions and last outcomes.

    who: version, role, segment and value: of the inputs that were held back the fallback's
    answers are judged, and of weak labels each by its weight.
    """
    predictions = int((status != "rejected").sum())
    deferred = int((status == "deferred").sum())
    whole, fallback, weak = _judged(who)
    scored = joined[joined["status"] == ("deferred" if fallback else "answered")]
    low, high = limits.share(deferred, predictions) or (None, None)
    return {
        "predictions": predictions,
        "deferred": deferred,
        "rejected": int((status == "rejected").sum()),
        "outcomes": len(joined),
        "scored": len(scored),
        "share_deferred": deferred / predictions if predictions else 0.0,
        "share_labelled": len(joined) / predictions if predictions else 0.0,
        **dict.fromkeys(QUALITY),
        "share_deferred_low": low,
        "share_deferred_high": high,
        "weight": float(scored["weight"].sum()) if weak else None,
        "classes": _classes(task, scored) if whole else {},
        **quality(task.kind, task.classes, scored, answers_only=fallback),
    }


def _classes(task: Task, scored: pd.DataFrame) -> dict[str, int]:
    """How many truths are of each class; empty where there are none, and for a regression."""
    if task.kind == "regression" or not len(scored):
        return {}
    truths = scored["truth"].map(text)
    classes = ("true", "false") if task.kind == "binary" else task.classes
    return {name: int((truths == name).sum()) for name in classes}


def differences(
    wanted: Mapping[Key, Mapping[str, Any]], found: Mapping[Key, Mapping[str, Any]]
) -> dict[Key, list[str]]:
    """What is wrong with each metric record, by window; empty where all is right."""
    wrong: dict[Key, list[str]] = {}
    for key in wanted.keys() - found.keys():
        wrong[key] = ["there is no such record"]
    for key in found.keys() - wanted.keys():
        if not any(found[key][name] for name in COUNTS):
            continue  # all that was in it has been corrected away, and it says so
        wrong[key] = ["nothing in the topics is in this window"]
    for key in wanted.keys() & found.keys():
        lines = [
            f"{name} is {found[key].get(name)}, not {value}"
            for name, value in wanted[key].items()
            if not _same(value, found[key].get(name))
        ]
        if lines:
            wrong[key] = lines
    return dict(sorted(wrong.items()))


def lines(wrong: Mapping[Key, Sequence[str]]) -> list[str]:
    """A line a window."""
    return [f"{key}: {'; '.join(said)}" for key, said in wrong.items()]


def latest(records: Iterable[dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    """Of metric records in the order of their topic, the last revision by key."""
    found: dict[Key, dict[str, Any]] = {}
    for record in records:
        key: Any = tuple(record[name] for name in KEY)
        if key not in found or record["revision"] >= found[key]["revision"]:
            found[key] = record
    return found


def _by_group(frame: pd.DataFrame, pane_ms: int, parts: Mapping[str, pd.Series]) -> dict[Any, Any]:
    """Positions of rows by pane, version, role, segment and its value."""
    pane = (frame["event_time"] // pane_ms * pane_ms).rename("pane")
    keys = [pane, frame["version"], frame["role"]]
    groups: dict[Any, Any] = {}
    for segment, values in parts.items():
        parted = frame.groupby([*keys, values.rename("value")], observed=True)
        with_value: dict[Any, Any] = parted.indices
        groups |= {
            (int(start), str(version), str(role), segment, text(value)): rows
            for (start, version, role, value), rows in with_value.items()
        }
    return groups


def text(value: Any) -> str:
    """A segment's value as metric records have it."""
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def _rows(groups: Mapping[Any, Any], keys: Sequence[Any]) -> npt.NDArray[np.int64]:
    some = [groups[key] for key in keys if key in groups]
    return np.concatenate(some) if some else np.zeros(0, np.int64)


def _same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, float) and isinstance(found, float | int):
        return math.isclose(wanted, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(wanted == found)
