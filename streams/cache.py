"""Answers that are known already: the same features, the same version, the same answer.

It pays where inputs repeat and the model costs more than looking a row up (about 2 µs; a linear
model or a small ensemble costs less a row, a forest of 300 trees far more). `weir bench --sweep`
measures where.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from cachetools import LRUCache
from prometheus_client import Counter

from schemas.features import Category
from streams.version import Answers, Floats, Version

LOOKED_UP = Counter("weir_cache_lookups", "Inputs looked up in a version's cache", ["of", "result"])


class CachedVersion(Version):
    """A version that remembers what it made of the last inputs; they go with it when it is
    replaced. Not for several threads.

    entries: gate scores and answers, of each so many are kept, those used last. An entry takes
    about 300 bytes and 8 more for each feature.
    """

    def __init__(self, version: Version, entries: int) -> None:
        vars(self).update(vars(version))  # the same version, only asked less
        self._scores: LRUCache[bytes, float] = LRUCache(entries)
        self._known: LRUCache[bytes, tuple[Any, Any, Any]] = LRUCache(entries)
        self._numbers = [f.name for f in version.task.inputs if not isinstance(f, Category)]
        self._words = [f.name for f in version.task.inputs if isinstance(f, Category)]

    def gate_scores(self, frame: pd.DataFrame) -> Floats | None:
        """As `Version.gate_scores`."""
        if self.gate is None:
            return None
        keys = self._keys(frame)
        known, missing = _look_up("gate", self._scores, keys)
        scores = np.array([np.nan if value is None else value for value in known])
        if missing.any():
            made = super().gate_scores(frame if missing.all() else frame[missing])
            assert made is not None
            scores[missing] = made
            for row, score in zip(np.flatnonzero(missing).tolist(), made.tolist(), strict=True):
                self._scores[keys[row]] = score
        return scores

    def predict(self, frame: pd.DataFrame) -> Answers:
        """As `Version.predict`."""
        keys = self._keys(frame)
        known, missing = _look_up("model", self._known, keys)
        if missing.any():
            made = super().predict(frame if missing.all() else frame[missing])
            rows = np.flatnonzero(missing).tolist()
            for row, entry in zip(rows, _entries(made), strict=True):
                known[row] = self._known[keys[row]] = entry
            if missing.all():
                return made
        answers, probability, probabilities = zip(*known, strict=True)
        dtype = {"binary": bool, "multiclass": object, "regression": np.float64}[self.kind]
        answer = np.empty(len(answers), dtype)
        answer[:] = answers
        return Answers(
            answer,
            None if probability[0] is None else np.array(probability, np.float64),
            None if probabilities[0] is None else np.stack(probabilities),
        )

    def _keys(self, frame: pd.DataFrame) -> list[bytes]:
        """Each row's features as bytes."""
        numbers = np.ascontiguousarray(frame[self._numbers].to_numpy(np.float64))
        parts = [numbers.view(np.uint8).reshape(len(frame), -1)]
        for name in self._words:
            codes = np.asarray(frame[name].cat.codes, np.int32)
            parts.append(codes.view(np.uint8).reshape(len(frame), -1))
        whole = np.ascontiguousarray(np.concatenate(parts, axis=1))
        raw, width = whole.tobytes(), whole.shape[1]
        return [raw[at : at + width] for at in range(0, len(raw), width)]


def _look_up(
    of: str, cache: LRUCache[bytes, Any], keys: Sequence[bytes]
) -> tuple[list[Any], npt.NDArray[np.bool_]]:
    known = [cache.get(key) for key in keys]
    missing = np.array([value is None for value in known], bool)
    misses = int(missing.sum())
    LOOKED_UP.labels(of, "hit").inc(len(keys) - misses)
    LOOKED_UP.labels(of, "miss").inc(misses)
    return known, missing


def _entries(answers: Answers) -> list[tuple[Any, Any, Any]]:
    nothing = [None] * len(answers)
    return list(
        zip(
            answers.answer.tolist(),
            nothing if answers.probability is None else answers.probability.tolist(),
            nothing if answers.probabilities is None else list(answers.probabilities),
            strict=True,
        )
    )
