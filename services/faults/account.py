"""What was lost, doubled or wrong: pure, over what was read back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.faults.traffic import Expected

Ints = npt.NDArray[np.int64]

NOBODY = np.iinfo(np.int64).min
"""The number of an id that the load did not make."""


def number_of(id_: str) -> int:
    """A request's number; of a poisoned one ``-1 - number``."""
    kind, digits = id_[:1], id_[1:]
    if not (digits.isascii() and digits.isdigit()):
        return NOBODY
    return int(digits) if kind == "r" else -1 - int(digits) if kind == "p" else NOBODY


@dataclass(frozen=True)
class Predictions:
    """By record: whose, and whether it was rejected."""

    number: Ints
    rejected: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Outcomes:
    """By record, those of a partition in order: whose, its revision, truth (1 or 0) and the truth
    that it replaces (-1: none)."""

    number: Ints
    revision: Ints
    truth: npt.NDArray[np.int8]
    previous: npt.NDArray[np.int8]


def predictions_figures(
    expected: Expected, requests: Ints, predictions: Predictions
) -> dict[str, int]:
    """``lost``, ``duplicates``, ``refused``: well-formed requests without an answer, predictions
    beyond one a request record, and well-formed requests that were rejected.

    ``poison_untold`` and ``poison_told_twice``: the same of poisoned requests whose id can be read.
    ``unasked``: predictions for ids that were never published. requests: the numbers of the
    request records in the topic.
    """
    n = len(expected.final)
    number, rejected = predictions.number, predictions.rejected
    asked = np.maximum(_counts(requests, n), 1)
    answered = _counts(number, n)
    told = np.isin(number, -1 - expected.told)
    told_counts = _counts_of(number[told & rejected], -1 - expected.told)
    return {
        "lost": int((answered == 0).sum()),
        "duplicates": int(np.maximum(answered - asked, 0).sum()),
        "refused": int((rejected & (number >= 0) & (number < n)).sum()),
        "poison_untold": int((told_counts == 0).sum()),
        "poison_told_twice": int(np.maximum(told_counts - 1, 0).sum()),
        "unasked": int((~told & ((number < 0) | (number >= n))).sum()),
    }


def outcomes_figures(expected: Expected, outcomes: Outcomes) -> dict[str, int]:
    """``outcomes_lost``: requests whose last truth is not that of their last outcome, or that have
    no outcome. ``outcomes_double_counted``: outcomes that a sum would count twice: those that
    replace nothing beyond the first of a request, those whose ``previous`` is not the truth of
    the one before, and those of requests that have no truth.
    """
    n = len(expected.final)
    known = (outcomes.number >= 0) & (outcomes.number < n)
    strangers = int((~known).sum())
    number = outcomes.number[known]
    # Stable: of one request, as they lie in its partition.
    order = np.lexsort((outcomes.revision[known], number))
    number = number[order]
    truth, previous = outcomes.truth[known][order], outcomes.previous[known][order]
    first = np.ones(len(number), bool)
    first[1:] = number[1:] != number[:-1]
    before = np.where(first, -1, np.concatenate([[-1], truth[:-1]])).astype(np.int8)
    # A chain in which each takes back the one before it adds up to its last.
    broken = previous != before
    unexpected = expected.final[number] == -1
    last = np.ones(len(number), bool)
    last[:-1] = first[1:]
    final = np.full(n, -1, np.int8)
    final[number[last]] = truth[last]
    wanted = expected.final >= 0
    return {
        "outcomes_lost": int((wanted & (final != expected.final)).sum()),
        "outcomes_double_counted": int((broken | unexpected).sum()) + strangers,
    }


def dead_letter_figures(
    expected: Expected, origins: Iterable[tuple[str, int, int]]
) -> dict[str, int]:
    """``dead_letters_lost``, ``dead_letters_doubled``, ``dead_letters_unexpected``.

    origins: of each dead letter, the short topic name, partition and offset of its record.
    """
    listed = list(origins)
    distinct = set(listed)
    by_topic = {topic: 0 for topic in expected.poison}
    for topic, _, _ in distinct:
        by_topic[topic] = by_topic.get(topic, 0) + 1
    surplus = [found - expected.poison.get(topic, 0) for topic, found in by_topic.items()]
    return {
        "dead_letters_lost": sum(-s for s in surplus if s < 0),
        "dead_letters_doubled": len(listed) - len(distinct),
        "dead_letters_unexpected": sum(s for s in surplus if s > 0),
    }


def sink_figures(
    topics: Mapping[str, Mapping[int, Ints]],
    tables: Mapping[str, Mapping[int, Ints]],
    forgetful: Sequence[str] = (),
) -> dict[str, int]:
    """``sink_lost``: records without a row; ``sink_duplicates``: rows beyond one a record.

    topics: offsets of the committed records by topic and partition; tables: of the rows.
    forgetful: compacted topics, whose tables may rightly hold more.
    """
    lost = doubled = 0
    for topic, partitions in topics.items():
        rows = tables.get(topic, {})
        for partition in partitions.keys() | rows.keys():
            there = partitions.get(partition, np.zeros(0, np.int64))
            kept, times = np.unique(rows.get(partition, np.zeros(0, np.int64)), return_counts=True)
            lost += len(np.setdiff1d(there, kept))
            doubled += int((times - 1).sum())
            if topic not in forgetful:
                doubled += len(np.setdiff1d(kept, there))
    return {"sink_lost": lost, "sink_duplicates": doubled}


def trainer_figures(events: Sequence[str], models: Iterable[tuple[str, str]]) -> dict[str, int]:
    """``retrains_lost``: events that no version answers; ``retrains_doubled``: versions beyond one
    an event. models: event id and version of each record of ``models``."""
    answers: dict[str, set[str]] = {}
    for event, version in models:
        answers.setdefault(event, set()).add(version)
    return {
        "retrains_lost": sum(event not in answers for event in events),
        "retrains_doubled": sum(len(answers.get(event, ())) > 1 for event in events),
    }


def recovery_figures(recoveries: Iterable[tuple[str, float]]) -> dict[str, Any]:
    """``p50`` and ``max`` of all, in seconds, and the same by kind of fault; None without any."""
    listed = list(recoveries)
    kinds = sorted({kind for kind, _ in listed})
    return {
        **_spread([s for _, s in listed]),
        "by_kind": {kind: _spread([s for k, s in listed if k == kind]) for kind in kinds},
    }


def _spread(seconds: Sequence[float]) -> dict[str, float | None]:
    if not seconds:
        return {"p50": None, "max": None}
    return {"p50": round(float(np.median(seconds)), 2), "max": round(max(seconds), 2)}


def _counts(numbers: Ints, n: int) -> Ints:
    return np.bincount(numbers[(numbers >= 0) & (numbers < n)], minlength=n).astype(np.int64)


def _counts_of(numbers: Ints, wanted: Ints) -> Ints:
    found, counts = np.unique(numbers, return_counts=True)
    by_number = dict(zip(found.tolist(), counts.tolist(), strict=True))
    return np.array([by_number.get(one, 0) for one in wanted.tolist()], np.int64)
