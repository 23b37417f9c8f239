"""Long traffic in which nothing changes, as the sums that Weir's stages would make of it.

Drawing fifty numbers a record takes longer than judging them. What Weir judges are counts: of n
records with known distributions they are multinomial, and are drawn as such.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from services.evaluate.drift.judge import Seen
from services.evaluate.drift.ours import VERSION, reference_of
from services.evaluate.drift.streams import FEATURES, REFERENCE, Made
from streams.drift.counts import STEP, Counts
from streams.drift.family import Family
from streams.drift.policy import Drift
from streams.drift.rates import GRID, load
from streams.drift.reference import Reference

Floats = npt.NDArray[np.float64]

BATCH = 1_024
"""Records of a micro-batch, each with its label."""
PER_REFERENCE = 10_000_000
"""Records after which another reference is drawn: false alarms depend on how it fell out."""
RATE = 0.1


def watch(records: int, policy: Drift, seed: int) -> Seen:
    """The whole policy on FEATURES numbers, their mixtures, a score, answers, truths and errors,
    against a reference that is drawn too."""
    draw = np.random.default_rng(seed)
    reference = _reference(draw)
    family = Family(reference.task, reference, policy)
    alarms: list[int] = []
    done, spent = 0, 0.0
    for batch in _batches(reference, draw, records // BATCH):
        began = time.process_time()
        found = family.update(batch)
        spent += time.process_time() - began
        done += BATCH
        alarms += [done - 1] * len(found)
    return Seen(done, 0, (), tuple(alarms), spent)


def longest(runs: Sequence[Seen]) -> int:
    """Records of the longest run of one family without a finding, over all of them."""
    return max(max(np.diff([-1, *run.alarms, run.records - 1]).tolist(), default=0) for run in runs)


def _reference(draw: np.random.Generator) -> Reference:
    n = REFERENCE
    probability = draw.random(n)
    answer = probability >= 0.5
    wrong = draw.random(n) < RATE
    return reference_of(
        Made(
            n,
            (),
            {f"x{i:02}": draw.normal(size=n) for i in range(FEATURES)},
            wrong=wrong,
            answer=answer,
            probability=probability,
            truth=answer ^ wrong,
        )
    )


def _batches(reference: Reference, draw: np.random.Generator, count: int) -> Iterator[Counts]:
    shares = [_true_shares(reference, at) for at in range(len(reference.blocks))]
    starts = reference.starts
    errors = reference.errors
    assert errors is not None
    by_score = np.diff([0.0, *errors.score_edges, 1.0])  # of a probability that is uniform
    loads = load(errors.by_score[:, None], GRID)
    widths = {len(one) for one in shares}
    groups = {w: [at for at, one in enumerate(shares) if len(one) == w] for w in widths}
    tables = {w: np.array([shares[at] for at in group]) for w, group in groups.items()}
    none = np.zeros(len(shares), np.int64)
    for at in range(count):
        cells = np.zeros(starts[-1], np.int64)
        for width, group in groups.items():
            drawn = draw.multinomial(BATCH, tables[width])
            for block, row in zip(group, drawn, strict=True):
                cells[starts[block] : starts[block] + width] = row
        steps = BATCH // STEP
        scores = draw.multinomial(STEP, by_score, steps)
        labels = np.column_stack(
            [
                np.full(steps, STEP),
                draw.binomial(STEP, RATE, steps),
                scores @ errors.by_score,
                scores @ loads,
            ]
        )
        time_ms = 1_000 * BATCH * at
        yield Counts(
            VERSION, 0, time_ms, time_ms + 1_000 * (BATCH - 1), BATCH, cells, none,
            np.zeros(len(shares)), labels,
        )  # fmt: skip


def _true_shares(reference: Reference, at: int) -> Floats:
    """Probabilities of a block's bins, of which the reference has an estimate."""
    block = reference.blocks[at]
    if block.names is not None:
        return np.full(block.bins, 1 / block.bins)
    if block.kind == "joint":
        assert reference.joint is not None
        first = len(reference.blocks) - len(reference.joint)
        mean, deviation = reference.joint.moments(at - first)
        inside = ndtr((block.edges - mean) / deviation)
    elif block.kind == "data":
        inside = ndtr(block.edges)
    else:
        inside = block.edges
    shares: Floats = np.diff([0.0, *inside, 1.0])
    return shares
