"""A bandit's shares: of each arm the probability that it is the best one.

Thompson sampling (Thompson 1933) draws an arm with the probability that it is best, given what is
known. Here requests are drawn by a hash of their key, and outcomes come days late and by batches;
so that probability is computed, becomes the arms' shares until more outcomes are there, and is
logged with each prediction. mabwiser's and river's Thompson sampling draw one arm at a time and
keep the probability to themselves, take rewards of 0 or 1 (river's Gaussian is drawn from the
rewards' distribution, not from that of their mean), and learn from one reward after the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from streams.rollout.evidence import Arm

DRAWS = 4096
PRIOR = 2.0
"""The standard error before there are outcomes, as a multiple of the largest that is known."""


def shares(
    arms: Mapping[str, Arm], versions: Sequence[str], floor: float, seed: str
) -> dict[str, float]:
    """Share of each version, 1 together, each at least `floor` (or an equal share, if less).

    A normal law for each mean loss; of a version without outcomes a wide one about the others'
    mean. The same arms and seed give the same shares.
    """
    k = len(versions)
    floor = min(floor, 1.0 / k)
    known = [arms[version] for version in versions if version in arms]
    if not known:
        return dict.fromkeys(versions, 1.0 / k)
    middle = sum(arm.mean for arm in known) / len(known)
    wide = PRIOR * max(max(arm.error for arm in known), 1e-9)
    means = np.array([arms[v].mean if v in arms else middle for v in versions])
    errors = np.array([max(arms[v].error, 1e-12) if v in arms else wide for v in versions])
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    draws = np.random.default_rng(number).normal(means, errors, (DRAWS, k))
    best = np.bincount(draws.argmin(axis=1), minlength=k) / DRAWS
    given = floor + (1 - k * floor) * best
    return dict(zip(versions, (given / given.sum()).tolist(), strict=True))
