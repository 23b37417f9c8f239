"""Which version answers a request: a pure function of the request's key and the experiment.

Weighted rendezvous hashing (Thaler and Ravishankar 1998; weights by logarithms: Schindelhauer and
Schomaker 2005): each version gets an exponential variate from the hash of key and version, divided
by its share, and the smallest one answers. So a version is drawn with exactly its share; every
worker draws alike; and where shares change a request moves to a version whose share has grown, or
stays: a canary's requests stay its own as its share grows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from streams.partitioner import murmur2

Rows = npt.NDArray[np.intp]


def drawn(keys: Iterable[str], experiment: str, shares: Mapping[str, float]) -> Rows:
    """Of each key the position in `shares` of the version that answers it, intp (n,).

    shares: by version, 0 to 1, 1 together; their order does not matter.
    """
    # The experiment goes before the key: another experiment draws anew, and the draw has nothing
    # to do with the partition, which is the key's hash as well.
    hashes = murmur2([f"{experiment}/{key}".encode() for key in keys]).astype(np.uint64)
    best = np.full(len(hashes), np.inf)
    chosen = np.zeros(len(hashes), np.intp)
    for position, (version, share) in enumerate(shares.items()):
        if share <= 0:
            continue
        seed = hashlib.sha256(f"{experiment}/{version}".encode()).digest()[:8]
        mixed = _mixed(hashes ^ np.frombuffer(seed, "<u8")[0])
        uniform = ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        variate = -np.log(uniform) / share
        sooner = variate < best
        best[sooner] = variate[sooner]
        chosen[sooner] = position
    return chosen


def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
