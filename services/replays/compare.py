"""What changes when another version answers the same requests."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from services.replays.paired import Paired
from services.replays.said import Floats, Mask, Said
from streams.intervals import share
from streams.task import Task

BINS = 10
"""Equally wide bins of probability."""
SAME = 1e-9
"""Two numbers are the same answer where they differ by less than this, relative to either."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LEAST_SHARE = 1e-4
"""What an empty bin counts as in the stability index, which would be infinite."""
LEAST_PROBABILITY = 1e-15
"""Log loss takes no probability for smaller."""


class Comparison:
    """Sums up chunks of requests with what was said of them then and now; `plain` reports."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._n = 0
        self._changed = self._model_changed = self._both = 0
        self._moves: Counter[tuple[str, str]] = Counter()
        self._versions: Counter[str] = Counter()
        self._classes: dict[str, Counter[str]] = {"then": Counter(), "now": Counter()}
        self._values: dict[str, list[Floats]] = {"then": [], "now": []}
        self._moved: list[Floats] = []
        self._losses: defaultdict[str, Paired] = defaultdict(Paired)

    def take(
        self,
        times_ms: npt.NDArray[np.int64],
        versions: npt.NDArray[Any],
        then: Said,
        now: Said,
        truth: npt.NDArray[Any],
        known: Mask,
    ) -> None:
        """More requests. versions: of each the one that answered then. truth: where ``known``."""
        self._n += len(times_ms)
        names, counts = np.unique(versions.astype(str), return_counts=True)
        self._versions.update(dict(zip(names.tolist(), counts.tolist(), strict=True)))
        changed = _differ(self._task, then, now)
        both = ~then.deferred & ~now.deferred
        self._changed += int(changed.sum())
        self._model_changed += int((changed & both).sum())
        self._both += int(both.sum())
        for was in (False, True):
            for is_ in (False, True):
                count = int(((then.deferred == was) & (now.deferred == is_)).sum())
                self._moves[_word(was), _word(is_)] += count
        self._distribute(then, now, both)
        self._judge(times_ms, then, now, truth, known, both)

    def _distribute(self, then: Said, now: Said, both: Mask) -> None:
        regression = self._task.kind == "regression"
        for name, said in (("then", then), ("now", now)):
            asked = ~said.deferred
            values = said.answer if regression else said.probability
            self._values[name].append(values[asked].astype(np.float64))
            if not regression:
                words, counts = np.unique(said.answer[asked].astype(str), return_counts=True)
                self._classes[name].update(dict(zip(words.tolist(), counts.tolist(), strict=True)))
        if self._task.kind != "multiclass":
            was, is_ = (s.answer if regression else s.probability for s in (then, now))
            self._moved.append(np.abs(is_[both] - was[both]))

    def _judge(
        self,
        times_ms: npt.NDArray[np.int64],
        then: Said,
        now: Said,
        truth: npt.NDArray[Any],
        known: Mask,
        both: Mask,
    ) -> None:
        for scope, rows in (("as_answered", known), ("both_answered", known & both)):
            if not rows.any():
                continue
            for name, losses in _losses(self._task, then, now, truth, rows).items():
                if scope == "as_answered" and name not in ("error", "absolute_error"):
                    continue  # the fallback has no probability
                self._losses[f"{scope}/{name}"].take(times_ms[rows], *losses)

    def plain(self) -> dict[str, Any]:
        """All of it as JSON data."""
        asked = {"then": 0, "now": 0}
        for (was, is_), count in self._moves.items():
            asked["then"] += count * (was == "answered")
            asked["now"] += count * (is_ == "answered")
        losses: dict[str, dict[str, Any]] = {"as_answered": {}, "both_answered": {}}
        for name, paired in self._losses.items():
            scope, _, loss = name.partition("/")
            losses[scope][loss] = paired.plain()
        return {
            "requests": self._n,
            "answered_by": dict(self._versions.most_common()),
            "changed": _share(self._changed, self._n),
            "changed_where_both_models_answered": _share(self._model_changed, self._both),
            "deferred": {name: _share(self._n - asked[name], self._n) for name in ("then", "now")},
            "moves": {f"{was} ► {is_}": count for (was, is_), count in self._moves.items()},
            "distribution": self._distribution(),
            "losses": losses,
        }

    def _distribution(self) -> dict[str, Any]:
        values = {name: _joined(parts) for name, parts in self._values.items()}
        found: dict[str, Any] = {}
        if self._task.kind != "multiclass":
            moved = _joined(self._moved)
            found["mean_absolute_change"] = float(moved.mean()) if len(moved) else None
            found["largest_change"] = float(moved.max()) if len(moved) else None
        if self._task.kind == "regression":
            for name, given in values.items():
                quantiles = np.quantile(given, QUANTILES).tolist() if len(given) else []
                found[name] = dict(zip(map(str, QUANTILES), quantiles, strict=False))
            return found
        found["answers"] = {name: dict(counts) for name, counts in self._classes.items()}
        counts = {
            name: np.bincount(np.minimum((given * BINS).astype(int), BINS - 1), minlength=BINS)
            for name, given in values.items()
        }
        found["probability"] = {name: of_bin.tolist() for name, of_bin in counts.items()}
        found["stability_index"] = _stability(counts["then"], counts["now"])
        return found


def _differ(task: Task, then: Said, now: Said) -> Mask:
    if task.kind == "regression":
        different: Mask = ~np.isclose(then.answer, now.answer, SAME, SAME)
        return different
    return np.asarray(then.answer != now.answer, bool)


def _losses(
    task: Task, then: Said, now: Said, truth: npt.NDArray[Any], rows: Mask
) -> dict[str, tuple[Floats, Floats]]:
    """The losses of some rows, then and now, by name."""
    found: dict[str, tuple[Floats, Floats]] = {}
    if task.kind == "regression":
        pair = [np.abs(said.answer[rows] - truth[rows]) for said in (then, now)]
        return {"absolute_error": (pair[0], pair[1])}
    wrong = [(said.answer[rows] != truth[rows]).astype(float) for said in (then, now)]
    found["error"] = (wrong[0], wrong[1])
    logs = [_log_loss(task, said, truth, rows) for said in (then, now)]
    found["log_loss"] = (logs[0], logs[1])
    if task.kind == "binary":
        briers = [(said.probability[rows] - truth[rows]) ** 2 for said in (then, now)]
        found["brier"] = (briers[0], briers[1])
    return found


def _log_loss(task: Task, said: Said, truth: npt.NDArray[Any], rows: Mask) -> Floats:
    if task.kind == "binary":
        of_true = said.probability[rows]
        given = np.where(truth[rows].astype(bool), of_true, 1 - of_true)
    else:
        assert said.probabilities is not None
        place = {name: at for at, name in enumerate(task.classes)}
        at = np.array([place[name] for name in truth[rows]], np.intp)
        given = said.probabilities[rows][np.arange(len(at)), at]
    losses: Floats = -np.log(np.clip(given, LEAST_PROBABILITY, 1.0))
    return losses


def _stability(then: npt.NDArray[np.int64], now: npt.NDArray[np.int64]) -> float | None:
    """Population stability index: Σ (q - p) ln(q / p) over the bins."""
    if not then.sum() or not now.sum():
        return None
    p, q = (np.maximum(counts / counts.sum(), LEAST_SHARE) for counts in (then, now))
    return float(((q - p) * np.log(q / p)).sum())


def _joined(parts: list[Floats]) -> Floats:
    return np.concatenate(parts) if parts else np.empty(0)


def _share(part: int, of: int) -> dict[str, Any]:
    interval = share(part, of)
    return {
        "count": part,
        "of": of,
        "share": part / of if of else None,
        "interval": None if interval is None else list(interval),
    }


def _word(deferred: bool) -> str:
    return "deferred" if deferred else "answered"
