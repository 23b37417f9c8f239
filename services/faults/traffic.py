"""What the load is: requests, truths and poison that follow from a seed alone.

Request n has the id ``r<n>``; a poisoned request has ``p<n>``. Event time
runs through ``SPAN_MS`` from the first request to the last, far less than the label horizon.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SITES = ["north", "south", "west"]
START_MS = 1_370_044_800_000  # 2013-06-01
SPAN_MS = 36 * 3_600_000
MINUTE_MS = 60_000

BLOCK = 500
"""Requests that are drawn together; truths come so many blocks after their requests."""
LATEST = 80
"""Blocks after its request within which a truth and all that follows it is published."""

POISON_SHARE = 0.2
"""Of the blocks, those with one malformed message."""
BURST = 40
"""Malformed messages of a fault."""


@dataclass(frozen=True)
class Drawn:
    """Features and true answers of some requests, an array each."""

    site: Ints
    load: Floats
    heat: Floats
    age: Floats
    age_known: Mask
    fails: Mask


def draw(chance: np.random.Generator, n: int) -> Drawn:
    """Features, and answers that depend on them."""
    site = chance.integers(0, len(SITES), n)
    load, heat, age = chance.normal(size=(3, n)).clip(-6, 6)
    risk = 1.5 * load - heat + 0.5 * age + 0.7 * (site - 1)
    return Drawn(
        site, load, heat, age, chance.random(n) > 0.05, chance.random(n) < 1 / (1 + np.exp(-risk))
    )


@dataclass(frozen=True)
class Truths:
    """Truths in the order in which they are published, an array each."""

    n: Ints
    known_at: Ints
    truth: Mask

    def __len__(self) -> int:
        return len(self.n)


@dataclass(frozen=True)
class Poison:
    """A malformed message: ``flavour`` says how (see `FLAVOURS`), ``number`` makes its id."""

    flavour: str
    number: int


FLAVOURS: Mapping[str, tuple[str, bool]] = {
    "garbage": ("requests", False),
    "empty": ("requests", True),
    "unknown-schema": ("requests", True),
    "cut-off": ("requests", True),
    "unknown-site": ("requests", True),
    "out-of-range": ("requests", True),
    "garbage-truth": ("truth", False),
    "impossible-truth": ("truth", False),
    "unknown-signal": ("signals", False),
}
"""By flavour: the topic, and whether its producer can be told (gets a rejected prediction): its id
can be read, or else its key is taken for it. Garbage comes without a key."""


@dataclass(frozen=True)
class Block:
    """What is published together, in this order: early truths, requests, poison, truths."""

    first: int
    event_time: Ints
    drawn: Drawn
    early: Truths
    poison: Sequence[Poison]
    truths: Truths


@dataclass(frozen=True)
class Expected:
    """What is to come of the whole load.

    final: by request, 1 or 0 for its last truth, -1 where none is published (int8).
    truths: how many are published. poison: messages by topic. told: ids ``p<n>`` that are to
    have one rejected prediction.
    """

    final: npt.NDArray[np.int8]
    truths: int
    poison: Mapping[str, int]
    told: Ints


class Traffic:
    """The load of a seed. ``bursts``: requests before which a burst of poison comes."""

    def __init__(self, seed: int, requests: int, bursts: Sequence[int] = ()) -> None:
        self.seed = seed
        self.requests = requests
        self._bursts = sorted(bursts)

    def blocks(self) -> Iterator[Block]:
        """All of it, in order; the last blocks hold late truths only."""
        due: defaultdict[int, list[Truths]] = defaultdict(list)
        full = -(-self.requests // BLOCK)
        poisoned = 0
        for number in range(full + LATEST):
            first = min(number * BLOCK, self.requests)
            n = min(BLOCK, self.requests - first)
            drawn = draw(np.random.default_rng([self.seed, number, 0]), n)
            at = self.event_time(first, n)
            early, later = self._truths(number, first, at, drawn.fails)
            for after, truths in later.items():
                due[number + after].append(truths)
            poison = self._poison(number, first, n, poisoned)
            poisoned += len(poison)
            yield Block(first, at, drawn, early, poison, _joined(due.pop(number, [])))

    def event_time(self, first: int, n: int) -> Ints:
        """Event times of requests, milliseconds."""
        return START_MS + np.arange(first, first + n, dtype=np.int64) * SPAN_MS // self.requests

    def expected(self) -> Expected:
        """What is to come of it."""
        final = np.full(self.requests, -1, np.int8)
        latest = np.zeros(self.requests, np.int64)
        truths, told = 0, []
        poison: defaultdict[str, int] = defaultdict(int)
        for block in self.blocks():
            for some in (block.early, block.truths):
                truths += len(some)
                for n, known_at, truth in zip(some.n, some.known_at, some.truth, strict=True):
                    if known_at > latest[n]:  # the later one by its own time holds
                        latest[n], final[n] = known_at, truth
            for bad in block.poison:
                topic, is_told = FLAVOURS[bad.flavour]
                poison[topic] += 1
                if is_told:
                    told.append(bad.number)
        return Expected(final, truths, dict(poison), np.array(told, np.int64))

    def _truths(
        self, number: int, first: int, at: Ints, fails: Mask
    ) -> tuple[Truths, dict[int, Truths]]:
        """Truths of a block's requests: those before their requests, the others by delay."""
        n = len(at)
        chance = np.random.default_rng([self.seed, number, 1])
        known, when, then = chance.random(n) < 0.85, chance.random(n), chance.random(n)
        delay = np.where(
            when < 0.05,
            0,
            np.where(when < 0.15, chance.integers(20, 60, n), chance.integers(1, 5, n)),
        )
        gap = chance.integers(1, 10, n)
        ids = np.arange(first, first + n, dtype=np.int64)
        # (who, blocks after the request, minutes of event time after it, the same truth?)
        waves = [
            (known, delay, 10, True),
            (known & (then < 0.04), delay + gap, 11, True),  # said again
            (known & (then >= 0.04) & (then < 0.12), delay + gap, 20, False),  # corrected
            (known & (then >= 0.10) & (then < 0.12), delay + 2 * gap, 30, True),  # and back
            (known & (then >= 0.12) & (then < 0.13), delay + gap, 5, False),  # stale: no effect
        ]
        by_delay: defaultdict[int, list[Truths]] = defaultdict(list)
        for who, after, minutes, same in waves:
            for blocks in np.unique(after[who]).tolist():
                rows = np.flatnonzero(who & (after == blocks))
                truth = fails[rows] if same else ~fails[rows]
                by_delay[blocks].append(Truths(ids[rows], at[rows] + minutes * MINUTE_MS, truth))
        joined = {blocks: _joined(some) for blocks, some in by_delay.items()}
        return joined.pop(0, _joined([])), joined

    def _poison(self, number: int, first: int, n: int, so_far: int) -> list[Poison]:
        if not n:
            return []
        chance = np.random.default_rng([self.seed, number, 2])
        count = int(chance.random() < POISON_SHARE)
        count += BURST * sum(first <= at < first + n for at in self._bursts)
        flavours = list(FLAVOURS)
        drawn = chance.integers(0, len(flavours), count).tolist()
        return [Poison(flavours[i], so_far + k) for k, i in enumerate(drawn)]


def _joined(some: Sequence[Truths]) -> Truths:
    if not some:
        return Truths(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool))
    return Truths(
        np.concatenate([t.n for t in some]),
        np.concatenate([t.known_at for t in some]),
        np.concatenate([t.truth for t in some]),
    )
