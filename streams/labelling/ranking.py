"""The order of the queue: the most valuable first, all different, and a share drawn by chance.

Labels of the most doubtful inputs alone say nothing of the others. So of every budget a part goes
to inputs drawn by chance, and each input carries the probability with which it was chosen:

- chosen for its value: 1. It is among the most valuable, and would be whatever the draw.
- chosen by chance: the rate of the draw, the same for all the rest.

A sum over labelled inputs of x / probability then estimates the sum of x over all inputs without
bias (Horvitz and Thompson, 1952), as long as what is chosen gets labelled. The draw is a hash of
the request id ("permanent random numbers", Ohlsson, 1995): asked again, by whomever, an input is
drawn or not drawn as before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from schemas.columns import Column, Columns
from streams.labelling.policy import Labelling
from streams.labelling.value import Floats, valid

Lane = Literal["value", "chance"]

BINS = 10
"""Parts that a number's range is cut into, to tell whether two inputs are alike."""
MOST_DIVERSE = 1000
"""Inputs that are compared with those chosen before them; beyond it the order is that of value."""


@dataclass(frozen=True, slots=True)
class Pick:
    """A place in the queue: the candidate's row, why it is there, and with which probability."""

    row: int
    lane: Lane
    probability: float


def draws(seed: int, ids: Iterable[str]) -> Floats:
    """A number from 0 (inclusive) to 1 (exclusive) for each id: uniform, and always the same.

    The first eight bytes of a SHA-256, as ClickHouse computes it as well:
    ``reinterpretAsUInt64(substring(SHA256(concat(seed, ':', id)), 1, 8))``.
    """
    words = (hashlib.sha256(f"{seed}:{id_}".encode()).digest()[:8] for id_ in ids)
    numbers = np.fromiter((int.from_bytes(word, "little") for word in words), np.uint64)
    return (numbers >> np.uint64(11)) / float(1 << 53)


def rate(policy: Labelling, inputs: int) -> float:
    """With which probability chance draws an input; inputs: how many came in the last period."""
    return min(1.0, policy.random_share * policy.budget / max(inputs, 1))


def rank(
    policy: Labelling,
    value: Floats,
    draw: Floats,
    kinds: npt.NDArray[np.int32],
    inputs: int,
    done: int = 0,
    done_by_chance: int = 0,
) -> list[Pick]:
    """The queue of what is left of a period's budget.

    value, draw: (n,) of the candidates. kinds: (n, features), equal numbers where two are alike
    in a feature (`codes`). inputs: that came in the last period, labelled or not. done,
    done_by_chance: answers of this period so far, and those of them that chance chose.

    Each part of the budget that finds too few inputs is left to the other.
    """
    left = min(max(policy.budget - done, 0), len(value))
    for_chance = min(left, max(round(policy.random_share * policy.budget) - done_by_chance, 0))
    drawn = rate(policy, inputs)
    best = most_valuable(value, kinds, left, policy.diversity)
    lucky = np.argsort(draw, kind="stable")[: int((draw < drawn).sum())]
    # Where each drawn one stands by value: the first of those are chosen for that, whatever the
    # draw. The fewest places for value with which all are taken.
    place = np.full(len(value), left)
    place[best] = np.arange(left)
    for places in range(left - for_chance, left + 1):
        chosen = lucky[place[lucky] >= places]
        if len(chosen) >= left - places:
            break
    best, chosen = best[:places], chosen[: left - places]
    by_value = [Pick(row, "value", 1.0) for row in best.tolist()]
    by_chance = [Pick(row, "chance", drawn) for row in chosen.tolist()]
    return _mixed(by_value, by_chance, policy.random_share, done, done_by_chance)


def _mixed(
    by_value: Sequence[Pick], by_chance: Sequence[Pick], share: float, done: int, by_luck: int
) -> list[Pick]:
    """Both lanes in turns, so that at every moment the share of chance is as it should be."""
    queue: list[Pick] = []
    lanes = {"value": list(by_value[::-1]), "chance": list(by_chance[::-1])}
    while lanes["value"] or lanes["chance"]:
        turn = "chance" if by_luck + 1 <= share * (done + 1) + 1e-9 else "value"
        lane = lanes[turn] or lanes["value"] or lanes["chance"]
        pick = lane.pop()
        queue.append(pick)
        done += 1
        by_luck += pick.lane == "chance"
    return queue


def most_valuable(
    value: Floats, kinds: npt.NDArray[np.int32], n: int, diversity: float
) -> npt.NDArray[np.int64]:
    """Rows of the n most valuable candidates, the best first; of equal ones the first.

    One after another, and after each the others count for less by how much they are like it:
    value × (1 − diversity × the largest share of features in which it is alike to one chosen).
    Fifty of the same kind then do not fill the queue.
    """
    n = min(n, len(value))
    if diversity == 0:
        return np.argsort(-value, kind="stable")[:n]
    alike, left = np.zeros(len(value)), np.ones(len(value), bool)
    chosen: list[int] = []
    for _ in range(min(n, MOST_DIVERSE)):
        worth = np.where(left, value * (1 - diversity * alike), -1.0)
        row = int(worth.argmax())
        chosen.append(row)
        left[row] = False
        alike = np.maximum(alike, (kinds == kinds[row]).mean(axis=1) if kinds.size else 0.0)
    others = np.flatnonzero(left)
    others = others[np.argsort(-value[others], kind="stable")][: n - len(chosen)]
    return np.concatenate([np.array(chosen, np.int64), others])


def codes(columns: Columns, names: Sequence[str]) -> npt.NDArray[np.int32]:
    """(n, features): a number's tenth by rank among the candidates, a name's own; -1 missing."""
    made = [_codes(columns[name]) for name in names]
    return np.stack(made, axis=1) if made else np.zeros((0, 0), np.int32)


def _codes(column: Column) -> npt.NDArray[np.int32]:
    there = valid(column)
    found = np.full(len(there), -1, np.int32)
    present = column.values[there]
    if len(present) == 0:
        return found
    if present.dtype == object:
        found[there] = np.unique(present.astype(str), return_inverse=True)[1]
        return found
    numbers = present.astype(np.float64)
    inner = np.unique(np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1]))
    found[there] = np.searchsorted(inner, numbers, side="right")
    return found
